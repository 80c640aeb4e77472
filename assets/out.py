"""Out: recommendations with their reason, how good they are, and the report of unusual events."""

from collections.abc import Mapping

import dagster as dg
import numpy as np
import pyarrow as pa

from assets import arrays, online
from assets.automation import on_new_data
from assets.release import due_periods
from assets.table import table_asset
from data.build import Made, Outcome, Slice, published_verdicts, refresh
from data.contracts.core import EVENTS, ITEMS
from data.contracts.features import DAILY, STATE
from data.contracts.model import GRAM, ITEM_TEXTS, POPULARITY, RANKER, TEXT_EMBEDDINGS
from data.contracts.out import EVALUATION, RECOMMENDATIONS, UNUSUAL_EVENTS
from data.contracts.profile import ONLINE, PROFILES
from data.engine import Session
from data.features import as_of, checkpoint_at, days_between
from data.history import History, periods
from data.shop.config import Shop
from data.workspace import Workspace

K = 20
"""Length of a list."""

LEARNT = (ITEM_TEXTS, TEXT_EMBEDDINGS, POPULARITY, GRAM, RANKER)


def build(shop: Shop) -> list[dg.AssetsDefinition]:
    """Recommendations, evaluation, unusual events."""
    return [_recommendations(shop), _evaluation(), _unusual_events()]


def _recommendations(shop: Shop) -> dg.AssetsDefinition:
    learnt = [*LEARNT, *([ONLINE] if shop.online_learning else [])]

    def body(context: dg.AssetExecutionContext, workspace: Workspace) -> Mapping[str, Outcome]:
        return refresh(
            workspace,
            [RECOMMENDATIONS],
            inputs=[STATE, PROFILES, ITEMS, *learnt],
            make=lambda session: {RECOMMENDATIONS.key: Made(data=_recommend(workspace, session))},
            code_version="2",
        )

    return table_asset(
        [RECOMMENDATIONS],
        deps=[STATE.key, PROFILES.key, ITEMS.key, *(t.key for t in learnt)],
        kinds={"numpy", "delta"},
        code_version="2",
        body=body,
        lineage={
            RECOMMENDATIONS.key: {
                "user_id": [(PROFILES.key, "user_id")],
                "item_id": [(ITEMS.key, "item_id")],
                "title": [(ITEMS.key, "title")],
                "score": [
                    (STATE.key, "decayed_104d"),
                    (STATE.key, "decayed_28d"),
                    (RANKER.key, "weight"),
                    (POPULARITY.key, "popularity"),
                    (GRAM.key, "products"),
                    (TEXT_EMBEDDINGS.key, "vector"),
                    *([(ONLINE.key, "correction")] if shop.online_learning else []),
                ],
                "as_of_utc": [(STATE.key, "as_of_utc")],
            }
        },
        automation=on_new_data(),
    )


def _recommend(workspace: Workspace, session: Session) -> pa.Table:
    """Lists of everybody who has a profile, available items only."""
    from ml.ranking.index import index_items
    from ml.ranking.inputs import CandidateConfig
    from ml.ranking.ranker import REASONS, recommend

    history = History(workspace, session, periods(workspace), people=STATE)
    candidates = CandidateConfig()
    item_side = index_items(
        arrays.catalogue(workspace, session),
        arrays.released(workspace, session),
        arrays.gram(workspace, session),
        candidates,
    )
    state = arrays.user_item_state(history, "serve")
    weights = arrays.weights(workspace, session)
    parts = []
    n_users = len(history.user_ids)
    threads = workspace.settings.threads
    added = online.corrections(history)
    lists = recommend(
        state, item_side, weights, n_users=n_users, k=K, config=candidates, threads=threads, corrections=added
    )
    for task, found in lists.items():
        user, place = np.nonzero(found.item_index >= 0)
        parts.append(
            pa.table(
                {
                    "user_id": history.user_ids.take(pa.array(user)),
                    "task": [task] * len(user),
                    "rank": place,
                    "item_id": history.item_ids.take(pa.array(found.item_index[user, place], pa.int64())),
                    "score": found.score[user, place].astype(np.float64),
                    "reason": pa.array(REASONS).take(pa.array(found.reason[user, place], pa.int64())),
                }
            )
        )
    session.register("listed", pa.concat_tables(parts))
    session.attach(PROFILES, workspace.lake)
    return session.query(
        f"""
        select
            l.user_id,
            l.task,
            row_number() over (partition by l.user_id, l.task order by l.rank) as place,
            l.item_id,
            i.title,
            l.score,
            l.reason,
            p.as_of_utc
        from listed l
        join {PROFILES.key} p on p.user_id = l.user_id
        join {ITEMS.key} i on i.item_id = l.item_id
        where i.is_available
        order by l.user_id, l.task, place
        """
    )


def _evaluation() -> dg.AssetsDefinition:
    def body(context: dg.AssetExecutionContext, workspace: Workspace) -> Mapping[str, Outcome]:
        from assets.evaluate import evaluate

        spans = due_periods(workspace)
        before, landed = workspace.lake.published(EVALUATION.key), as_of(workspace)
        if before and landed and landed < spans.end and before.notes["test_start"] != spans.test.date().isoformat():
            said = f"judges the release of {before.notes['test_start']} until the test days of the new one have landed"
            context.log.info(f"{EVALUATION.key}: {said}")
            return {EVALUATION.key: Outcome(published=before, verdicts=published_verdicts(before), is_reused=True)}
        outcomes = refresh(
            workspace,
            [EVALUATION],
            inputs=[Slice(table=DAILY, days=days_between(workspace, None, spans.end)), ITEMS, *LEARNT],
            make=lambda session: {EVALUATION.key: evaluate(workspace, session, spans, context.log.info)},
            code_version="2",
            config={"spans": spans.model_dump_json(), **_judged(workspace.shop)},
        )
        if not (outcomes[EVALUATION.key].is_reused and (workspace.reports / "evaluation.html").exists()):
            from data.evaluation_report import write_report

            write_report(workspace)
        return outcomes

    return table_asset(
        [EVALUATION],
        deps=[DAILY.key, ITEMS.key, *(t.key for t in LEARNT)],
        kinds={"numpy", "delta"},
        code_version="2",
        body=body,
        automation=on_new_data(),
    )


def _judged(shop: Shop) -> dict[str, object]:
    """What of the shop file decides which lists are judged."""
    return {"public": shop.public_benchmark, **({"online_learning": True} if shop.online_learning else {})}


def _unusual_events() -> dg.AssetsDefinition:
    def body(context: dg.AssetExecutionContext, workspace: Workspace) -> Mapping[str, Outcome]:
        instant = as_of(workspace)
        days = days_between(workspace, checkpoint_at(instant), instant) if instant else ()
        return refresh(
            workspace,
            [UNUSUAL_EVENTS],
            inputs=[Slice(table=EVENTS, days=days)],
            make=lambda session: {UNUSUAL_EVENTS.key: Made(data=_unusual(session))},
            code_version="2",
        )

    return table_asset(
        [UNUSUAL_EVENTS],
        deps=[EVENTS.key],
        kinds={"scikitlearn", "delta"},
        code_version="2",
        body=body,
        automation=on_new_data(),
    )


def _unusual(session: Session) -> pa.Table:
    """The most unusual events of the latest month; class `internal`, for an operator's eye."""
    from ml.outliers import EVENT_FEATURES, OutlierConfig, event_features, find, find_apart

    events = session.query(
        f"select event_id, day, quantity, value, occurred_at_utc from {EVENTS.key} order by day, event_id, user_id"
    )
    at = events.column("occurred_at_utc").to_pandas()
    hour = (at.dt.hour + at.dt.minute / 60).to_numpy(dtype=np.float64)
    features = event_features(events.column("quantity").to_numpy(), events.column("value").to_numpy(), hour)
    forest = find(features, EVENT_FEATURES, OutlierConfig(), seed=0).top
    apart = find_apart(features, EVENT_FEATURES, OutlierConfig(), seed=0)
    named = [("isolation_forest", u) for u in forest] + [("dbscan", u) for u in apart]
    rows = pa.array([u.row for _, u in named], pa.int64())
    return pa.table(
        {
            "event_id": events.column("event_id").take(rows),
            "day": events.column("day").take(rows),
            "method": pa.array([method for method, _ in named], pa.string()),
            "anomaly": pa.array([u.score for _, u in named], pa.float64()),
            "feature": pa.array([u.feature for _, u in named], pa.string()),
        }
    )
