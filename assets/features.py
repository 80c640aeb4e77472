"""Features: per-day partial sums, their merge as of the last landed day, and what is read off it."""

from collections.abc import Mapping
from datetime import datetime

import dagster as dg

from assets.automation import on_new_data
from assets.partitions import days_of
from assets.table import Lineage, lineage_of, table_asset
from data.build import Made, Outcome, Slice, refresh
from data.contracts.core import EVENTS, ITEMS, USERS
from data.contracts.features import (
    CHECKPOINT,
    DAILY,
    INTEREST,
    PRICE_SENSITIVITY,
    RFM,
    SEQUENCE,
    SESSIONS,
    STATE,
)
from data.contracts.profile import PROFILES
from data.contracts.schema import Table
from data.core import corrected_days
from data.days import refresh_days
from data.engine import Session
from data.facet_sql import state_sql
from data.features import CONSENTING, LOOKUPS, as_of, checkpoint_at, daily_model, days_between
from data.fingerprint import digest
from data.models import model
from data.workspace import Workspace

KINDS = {"duckdb", "delta", "sql"}
READ_OFF_STATE = (RFM, INTEREST, SESSIONS, PRICE_SENSITIVITY, SEQUENCE)


def build(daily: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The feature assets and the profiles that are put together from them."""
    return [
        _daily(daily),
        _checkpoint(),
        _state(),
        *(_modelled(table, [STATE]) for table in READ_OFF_STATE),
        _modelled(PROFILES, [*READ_OFF_STATE, USERS, ITEMS]),
    ]


def _daily(daily: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    sql = daily_model()

    def make(session: Session) -> Mapping[str, Made]:
        session.define("consenting.events", CONSENTING)
        return {DAILY.key: Made(data=session.query(sql))}

    def body(context: dg.AssetExecutionContext, workspace: Workspace) -> Mapping[str, Outcome]:
        return refresh_days(
            workspace,
            [DAILY],
            by_day=[EVENTS],
            lookups=LOOKUPS,
            make=make,
            days={*days_of(context), *corrected_days(workspace)},
            code_version=digest(sql),
        )

    schemas = {
        "consenting.events": EVENTS.sql_types(),
        ITEMS.key: ITEMS.sql_types(),
        "made.input_versions": {"day": "DATE", "input_version": "VARCHAR"},
    }
    spread = {"consenting.events": [EVENTS.key], "made.input_versions": []}
    return table_asset(
        [DAILY],
        deps=[EVENTS.key, ITEMS.key, USERS.key],
        kinds=KINDS,
        code_version=digest(sql),
        body=body,
        lineage={
            DAILY.key: lineage_of(sql.replace("join input_versions", "join made.input_versions"), schemas, spread)
        },
        partitions=daily,
        pool="lake",
    )


def _checkpoint() -> dg.AssetsDefinition:
    def body(context: dg.AssetExecutionContext, workspace: Workspace) -> Mapping[str, Outcome]:
        at = checkpoint_at(_instant(workspace))
        return refresh(
            workspace,
            [CHECKPOINT],
            inputs=[Slice(table=DAILY, days=days_between(workspace, None, at))],
            make=lambda session: {CHECKPOINT.key: Made(data=session.query(state_sql(at)))},
            code_version=digest(state_sql(at)),
        )

    return table_asset(
        [CHECKPOINT],
        deps=[DAILY.key],
        kinds=KINDS,
        code_version=digest(state_sql(datetime(2000, 1, 1))),
        body=body,
        lineage={CHECKPOINT.key: lineage_of(state_sql(datetime(2000, 1, 1)), {DAILY.key: DAILY.sql_types()})},
        pool="lake",
        automation=on_new_data(),
    )


def _state() -> dg.AssetsDefinition:
    def sql(at: datetime, since: datetime) -> str:
        return state_sql(at, checkpoint=CHECKPOINT.key, checkpoint_at=since)

    def body(context: dg.AssetExecutionContext, workspace: Workspace) -> Mapping[str, Outcome]:
        at = _instant(workspace)
        since = checkpoint_at(at)
        query = sql(at, since)
        return refresh(
            workspace,
            [STATE],
            inputs=[CHECKPOINT, Slice(table=DAILY, days=days_between(workspace, since, at))],
            make=lambda session: {STATE.key: Made(data=session.query(query))},
            code_version=digest(query),
        )

    example = sql(datetime(2000, 1, 2), datetime(2000, 1, 1))
    return table_asset(
        [STATE],
        deps=[CHECKPOINT.key, DAILY.key],
        kinds=KINDS,
        code_version=digest(example),
        body=body,
        lineage={STATE.key: lineage_of(example, {t.key: t.sql_types() for t in (CHECKPOINT, DAILY)})},
        pool="lake",
        automation=on_new_data(),
    )


def _modelled(table: Table, inputs: list[Table]) -> dg.AssetsDefinition:
    """A table that one SQL model makes from whole tables."""
    sql = model(table.key.replace(".", "/"))
    lineage: Lineage = lineage_of(sql, {t.key: t.sql_types() for t in inputs})

    def body(context: dg.AssetExecutionContext, workspace: Workspace) -> Mapping[str, Outcome]:
        return refresh(
            workspace,
            [table],
            inputs=inputs,
            make=lambda session: {table.key: Made(data=session.query(sql))},
            code_version=digest(sql),
        )

    return table_asset(
        [table],
        deps=[t.key for t in inputs],
        kinds=KINDS,
        code_version=digest(sql),
        body=body,
        lineage={table.key: lineage},
        pool="lake",
        automation=on_new_data(),
    )


def _instant(workspace: Workspace) -> datetime:
    found = as_of(workspace)
    if found is None:
        raise dg.Failure("features.daily holds no day yet; materialize it for the days of your data first")
    return found
