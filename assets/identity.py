"""Identity: who is who, and on which days that matters; only for shops that have sources of identities."""

from collections.abc import Mapping

import dagster as dg

from assets.core import with_totals
from assets.table import Lineage, lineage_of, table_asset
from data import core
from data.build import Made, Outcome, refresh, refresh_changed
from data.contracts.identity import IDENTITIES, IDENTITIES_QUARANTINE, IDENTITY_DAYS
from data.contracts.schema import Table
from data.engine import Session
from data.fingerprint import digest
from data.identity import identities_sql, make_identities, make_identity_days, too_large, what_decides
from data.models import model
from data.workspace import Workspace

KINDS = {"duckdb", "delta", "sql"}

NONE_TOO_LARGE = "none_too_large"
"""Check of the joined identifiers: it warns while edges are refused because they join too many."""


def build(workspace: Workspace) -> list[dg.AssetsDefinition]:
    """The identity assets of one shop; none if every identifier is a person."""
    return [_identities(workspace), _days(workspace)] if workspace.shop.has_identities else []


def _identities(workspace: Workspace) -> dg.AssetsDefinition:
    sources, sql = core.sources_of(workspace.shop, "identities"), identities_sql()
    code_version, config = what_decides(workspace.shop)

    def body(context: dg.AssetExecutionContext, workspace: Workspace) -> Mapping[str, Outcome]:
        outcomes = refresh(
            workspace,
            [IDENTITIES_QUARANTINE, IDENTITIES],
            inputs=sources,
            make=lambda session: make_identities(workspace, session),
            code_version=code_version,
            config=config,
        )
        if warning := too_large(outcomes[IDENTITIES.key]):
            context.log.warning(f"{IDENTITIES.key}: {warning}")
        joined = outcomes[IDENTITIES.key].model_copy(update={"warning": warning})
        return with_totals(workspace, "identities", {**outcomes, IDENTITIES.key: joined})

    return table_asset(
        [IDENTITIES_QUARANTINE, IDENTITIES],
        deps=[t.key for t in sources],
        kinds={*KINDS, "scipy"},
        code_version=code_version,
        body=body,
        lineage=_lineage(sources, sql),
        pool="lake",
        warning=NONE_TOO_LARGE,
    )


def _lineage(sources: list[Table], sql: Mapping[str, str]) -> dict[str, Lineage]:
    """Of the quarantine by its SQL; of the joined identifiers by hand, for they are no query."""
    schemas = {
        "landed.identities": core.landed_columns("identities"),
        "made.edges_refused": {"left_id": "VARCHAR", "right_id": "VARCHAR", "reason": "VARCHAR"},
    }
    text = sql[IDENTITIES_QUARANTINE.key].replace("join edges_refused", "join made.edges_refused")
    spread = {"landed.identities": [t.key for t in sources], "made.edges_refused": []}
    ids = [(t.key, name) for t in sources for name in ("user_id", "other_id")]
    kinds = [(t.key, name) for t in sources for name in ("user_kind", "other_kind")]
    return {
        IDENTITIES.key: {"identifier": ids, "kind": kinds, "user_id": ids, "n_identifiers": ids},
        IDENTITIES_QUARANTINE.key: lineage_of(f"with identities_checked as ({sql['checked']}) {text}", schemas, spread),
    }


def _days(workspace: Workspace) -> dg.AssetsDefinition:
    """Made from all days, and published for those that changed alone, whatever days a run is about."""
    events, sql = core.sources_of(workspace.shop, "events"), model("core/identity_days")
    schemas = {"landed.events": core.landed_columns("events"), IDENTITIES.key: IDENTITIES.sql_types()}

    def body(context: dg.AssetExecutionContext, workspace: Workspace) -> Mapping[str, Outcome]:
        def make(session: Session) -> Made:
            return make_identity_days(workspace, session)

        inputs = [*events, IDENTITIES]
        return {IDENTITY_DAYS.key: refresh_changed(workspace, IDENTITY_DAYS, inputs, make, code_version=digest(sql))}

    return table_asset(
        [IDENTITY_DAYS],
        deps=[*(t.key for t in events), IDENTITIES.key],
        kinds=KINDS,
        code_version=digest(sql),
        body=body,
        lineage={IDENTITY_DAYS.key: lineage_of(sql, schemas, {"landed.events": [t.key for t in events]})},
        pool="lake",
    )
