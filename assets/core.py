"""Core: clean, typed, consistent events, items and users; what fails a row rule goes to quarantine with its reason."""

from collections.abc import Mapping, Sequence

import dagster as dg

from assets.partitions import days_of
from assets.table import Lineage, lineage_of, table_asset
from data import core
from data.build import Made, Outcome, refresh, refresh_changed
from data.contracts.core import (
    CORRECTIONS,
    EVENTS,
    EVENTS_QUARANTINE,
    ITEMS,
    ITEMS_QUARANTINE,
    USERS,
    USERS_QUARANTINE,
)
from data.contracts.reasons import QUARANTINES
from data.contracts.schema import Table
from data.days import refresh_days
from data.engine import Session
from data.fingerprint import digest
from data.ingest import NO_DAY
from data.quarantine import totals
from data.workspace import Workspace


def build(workspace: Workspace, daily: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The core assets of one shop."""
    return [_corrections(workspace), _events(workspace, daily), _rows(workspace, "items"), _rows(workspace, "users")]


def _corrections(workspace: Workspace) -> dg.AssetsDefinition:
    """Made from all days; a shop without returns needs none, so that nothing is read for it."""
    needed = core.needs_corrections(workspace.shop)
    sources = core.inputs_of(workspace.shop, "events") if needed else []
    sql = core.corrections_sql(workspace)

    def make(session: Session) -> Made:
        if not needed:
            return Made(data=CORRECTIONS.arrow_schema().empty_table())
        return core.make_corrections(workspace, session)

    def body(context: dg.AssetExecutionContext, workspace: Workspace) -> Mapping[str, Outcome]:
        inputs = [*sources, ITEMS] if needed else []
        return {CORRECTIONS.key: refresh_changed(workspace, CORRECTIONS, inputs, make, code_version=digest(sql))}

    return table_asset(
        [CORRECTIONS],
        deps=[*(t.key for t in sources), *([ITEMS.key] if needed else [])],
        kinds={"duckdb", "delta", "sql"},
        code_version=digest(sql),
        body=body,
        lineage=lineage_through_checked(workspace, "events", {CORRECTIONS.key: _chained(sql)}, [ITEMS]),
        pool="lake",
    )


def _chained(sql: Mapping[str, str]) -> str:
    """Queries that read one another by name, as one."""
    *steps, last = sql
    return f"with {', '.join(f'{name} as ({sql[name]})' for name in steps)} {sql[last]}"


def _events(workspace: Workspace, daily: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    by_day = core.days_of_events(workspace.shop)
    sql = core.events_sql(workspace)

    def body(context: dg.AssetExecutionContext, workspace: Workspace) -> Mapping[str, Outcome]:
        outcomes = refresh_days(
            workspace,
            [EVENTS_QUARANTINE, EVENTS],
            by_day=by_day,
            lookups=core.LOOKUPS,
            make=lambda session: core.make_events(workspace, session),
            days={NO_DAY, *days_of(context), *core.corrected_days(workspace)},
            code_version=digest(sql),
        )
        return with_totals(workspace, "events", outcomes)

    return table_asset(
        [EVENTS_QUARANTINE, EVENTS],
        deps=[*(t.key for t in by_day), ITEMS.key],
        kinds={"duckdb", "delta", "sql"},
        code_version=digest(sql),
        body=body,
        lineage=lineage_through_checked(workspace, "events", sql, [ITEMS, CORRECTIONS]),
        partitions=daily,
        pool="lake",
        block=workspace.shop.gates.blocking,
    )


def _rows(workspace: Workspace, kind: str) -> dg.AssetsDefinition:
    inputs = core.inputs_of(workspace.shop, kind)
    clean, aside = {"items": (ITEMS, ITEMS_QUARANTINE), "users": (USERS, USERS_QUARANTINE)}[kind]
    sql = core.rows_sql(workspace.shop, kind)

    def body(context: dg.AssetExecutionContext, workspace: Workspace) -> Mapping[str, Outcome]:
        outcomes = refresh(
            workspace,
            [aside, clean],
            inputs=inputs,
            make=lambda session: core.make_rows(workspace, session, kind),
            code_version=digest(sql),
        )
        return with_totals(workspace, kind, outcomes)

    return table_asset(
        [aside, clean],
        deps=[t.key for t in inputs],
        kinds={"duckdb", "delta", "sql"},
        code_version=digest(sql),
        body=body,
        lineage=lineage_through_checked(workspace, kind, sql, []),
        pool="lake",
    )


def with_totals(workspace: Workspace, kind: str, outcomes: Mapping[str, Outcome]) -> Mapping[str, Outcome]:
    """Say with the quarantine how many rows of each reason it holds: every reason in every run, 0 included."""
    key = QUARANTINES[kind].key
    figures = {f"n_{reason}": n for reason, n in totals(workspace, kind).items()}
    return {**outcomes, key: outcomes[key].model_copy(update={"figures": figures})}


def lineage_through_checked(
    workspace: Workspace, kind: str, sql: Mapping[str, str], others: Sequence[Table]
) -> dict[str, Lineage]:
    """Lineage of the clean table and the quarantine through the judging query that both read."""
    raw = core.sources_of(workspace.shop, kind)
    made = {"made.input_versions": {"day": "DATE", "input_version": "VARCHAR"}}
    schemas = {f"landed.{kind}": core.landed_columns(kind), **made}
    schemas |= {table.key: table.sql_types() for table in (*others, *core.inputs_of(workspace.shop, kind))}
    whole = {
        key: (f"with {kind}_checked as ({sql['checked']}) {text}" if "checked" in sql else text).replace(
            "join input_versions", "join made.input_versions"
        )
        for key, text in sql.items()
        if key != "checked"
    }
    spread = {f"landed.{kind}": [t.key for t in raw], "made.input_versions": []}
    return {key: lineage_of(text, schemas, spread) for key, text in whole.items()}
