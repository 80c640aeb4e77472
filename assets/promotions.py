"""Promotions: what is promoted where and when; only for shops that have sources of promotions."""

from collections.abc import Mapping

import dagster as dg

from assets.core import lineage_through_checked, with_totals
from assets.table import table_asset
from data.build import Outcome
from data.contracts.core import ITEMS
from data.contracts.promotions import PROMOTIONS, PROMOTIONS_QUARANTINE
from data.core import LOOKUPS, sources_of
from data.days import refresh_days
from data.fingerprint import digest
from data.promotions import STARTS_PER_COMMIT, days_of_promotions, make_promotions, promotions_sql
from data.workspace import Workspace


def build(workspace: Workspace) -> list[dg.AssetsDefinition]:
    """The asset of promotions; none if the shop says nothing of any."""
    return [_promotions(workspace)] if workspace.shop.has_promotions else []


def _promotions(workspace: Workspace) -> dg.AssetsDefinition:
    """Made by the day on which they begin, whatever days a run is about: their days are not those of events."""
    by_day, sql = sources_of(workspace.shop, "promotions"), promotions_sql()

    def body(context: dg.AssetExecutionContext, workspace: Workspace) -> Mapping[str, Outcome]:
        outcomes = refresh_days(
            workspace,
            [PROMOTIONS_QUARANTINE, PROMOTIONS],
            by_day=by_day,
            lookups=LOOKUPS,
            make=lambda session: make_promotions(workspace, session),
            days=days_of_promotions(workspace),
            code_version=digest(sql),
            days_per_commit=STARTS_PER_COMMIT,
        )
        return with_totals(workspace, "promotions", outcomes)

    return table_asset(
        [PROMOTIONS_QUARANTINE, PROMOTIONS],
        deps=[*(t.key for t in by_day), ITEMS.key],
        kinds={"duckdb", "delta", "sql"},
        code_version=digest(sql),
        body=body,
        lineage=lineage_through_checked(workspace, "promotions", sql, [ITEMS]),
        pool="lake",
        block=workspace.shop.gates.blocking,
    )
