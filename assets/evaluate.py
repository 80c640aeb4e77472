"""How good the served release is on the days after its window, beside its twin without noise and two baselines."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from assets import arrays, learning, online
from assets.release import plan_of
from data.build import Made
from data.contracts.model import POPULARITY
from data.contracts.out import EVALUATION, TASKS
from data.engine import Session
from data.history import History, Periods
from data.workspace import Workspace

if TYPE_CHECKING:
    from ml.ranking.inputs import Catalogue, Int32, ReleasedGram, ReleasedPopularity
    from ml.ranking.ranker import RankerWeights

K = 20


def evaluate(workspace: Workspace, session: Session, spans: Periods, tell: Callable[[str], None]) -> Made:
    """Score every model on both tasks.

    Args:
        workspace: the shop.
        session: a session.
        spans: the periods.
        tell: receives lines of progress.

    Returns:
        Rows of `out.evaluation`, and the figures as notes, which become time series.
    """
    history = History(workspace, session, spans)
    relevant = history.numbered(history.labels("test"))
    state = arrays.user_item_state(history, "test")
    catalogue = arrays.catalogue(workspace, session)
    served = arrays.released(workspace, session), arrays.gram(workspace, session), arrays.weights(workspace, session)
    models = {"portrait": served}
    if workspace.shop.public_benchmark:
        tell("out.evaluation: fitting the twin without noise, allowed on public benchmarks alone; it is not published")
        models["without_noise"] = learning.everything(history, catalogue, plan_of(workspace), non_private=True)
    owned = state.user_index.astype(np.int64) * catalogue.n_items + state.item_index
    is_new = ~np.isin(relevant[0].astype(np.int64) * catalogue.n_items + relevant[1], owned)
    ranked = {name: _lists(history, state, catalogue, *releases, end=spans.test) for name, releases in models.items()}
    rows: list[dict[str, Any]] = []
    for task in TASKS:
        wanted = relevant if task == "next_purchases" else (relevant[0][is_new], relevant[1][is_new])
        lists = _baselines(history, state, catalogue.n_items, task)
        lists |= {name: found[task] for name, found in ranked.items()}
        for name, recommended in lists.items():
            rows += _scored(task, name, recommended, wanted, catalogue.n_items)
        tell(f"out.evaluation: {task} scored for {len(lists)} models")
    notes = {f"{r['task']}_{r['model']}_{r['metric']}": f"{r['score']:.6f}" for r in rows if r["metric"] == "ndcg"}
    learnt_until = session.query(f"select max(window_end) as day from {POPULARITY.key}").column("day")[0].as_py()
    notes |= {"learnt_until": learnt_until.isoformat()}
    days = {"test_start": spans.test.date().isoformat(), "test_end": spans.end.date().isoformat()}
    return Made(data=pa.Table.from_pylist(rows, schema=EVALUATION.arrow_schema()), notes=notes | days)


def _lists(
    history: History,
    state: Any,
    catalogue: "Catalogue",
    released: "ReleasedPopularity",
    gram: "ReleasedGram",
    weights: "RankerWeights",
    *,
    end: datetime,
) -> "dict[str, Int32]":
    from ml.ranking.index import index_items
    from ml.ranking.inputs import CandidateConfig
    from ml.ranking.ranker import recommend

    config = CandidateConfig()
    item_side = index_items(catalogue, released, gram, config)
    added = online.corrections_at(history, item_side, weights, end)
    n_users = len(history.user_ids)
    found = recommend(state, item_side, weights, n_users=n_users, k=K, config=config, corrections=added)
    return {task: lists.item_index for task, lists in found.items()}


def _baselines(history: History, state: Any, n_items: int, task: str) -> dict[str, "Int32"]:
    """Exact popularity over the release's windows, and what each user bought most often."""
    from ml.evaluation import personal_frequency_baseline, popularity_baseline

    n_users = len(history.user_ids)
    counts = np.zeros(n_items)
    for pairs in history.popular():
        counts += np.bincount(history.numbered(pairs)[1], minlength=n_items)
    own = (state.user_index, state.item_index)
    found = {"popularity": popularity_baseline(counts, own if task == "discovery" else None, n_users, K)}
    if task == "next_purchases":
        found["personal_frequency"] = personal_frequency_baseline(*own, state.n_days.astype(float), n_users, K)
    return found


def _scored(task: str, model: str, lists: "Int32", wanted: Any, n_items: int) -> list[dict[str, Any]]:
    from ml.evaluation import per_user_metrics, summarise

    found = summarise(per_user_metrics(lists, *wanted), lists, n_items)
    if found.n_users == 0:
        return []
    return [
        {"task": task, "model": model, "metric": m, "score": getattr(found, m), "n_users": found.n_users}
        for m in ("ndcg", "recall", "mrr", "coverage")
    ]
