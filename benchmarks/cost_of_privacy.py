"""What privacy costs: both tasks under one plan, for several epsilons and draws, beside the twin without noise.

    PORTRAIT_VAR=var python benchmarks/cost_of_privacy.py --epsilon 1 2 4 --draws 3

Reads the tables that `portrait run` made of a shop that is declared a public benchmark, and writes nothing;
`--test-start 2017-10-04` is the validation period of the default shop, on which every constant was chosen. One JSON
line a model and task: NDCG@20 over the whole catalogue, then with relevance restricted to products that at least ten
users had before (`common`), to the hundredth of the catalogue that most users had (`head`), to the rest of the first
tenth (`mid`) and to all others (`tail`); and of users who had nothing before (`new`), of the third of the others that
had least (`light`) and most (`heavy`). What nobody can be judged by is null.
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
from ml.ranking.index import index_items
from ml.ranking.inputs import CandidateConfig, UserItemState
from ml.ranking.ranker import TASKS, recommend


def mean(found: Any) -> float | None:
    """Of some users, rounded; None of nobody."""
    return round(float(found.mean()), 4) if len(found) else None


def scored(
    lists: Any, task: str, state: UserItemState, relevant: tuple[Any, Any], n_items: int
) -> dict[str, float | None]:
    """All figures of one task."""
    user, item = relevant
    if task == "discovery":
        owned = state.user_index.astype(np.int64) * n_items + state.item_index
        fresh = ~np.isin(user.astype(np.int64) * n_items + item, owned)
        user, item = user[fresh], item[fresh]
    buyers = np.bincount(state.item_index, minlength=n_items)
    common, place = buyers >= 10, np.empty(n_items)
    place[np.argsort(-buyers, kind="stable")] = np.arange(n_items) / n_items
    whole = per_user_metrics(lists, user, item)
    activity = np.bincount(state.user_index, weights=state.n_days, minlength=len(lists))[whole.user_index]
    low, high = np.quantile(activity[activity > 0], [1 / 3, 2 / 3])

    def ndcg(kept: Any) -> float | None:
        return mean(per_user_metrics(lists, user[kept[item]], item[kept[item]]).ndcg)

    return {
        "ndcg": mean(whole.ndcg),
        "common": ndcg(common),
        "head": ndcg(place < 0.01),
        "mid": ndcg((place >= 0.01) & (place < 0.1)),
        "tail": ndcg(place >= 0.1),
        "new": mean(whole.ndcg[activity == 0]),
        "light": mean(whole.ndcg[(activity > 0) & (activity <= low)]),
        "heavy": mean(whole.ndcg[activity > high]),
        "coverage": round(coverage(lists, n_items), 4),
        "coverage_common": mean(np.isin(np.flatnonzero(common), lists)),
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
                print(json.dumps({"model": model, "task": task, **figures}), flush=True)


def public_benchmark(test_start: date | None = None) -> Workspace:
    """The shop of the settings, whose releases may be drawn outside its ledger; with another test start if given."""
    workspace = open_workspace(load_settings())
    if not workspace.shop.public_benchmark:
        raise SystemExit(
            f"{workspace.shop.location} is no public benchmark: releases outside its ledger are not allowed"
        )
    if test_start is None:
        return workspace
    evaluation = workspace.shop.evaluation.model_copy(update={"test_start": test_start})
    return replace(workspace, shop=workspace.shop.model_copy(update={"evaluation": evaluation}))


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epsilon", type=float, nargs="+", default=[1.0, 2.0, 4.0])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--test-start", type=date.fromisoformat, help="first test day in place of the shop file's")
    args = parser.parse_args()
    measure(public_benchmark(args.test_start), args.epsilon, args.draws, args.tasks)


if __name__ == "__main__":
    main()
