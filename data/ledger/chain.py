"""How the entries of a ledger hold together: each carries a keyed MAC over itself and the one before it.

Who has the place but not the key can change, remove, move or add nothing that `Chain.entries` does not notice, but for
cutting the tail: against that, artefacts carry the (sequence, head) that they were released under.
"""

import hmac
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from data.ledger.store import LedgerError, Store, Transaction

Artefact = tuple[str, int, str]
"""(name, sequence, head) as a published artefact carries them."""

_BACKUP = "restore it from its latest backup"


@dataclass(frozen=True)
class Entry:
    """A verified entry."""

    sequence: int
    """Its place, from 0 on."""
    body: dict[str, Any]
    """What it says."""
    head: str
    """MAC over the head before it, its sequence and its body: 64 hexadecimal digits."""


MOVED = "moved"
"""Type of the last entry of a ledger that lies elsewhere now."""

BEFORE_ALL = Entry(-1, {}, "")
"""What row 0 is chained to."""


def canonical_json(document: Any) -> str:
    """JSON with sorted keys and no spaces: equal documents give equal text.

    Raises:
        ValueError: if a number is not finite.
    """
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


class Chain:
    """The entries of one store under one key."""

    def __init__(self, store: Store, key: bytes, clock: Callable[[], datetime]) -> None:
        """Keep the parts.

        Args:
            store: where the entries lie.
            key: at least 32 secret bytes.
            clock: current time; informative.

        Raises:
            LedgerError: if the key is short.
        """
        if len(key) < 32:
            raise LedgerError(f"the ledger key has {len(key)} bytes; give at least 32 random bytes")
        self.store = store
        self._key = key
        self._clock = clock

    @property
    def place(self) -> str:
        """How messages name the ledger."""
        return self.store.place

    def mac(self, purpose: str, text: str) -> str:
        """HMAC-SHA-256 with a key of its own for every purpose: 64 hexadecimal digits."""
        key = hmac.digest(self._key, f"portrait ledger: {purpose}".encode(), "sha256")
        return hmac.new(key, text.encode(), "sha256").hexdigest()

    def found(self, transaction: Transaction, body: Mapping[str, Any]) -> None:
        """Write row 0, which also tells a wrong key from a changed row."""
        transaction.found()
        self.append(transaction, BEFORE_ALL, {**body, "key_check": self.mac("key check", "")})

    def append(self, transaction: Transaction, last: Entry, body: Mapping[str, Any]) -> Entry:
        """Chain one entry to the last one."""
        sequence = last.sequence + 1
        text = canonical_json({**body, "recorded_at_utc": self._clock().isoformat()})
        head = self._head(last.head, sequence, text)
        transaction.append(sequence, text, head)
        return Entry(sequence, json.loads(text), head)

    def read(self) -> list[Entry]:
        """See `entries`; in a transaction of its own."""
        with self.store.transaction("read") as transaction:
            return self.entries(transaction)

    def entries(self, transaction: Transaction) -> list[Entry]:
        """Every entry, verified from row 0 on, of a ledger that is in use.

        Raises:
            LedgerError: as `verified`; or if the ledger was moved to another place.
        """
        entries = self.verified(transaction)
        if (place := moved_to(entries)) is not None:
            raise LedgerError(f"ledger {self.place} was moved to {place}; name that as privacy.ledger of the shop file")
        return entries

    def verified(self, transaction: Transaction) -> list[Entry]:
        """Every entry, verified from row 0 on.

        Raises:
            LedgerError: naming the first row that does not fit, or the key if that does not.
        """
        entries: list[Entry] = []
        head = ""
        for sequence, text, stored in transaction.entries():
            head = self._head(head, len(entries), text)
            if sequence != len(entries) or not _is_same(head, stored):
                raise LedgerError(self._fault(len(entries), sequence, text))
            entries.append(Entry(sequence, json.loads(text), head))
        if not entries:
            raise LedgerError(f"ledger {self.place} has lost its row 0; {_BACKUP}")
        return entries

    def check_artefacts(self, entries: Sequence[Entry], artefacts: Iterable[Artefact]) -> None:
        """Refuse an artefact that names a row which the ledger does not have, or has differently.

        Raises:
            LedgerError: naming it.
        """
        for name, sequence, head in artefacts:
            if sequence >= len(entries):
                raise LedgerError(
                    f"artefact {name!r} was released under row {sequence}, but ledger {self.place} ends at row "
                    f"{entries[-1].sequence}: its tail was cut or an old copy restored; restore the latest backup"
                )
            if not _is_same(entries[sequence].head, head):
                raise LedgerError(
                    f"artefact {name!r} carries another head than row {sequence} of ledger {self.place}, so that one "
                    "of the two is of another ledger; restore the ledger from the latest backup that fits the artefact"
                )

    def _head(self, before: str, sequence: int, text: str) -> str:
        return self.mac("chain", f"{before}\n{sequence}\n{text}")

    def _fault(self, expected: int, sequence: int, text: str) -> str:
        """Say whether the key does not fit or a row was touched."""
        if expected == sequence == 0 and self.mac("key check", "") not in text:
            return f"the key does not fit ledger {self.place}; use the key that it was founded with"
        return f"row {expected} of ledger {self.place} was changed, removed or moved; {_BACKUP}"


def moved_to(entries: Sequence[Entry]) -> str | None:
    """Where a ledger was moved; None while it is in use."""
    last = entries[-1].body
    return str(last["to"]) if last["type"] == MOVED else None


def _is_same(head: str, stored: str) -> bool:
    return hmac.compare_digest(head.encode(), stored.encode())
