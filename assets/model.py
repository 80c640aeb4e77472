"""Model: what is learnt across users, each table one planned release through the ledger. Nothing else may learn."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa

from assets import arrays, learning
from assets.release import Mechanism, due_periods, open_ledger, plan_of, release, with_budget
from assets.table import IS_CURRENT, Withheld, table_asset
from data.build import Made, Outcome, Slice, content_of, is_current, published_verdicts, refresh
from data.contracts.core import EVENTS, ITEMS
from data.contracts.features import DAILY
from data.contracts.model import GRAM, ITEM_TEXTS, POPULARITY, PUBLIC_PRIOR, RANKER, TEXT_EMBEDDINGS
from data.contracts.schema import Table
from data.engine import Session
from data.features import days_between
from data.fingerprint import digest
from data.history import History, Periods, rows_digest
from data.ingest import calendar_days
from data.ledger import BudgetRefused
from data.workspace import Workspace

CODE_VERSIONS = {POPULARITY.key: "1", GRAM.key: "1", RANKER.key: "2"}
"""Raised by hand when a change of code is to be released anew: that needs a slot of the plan."""

LEARNT_COLUMNS = ("popularity", "popularity_before", "products", "weight")
"""Columns of the releases that users' days enter."""

Maker = Callable[[dg.AssetExecutionContext, Workspace, Session, Periods], Made]


def build() -> list[dg.AssetsDefinition]:
    """The releases."""
    return [
        _release(POPULARITY, [ITEMS], _popularity),
        _release(GRAM, [ITEMS, POPULARITY], _gram),
        # Events say of which type a label is; a day whose events change is another day of the daily sums.
        _release(RANKER, [ITEMS, ITEM_TEXTS, TEXT_EMBEDDINGS, POPULARITY, GRAM], _ranker, through_days=[EVENTS]),
    ]


def _release(
    contract: Table, inputs: list[Table], maker: Maker, through_days: Sequence[Table] = ()
) -> dg.AssetsDefinition:
    """A release; `through_days` are read too, and change only where the daily sums do."""

    def body(context: dg.AssetExecutionContext, workspace: Workspace) -> Mapping[str, Outcome]:
        spans = due_periods(workspace)
        before = workspace.lake.published(contract.key)
        read = Slice(table=DAILY, days=days_between(workspace, None, spans.test))
        code = CODE_VERSIONS[contract.key]
        config = {"privacy": _policy(workspace), "spans": spans.model_dump_json()}
        if not is_current(workspace, [contract], [read, *inputs], code_version=code, config=config):
            open_ledger(workspace)  # one that cannot be used, or fits another plan, stops this before a file is opened
        try:
            outcome = refresh(
                workspace,
                [contract],
                inputs=[read, *inputs],
                make=lambda session: {contract.key: maker(context, workspace, session, spans)},
                code_version=code,
                config=config,
            )[contract.key]
        except BudgetRefused as refused:
            if before is None:
                raise Withheld(f"{contract.key}: {refused}; no earlier release stands in for it") from refused
            remark = f"{contract.key}: the ledger refuses a new release ({refused}); the last one stays in use"
            outcome = Outcome(published=before, verdicts=published_verdicts(before), is_reused=True, warning=remark)
        outcome = with_budget(workspace, outcome)
        if outcome.warning:
            context.log.warning(outcome.warning)
        return {contract.key: outcome}

    return table_asset(
        [contract],
        deps=[DAILY.key, *(t.key for t in (*through_days, *inputs))],
        kinds={"pytorch" if contract is RANKER else "python", "delta"},
        code_version=CODE_VERSIONS[contract.key],
        body=body,
        lineage={
            contract.key: {
                c.name: [(DAILY.key, "decayed_104d"), (DAILY.key, "key")]
                for c in contract.columns
                if c.name in LEARNT_COLUMNS
            }
        },
        pool="training",
        warning=IS_CURRENT,
    )


def _policy(workspace: Workspace) -> dict[str, Any]:
    """What the shop's privacy policy says about a release: not where its ledger lies, nor when it falls due."""
    return workspace.shop.privacy.model_dump(mode="json", exclude={"ledger", "monthly"})


def _released(
    context: dg.AssetExecutionContext,
    workspace: Workspace,
    contract: Table,
    spans: Periods,
    *,
    inputs: str,
    mechanism: Mechanism,
) -> tuple[pa.Table, dict[str, str]]:
    """Release under the slot that is due, which bears the name of the table."""
    from ml.privacy.plan import slot_due

    first = contract.key.split(".")[1]
    slot, before = slot_due(plan_of(workspace), first, spans.test.date()), workspace.lake.published(contract.key)
    return release(
        workspace,
        contract,
        slot,
        is_published=before is not None and before.notes.get("slot", first) == slot,
        run_id=context.run.run_id,
        code_version=CODE_VERSIONS[contract.key],
        inputs=inputs,
        mechanism=mechanism,
    )


def _window(rows: pa.Table, start: date, end: date) -> pa.Table:
    days = pa.array([start] * rows.num_rows, pa.date32()), pa.array([end] * rows.num_rows, pa.date32())
    return rows.append_column("window_start", days[0]).append_column("window_end", days[1])


def _popularity(context: dg.AssetExecutionContext, workspace: Workspace, session: Session, spans: Periods) -> Made:
    from ml.privacy.plan import has_ranker

    history = History(workspace, session, spans)
    windows = history.popular()
    n_windows = 2 if has_ranker(plan_of(workspace)) else 1

    def mechanism(planned):  # type: ignore[no-untyped-def]
        found = learning.popularity(history, planned, n_windows=n_windows)
        before, latest = found.values[0], found.values[-1]
        columns = {"item_id": history.item_ids, "popularity": latest, "popularity_before": before}
        return pa.table({**columns, "noise_std": np.full(len(latest), planned.noise_std)}), found.event

    rows, notes = _released(
        context,
        workspace,
        POPULARITY,
        spans,
        inputs=rows_digest(*windows, pa.table({"item_id": history.item_ids})),
        mechanism=mechanism,
    )
    return Made(data=_window(rows, spans.windows[0][0], spans.windows[-1][1]), notes=notes)


def _gram(context: dg.AssetExecutionContext, workspace: Workspace, session: Session, spans: Periods) -> Made:
    plan = plan_of(workspace)
    if "gram" not in plan.events():
        context.log.info(f"{GRAM.key}: not in the plan of {plan.declared_users:,} declared users")
        return Made(data=GRAM.arrow_schema().empty_table())
    history = History(workspace, session, spans)
    phase = learning.gram_phase(plan)
    state = history.state(phase)
    pairs = history.named(state).select(["user_id", "item_id"])

    def mechanism(planned):  # type: ignore[no-untyped-def]
        before = arrays.released(workspace, session, is_before=True)
        head, direction, found = learning.gram(arrays.as_state(state), len(history.user_ids), before, planned, plan)
        columns = {
            "item_id": history.item_ids.take(pa.array(head)),
            "place": pa.array(range(len(head)), pa.int32()),
            "direction": direction,
            "products": pa.array(list(found.values.astype(np.float32)), pa.list_(pa.float32())),
            "noise_std": np.full(len(head), found.noise_std),
        }
        return pa.table(columns), found.event

    rows, notes = _released(
        context,
        workspace,
        GRAM,
        spans,
        inputs=digest(rows_digest(pairs), content_of(workspace.lake, [ITEMS, POPULARITY])),
        mechanism=mechanism,
    )
    end = spans.fit if phase == "fit" else spans.test
    return Made(data=_window(rows, calendar_days(workspace)[0], end.date()), notes=notes)


def _ranker(context: dg.AssetExecutionContext, workspace: Workspace, session: Session, spans: Periods) -> Made:
    from ml.privacy.events import gradient_event
    from ml.privacy.plan import has_ranker
    from ml.ranking.ranker import PRIOR

    plan, days = plan_of(workspace), (calendar_days(workspace)[0], spans.test.date())
    if not has_ranker(plan):
        context.log.info(
            f"{RANKER.key}: public prior; no training in the plan of {plan.declared_users:,} declared users"
        )
        prior = arrays.weights_table(PRIOR.to_array())
        return Made(data=_window(prior.append_column("release", pa.array([PUBLIC_PRIOR] * prior.num_rows)), *days))
    history = History(workspace, session, spans)
    found, labels = history.state("fit"), history.fit_labels()
    public = content_of(workspace.lake, [ITEMS, ITEM_TEXTS, POPULARITY, GRAM])

    def mechanism(planned):  # type: ignore[no-untyped-def]
        trained = learning.ranker(
            arrays.as_state(found),
            history.weighted(labels),
            history.user_ids,
            arrays.catalogue(workspace, session),
            arrays.released(workspace, session, is_before=True),
            arrays.gram(workspace, session),
            planned,
            plan,
            tell=lambda line: context.log.info(f"{RANKER.key}: {line}"),
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

    rows, notes = _released(
        context,
        workspace,
        RANKER,
        spans,
        inputs=digest(rows_digest(history.named(found), labels), public),
        mechanism=mechanism,
    )
    return Made(data=_window(rows, *days), notes=notes)
