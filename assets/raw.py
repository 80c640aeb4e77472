"""Raw: the shop's sources as external assets, and one raw table per source into which each landed file goes once."""

from collections.abc import Mapping

import dagster as dg

from assets.table import FILES_READABLE, OWNERS, asset_key, table_asset
from data.build import Outcome
from data.contracts.raw import raw_table
from data.ingest import ingest
from data.shop.config import Shop
from data.workspace import Workspace


def build(shop: Shop) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """External assets and raw tables of every source of the shop file."""
    found: list[dg.AssetsDefinition | dg.AssetSpec] = []
    for name, source in shop.sources.items():
        found.append(
            dg.AssetSpec(
                asset_key(f"source.{name}"),
                description=f"Files of source '{name}' ({source.kind}), as the shop file names them.",
                group_name="source",
                owners=OWNERS,
                kinds={"file"},
                tags={"portrait/class": raw_table(name, source.kind).privacy},
                metadata={"paths": list(source.path), "shop": str(shop.location.name)},
            )
        )
        found.append(_raw(name, source.kind))
    return found


def _raw(source: str, kind: str) -> dg.AssetsDefinition:
    contract = raw_table(source, kind)

    def body(context: dg.AssetExecutionContext, workspace: Workspace) -> Mapping[str, Outcome]:
        outcome, problems = ingest(workspace, source, context.log.info)
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
