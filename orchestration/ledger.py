"""Opening the shop's privacy ledger for reading: never founds one, never makes a key."""

from assets.release import artefacts, open_ledger
from data.ledger import Ledger
from data.workspace import Workspace


def existing_ledger(workspace: Workspace) -> Ledger | None:
    """The ledger of the shop as it stands.

    Args:
        workspace: the shop.

    Returns:
        The ledger, verified from row 0 to its head and against every published release; None if nothing was released.

    Raises:
        LedgerError: if it or its key is gone, or it cannot be read or does not verify.
        KeyFault: if its key has a wrong form.
        ShopError: if the shop declares no population, which the plan is for, or names no place for the ledger.
    """
    if not workspace.ledger_store.is_founded() and not artefacts(workspace.lake):
        return None
    return open_ledger(workspace)
