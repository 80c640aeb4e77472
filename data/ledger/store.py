"""What a place for ledgers must do, and the two ways in which a ledger says no. No meaning of any entry stands here."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Literal, Protocol

Mode = Literal["read", "write"]

WAIT_SECONDS = 120
"""How long a transaction waits for one of another process."""


class LedgerError(Exception):
    """The ledger cannot be used, or does not say what it must say."""


class BudgetRefused(LedgerError):
    """The ledger is in order and says no to one slot. Only this release stops."""

    def __init__(self, slot: str, reason: str) -> None:
        """Say which slot and why.

        Args:
            slot: name of the slot that was asked for.
            reason: half a sentence with the remedy.
        """
        super().__init__(f"slot {slot!r} is refused: {reason}")
        self.slot = slot
        self.reason = reason


class Transaction(Protocol):
    """One transaction on one ledger: all of it reaches the disk, or none."""

    def is_founded(self) -> bool:
        """Whether the ledger exists here."""

    def found(self) -> None:
        """Make what entries are kept in, with the triggers that let nothing be changed or removed."""

    def entries(self) -> Iterable[tuple[int, str, str]]:
        """(sequence, body, head) of every entry, by sequence."""

    def append(self, sequence: int, body: str, head: str) -> None:
        """Add one entry; fails if there is one of that sequence."""

    def releases(self) -> Iterable[tuple[int, bytes]]:
        """(sequence, bytes) of everything released, by sequence."""

    def released(self, sequence: int) -> bytes | None:
        """The bytes that belong to an entry, if any."""

    def keep(self, sequence: int, content: bytes) -> None:
        """Add the bytes that belong to an entry; fails if there are some."""


class Store(Protocol):
    """A place for one ledger. Holds no connection: every transaction opens and closes its own."""

    @property
    def place(self) -> str:
        """How messages name it, without a password."""

    def is_founded(self) -> bool:
        """Whether the ledger exists here; creates nothing.

        Raises:
            LedgerError: if the place cannot be read.
        """

    def transaction(self, mode: Mode) -> AbstractContextManager[Transaction]:
        """One transaction; those that write are one after the other, in all processes.

        Args:
            mode: `read` sees one state of the ledger and waits for nobody.

        Raises:
            LedgerError: if the place cannot be used, for one sentence with the remedy; nothing was written, except
                where the connection was lost while the transaction ended: then all of it was, or none.
        """
