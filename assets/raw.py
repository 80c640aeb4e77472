"""Raw: the shop's sources as external assets, and one raw table per source into which each landed file goes once."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.table import FILES_READABLE, OWNERS, asset_key, table_asset
from data.build import Outcome
from data.contracts.raw import raw_table
from data.ingest import ingest
from data.ingest_tables import ingest_table
from data.shop.config import Shop
from data.shop.source import Source
from data.workspace import Workspace


def build(shop: Shop) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """External assets and raw tables of every source of the shop file."""
    found: list[dg.AssetsDefinition | dg.AssetSpec] = []
    for name, source in shop.sources.items():
        found.append(
            dg.AssetSpec(
                asset_key(f"source.{name}"),
                description=f"{_what(source)} of source '{name}' ({source.kind}), as the shop file names them.",
                group_name="source",
                owners=OWNERS,
                kinds={"table" if source.is_table else "file"},
                tags={"portrait/class": raw_table(name, source.kind).privacy},
                metadata={**_place(source), "shop": str(shop.location.name)},
            )
        )
        found.append(_raw(name, source.kind))
    return found


def _what(source: Source) -> str:
    return "Rows" if source.is_table else "Files"


def _place(source: Source) -> dict[str, Any]:
    """Where a source is, without the database: its address may hold what only the environment should."""
    if not source.is_table:
        return {"paths": list(source.path)}
    return {"table": source.table or source.query or "", "watermark": source.watermark or "none: read whole"}


def _raw(source: str, kind: str) -> dg.AssetsDefinition:
    contract = raw_table(source, kind)

    def body(context: dg.AssetExecutionContext, workspace: Workspace) -> Mapping[str, Outcome]:
        land = ingest_table if workspace.shop.sources[source].is_table else ingest
        outcome, problems = land(workspace, source, context.log.info)
        for problem in problems:
            context.log.error(problem)
        return {contract.key: outcome.model_copy(update={"warning": " ".join(problems)})}

    return table_asset(
        [contract],
        deps=[f"source.{source}"],
        kinds={"duckdb", "delta"},
        code_version="1",
        body=body,
        pool="lake",
        warning=FILES_READABLE,
    )
