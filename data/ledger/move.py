"""Moving a ledger from this machine's file to a database: the same entries, bytes and heads, and no way back."""

from datetime import UTC, datetime

from data.ledger.chain import MOVED, Chain, moved_to
from data.ledger.sqlite import SqliteStore
from data.ledger.store import LedgerError, Store


def move(source: SqliteStore, target: Store, key: bytes) -> int:
    """Copy a ledger entry by entry and close the old one, so that nothing can be added to it any more.

    The old one is locked from the first look to its last entry. Killed in between, both hold the same rows and
    `check_single` lets neither be used through the new place until this was run again.

    Args:
        source: the file; it stays, and its last entry says where the ledger went.
        target: the new place.
        key: the key that the ledger was founded with.

    Returns:
        How many entries the new place holds.

    Raises:
        LedgerError: if there is no ledger to move, it does not verify, or the new place holds another one.
    """
    if not source.is_founded():
        raise LedgerError(f"{source.place}: there is no ledger to move; the first release founds it where it is named")
    old, new = (Chain(store, key, lambda: datetime.now(UTC)) for store in (source, target))
    with source.transaction("write") as leaving:
        entries = old.entries(leaving)
        with target.transaction("write") as arriving:
            if not arriving.is_founded():
                arriving.found()
                for entry in leaving.entries():
                    arriving.append(*entry)
                for release in leaving.releases():
                    arriving.keep(*release)
            there = new.entries(arriving)
            if there[: len(entries)] != entries:
                raise LedgerError(
                    f"ledger {target.place} is not the one in {source.place}; name a database without a ledger of this "
                    "shop"
                )
        old.append(leaving, entries[-1], {"type": MOVED, "to": target.place})
    return len(there)


def check_single(file: SqliteStore, store: Store, key: bytes) -> None:
    """Refuse a second ledger beside one that is in use.

    Args:
        file: where the ledger lies unless the shop file names a database.
        store: where the shop file says that it lies.
        key: the key of both.

    Raises:
        LedgerError: if the file holds a ledger that was not moved.
    """
    if isinstance(store, SqliteStore) or not file.is_founded():
        return
    with file.transaction("read") as transaction:
        entries = Chain(file, key, lambda: datetime.now(UTC)).verified(transaction)
    if moved_to(entries) is None:
        raise LedgerError(
            f"the shop file names ledger {store.place}, but {file.place} holds one that is in use; move it there with "
            "`portrait ledger move`"
        )
