"""Maintenance of the lake: files of versions that nobody may read any more are deleted."""

from collections.abc import Mapping

from data.contracts import TABLES
from data.contracts.raw import raw_table
from data.workspace import Workspace


def vacuum(workspace: Workspace) -> Mapping[str, int]:
    """Delete the files of versions older than each contract's `history_days`; what is published is not touched.

    Args:
        workspace: the shop.

    Returns:
        Contract key -> files deleted, for tables that lost any.
    """
    raw = [raw_table(name, source.kind) for name, source in workspace.shop.sources.items()]
    deleted = {contract.key: workspace.lake.vacuum(contract) for contract in [*raw, *TABLES.values()]}
    return {key: files for key, files in deleted.items() if files}
