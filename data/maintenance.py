"""Maintenance of the lake: files of versions that nobody may read any more are deleted."""

from collections.abc import Mapping

from data.core import contracts_of
from data.workspace import Workspace


def vacuum(workspace: Workspace) -> Mapping[str, int]:
    """Delete the files of versions older than each contract's `history_days`; what is published is not touched.

    Args:
        workspace: the shop.

    Returns:
        Contract key -> files deleted, for tables that lost any.
    """
    deleted = {contract.key: workspace.lake.vacuum(contract) for contract in contracts_of(workspace.shop)}
    return {key: files for key, files in deleted.items() if files}
