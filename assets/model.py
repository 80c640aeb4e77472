"""Model: what is learnt across users, each table one planned release through the ledger. Nothing else may learn."""

from collections.abc import Callable, Mapping
from datetime import date

import dagster as dg
import numpy as np
import pyarrow as pa

from assets import arrays
from assets.release import plan_of, release
from assets.table import IS_CURRENT, table_asset
from data.build import Made, Outcome, Slice, content_of, published_verdicts, refresh
from data.contracts.core import ITEMS
from data.contracts.features import DAILY
from data.contracts.model import ITEM_TEXTS, POPULARITY, RANKER, TEXT_EMBEDDINGS
from data.contracts.schema import Table
from data.engine import Session
from data.features import days_between
from data.history import History, Periods, periods, rows_digest
from data.ingest import calendar_days
from data.lake import digest
from data.ledger import BudgetRefused
from data.workspace import Workspace

CODE_VERSIONS = {POPULARITY.key: "1", RANKER.key: "1"}
"""Raised by hand when a change of code is to be released anew: that needs a slot of the plan."""

Maker = Callable[[dg.AssetExecutionContext, Workspace, Session, Periods], Made]


def build() -> list[dg.AssetsDefinition]:
    """The releases."""
    return [
        _release(POPULARITY, [ITEMS], _popularity),
        _release(RANKER, [ITEMS, ITEM_TEXTS, TEXT_EMBEDDINGS, POPULARITY], _ranker),
    ]


def _release(contract: Table, inputs: list[Table], maker: Maker) -> dg.AssetsDefinition:
    def body(context: dg.AssetExecutionContext, workspace: Workspace) -> Mapping[str, Outcome]:

        spans = periods(workspace)
        before = workspace.lake.published(contract.key)
        read = Slice(table=DAILY, days=days_between(workspace, None, spans.test))
        try:
            return refresh(
                workspace,
                [contract],
                inputs=[read, *inputs],
                make=lambda session: {contract.key: maker(context, workspace, session, spans)},
                code_version=CODE_VERSIONS[contract.key],
                config={"privacy": workspace.shop.privacy.model_dump(mode="json"), "spans": spans.model_dump_json()},
            )
        except BudgetRefused as refused:
            if before is None:
                raise dg.Failure(str(refused), allow_retries=False) from refused
            remark = f"{contract.key}: the ledger refuses a new release ({refused}); the last one stays in use"
            context.log.warning(remark)
            kept = Outcome(published=before, verdicts=published_verdicts(before), is_reused=True, warning=remark)
            return {contract.key: kept}

    return table_asset(
        [contract],
        deps=[DAILY.key, *(t.key for t in inputs)],
        kinds={"pytorch" if contract is RANKER else "python", "delta"},
        code_version=CODE_VERSIONS[contract.key],
        body=body,
        lineage={
            contract.key: {c.name: [(DAILY.key, "decayed_104d"), (DAILY.key, "key")] for c in contract.columns[1:2]}
        },
        pool="training",
        warning=IS_CURRENT,
    )


def _window(rows: pa.Table, start: date, end: date) -> pa.Table:
    days = pa.array([start] * rows.num_rows, pa.date32()), pa.array([end] * rows.num_rows, pa.date32())
    return rows.append_column("window_start", days[0]).append_column("window_end", days[1])


def _popularity(context: dg.AssetExecutionContext, workspace: Workspace, session: Session, spans: Periods) -> Made:
    from ml.privacy.mechanisms import release_popularity

    history = History(workspace, session, spans)
    windows = history.popular()

    def mechanism(planned):  # type: ignore[no-untyped-def]
        numbered = [history.numbered(pairs) for pairs in windows]
        found = release_popularity(
            np.concatenate([user for user, _ in numbered]),
            np.concatenate([item for _, item in numbered]),
            n_items=len(history.item_ids),
            planned=planned,
            window_index=np.repeat(np.arange(len(numbered)), [len(user) for user, _ in numbered]),
            n_windows=len(numbered),
            cell_cap=1.0,
        )
        before, latest = found.values
        columns = {"item_id": history.item_ids, "popularity": latest, "popularity_before": before}
        return pa.table({**columns, "noise_std": np.full(len(latest), planned.noise_std)}), found.event

    rows, notes = release(
        workspace,
        POPULARITY,
        "popularity",
        run_id=context.run.run_id,
        code_version=CODE_VERSIONS[POPULARITY.key],
        inputs=rows_digest(*windows, pa.table({"item_id": history.item_ids})),
        mechanism=mechanism,
    )
    return Made(data=_window(rows, spans.windows[0][0], spans.windows[-1][1]), notes=notes)


def _ranker(context: dg.AssetExecutionContext, workspace: Workspace, session: Session, spans: Periods) -> Made:
    from ml.privacy.events import gradient_event
    from ml.privacy.plan import PlanConstants
    from ml.privacy.training import TrainingConfig, train_listwise
    from ml.ranking.features import index_items
    from ml.ranking.inputs import CandidateConfig
    from ml.ranking.ranker import PRIOR, training_bags

    history = History(workspace, session, spans)
    constants = PlanConstants()
    found, labels = history.state("fit"), history.labels("fit")
    public = content_of(workspace.lake, [ITEMS, ITEM_TEXTS, POPULARITY])

    def mechanism(planned):  # type: ignore[no-untyped-def]
        candidates = CandidateConfig()
        item_side = index_items(
            arrays.catalogue(workspace, session), arrays.released(workspace, session, is_before=True), candidates
        )
        bags = training_bags(
            arrays.as_state(found),
            item_side,
            *history.numbered(labels),
            n_users=len(history.user_ids),
            config=candidates,
        )
        context.log.info(f"{RANKER.key}: bags ready, {planned.steps} full-batch steps to go")
        trained = train_listwise(
            bags,
            PRIOR.to_array(),
            TrainingConfig(
                steps=planned.steps,
                learning_rate=constants.learning_rate,
                max_grad_norm=planned.bound,
                declared_users=plan_of(workspace).declared_users,
            ),
            noise_multiplier=planned.noise_multiplier,
        )
        ran = trained.event
        event = gradient_event(
            noise_multiplier=ran.noise_multiplier,
            steps=ran.steps,
            sample_rate=ran.sample_rate,
            bound=ran.max_grad_norm,
            randomness=ran.randomness,
        )
        return arrays.weights_table(trained.weights), event

    rows, notes = release(
        workspace,
        RANKER,
        "ranker",
        run_id=context.run.run_id,
        code_version=CODE_VERSIONS[RANKER.key],
        inputs=digest(rows_digest(history.named(found), labels), public),
        mechanism=mechanism,
    )
    return Made(data=_window(rows, calendar_days(workspace)[0], spans.test.date()), notes=notes)
