"""What privacy costs: both tasks under one plan, for several epsilons and draws, beside the twin without noise.

    PORTRAIT_VAR=var python benchmarks/cost_of_privacy.py --epsilon 1 2 4 --draws 3

Reads the tables that `portrait run` made of a shop that is declared a public benchmark, and writes nothing;
`--test-start 2017-10-04` is the validation period of the default shop, on which every constant was chosen. One JSON
line a model and task: NDCG@20 over the whole catalogue, then with relevance restricted to products that at least ten
users had before (`common`), to the thousand most bought (`head`) and to the others (`tail`), and of users by how much
they bought before (`light`, `heavy`: lowest and highest third).
"""

import argparse
import json
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np

from assets import arrays, learning
from data.history import History, periods
from data.settings import load_settings
from data.workspace import Workspace, open_workspace
from ml.evaluation import coverage, per_user_metrics
from ml.privacy.plan import default_plan
from ml.ranking.features import index_items
from ml.ranking.inputs import CandidateConfig, UserItemState
from ml.ranking.ranker import TASKS, recommend

HEAD = 1_000


def scored(lists: Any, task: str, state: UserItemState, relevant: tuple[Any, Any], n_items: int) -> dict[str, float]:
    """All figures of one task."""
    user, item = relevant
    if task == "discovery":
        owned = state.user_index.astype(np.int64) * n_items + state.item_index
        fresh = ~np.isin(user.astype(np.int64) * n_items + item, owned)
        user, item = user[fresh], item[fresh]
    buyers = np.bincount(state.item_index, minlength=n_items)
    common, head = buyers >= 10, np.zeros(n_items, dtype=bool)
    head[np.argsort(-buyers, kind="stable")[:HEAD]] = True
    whole = per_user_metrics(lists, user, item)
    activity = np.bincount(state.user_index, weights=state.n_days, minlength=len(lists))[whole.user_index]
    low, high = np.quantile(activity, [1 / 3, 2 / 3])

    def ndcg(kept: Any) -> float:
        return float(per_user_metrics(lists, user[kept[item]], item[kept[item]]).ndcg.mean())

    return {
        "ndcg": float(whole.ndcg.mean()),
        "common": ndcg(common),
        "head": ndcg(head),
        "tail": ndcg(~head),
        "light": float(whole.ndcg[activity <= low].mean()),
        "heavy": float(whole.ndcg[activity > high].mean()),
        "coverage": coverage(lists, n_items),
        "coverage_common": float(np.isin(np.flatnonzero(common), lists).mean()),
    }


def measure(workspace: Workspace, epsilons: list[float], draws: int, tasks: list[Any]) -> None:
    """Print the figures of every model."""
    shop, config = workspace.shop, CandidateConfig()
    assert shop.declared_users is not None, "a benchmark declares its users"
    with workspace.engine.session() as session:
        history = History(workspace, session, periods(workspace))
        catalogue = arrays.catalogue(workspace, session)
        state = arrays.user_item_state(history, "test")
        relevant = history.numbered(history.labels("test"))
        delta = shop.delta(shop.declared_users)
        runs = [(max(epsilons), True), *((epsilon, False) for epsilon in epsilons for _ in range(draws))]
        for epsilon, non_private in runs:
            plan = default_plan(epsilon, delta, shop.declared_users)
            released, gram, weights = learning.everything(history, catalogue, plan, non_private=non_private)
            index = index_items(catalogue, released, gram, config)
            lists = recommend(state, index, weights, n_users=len(history.user_ids), tasks=tasks, config=config)
            for task in tasks:
                figures = scored(lists[task].item_index, task, state, relevant, catalogue.n_items)
                model = "no noise" if non_private else f"epsilon {epsilon:g}"
                rounded = {name: round(value, 4) for name, value in figures.items()}
                print(json.dumps({"model": model, "task": task, **rounded}), flush=True)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epsilon", type=float, nargs="+", default=[1.0, 2.0, 4.0])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--test-start", type=date.fromisoformat, help="first test day in place of the shop file's")
    args = parser.parse_args()
    workspace = open_workspace(load_settings())
    if args.test_start:
        evaluation = workspace.shop.evaluation.model_copy(update={"test_start": args.test_start})
        workspace = replace(workspace, shop=workspace.shop.model_copy(update={"evaluation": evaluation}))
    if not workspace.shop.public_benchmark:
        parser.error(f"{workspace.shop.location} is no public benchmark: releases outside its ledger are not allowed")
    measure(workspace, args.epsilon, args.draws, args.tasks)


if __name__ == "__main__":
    main()
