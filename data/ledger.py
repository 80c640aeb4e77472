"""The privacy ledger: one append-only SQLite file that says what was ever learnt across users, and refuses the rest.

Belongs here: storage, order, tamper evidence and the refusal. Does not belong here: what an event costs. Events are
plain JSON, and the composition is a function that the caller passes in, so that this room imports no privacy library.

How a release goes, and why no kill can under-count:

1. `reserve` before any row of data is read. From this moment the slot's whole cost is spent, for ever.
2. The mechanism runs. Nothing of its outcome leaves the process.
3. `commit` writes the event read back from the mechanism AND the released bytes, in one transaction.
4. The caller publishes the bytes that `commit` stored, with the row's (sequence, head) beside them.

Killed before 3: nobody saw anything, so a rerun on the same inputs and code may draw again under the same reservation
(`reserve` returns it, and fences off the earlier holder: only the latest holder can commit). The one outcome that is
ever published still costs what was reserved. Killed after 3: the slot is committed, `reserve` returns the stored row,
and the rerun publishes the same bytes; nothing is drawn twice, even if the published table was lost meanwhile. So
publication implies commit, and commit happens once a slot. If the caller finds a published artefact where the ledger
knows of no commit, this order was broken or an old ledger was restored, and `reserve` refuses.

Rows are chained by HMAC-SHA-256. A cut tail leaves a valid shorter chain, which is why artefacts carry (sequence, head)
and are held against the ledger by `open` and `verify`. Times are informative only; the order is the sequence.
"""

import contextlib
import hashlib
import hmac
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

Compose = Callable[[Sequence[Mapping[str, Any]]], Mapping[str, float]]
"""From event documents to `{"epsilon", "epsilon_zcdp", "delta", "mu"}` of all of them together."""

Artefact = tuple[str, int, str]
"""(name, sequence, head) as a published artefact carries them."""

_SCHEMA = """
CREATE TABLE entry (sequence INTEGER PRIMARY KEY, body TEXT NOT NULL, head TEXT NOT NULL) STRICT;
CREATE TABLE release (sequence INTEGER PRIMARY KEY REFERENCES entry, content BLOB NOT NULL) STRICT;
CREATE TRIGGER entry_update BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER entry_delete BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER release_update BEFORE UPDATE ON release BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER release_delete BEFORE DELETE ON release BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
"""


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


@dataclass(frozen=True)
class Reservation:
    """The right to run one slot's mechanism once and commit it."""

    slot: str
    """Name of the slot."""
    sequence: int
    """Entry that gives this right; a later holder's entry takes it away."""
    event: dict[str, Any]
    """The event that the plan allows, as JSON; the event read back must equal it."""
    resumed: bool
    """Whether an earlier holder reserved and never committed."""


@dataclass(frozen=True)
class Row:
    """One release: spent when reserved, readable when committed."""

    state: Literal["reserved", "committed"]
    """How far it got; both count in full."""
    sequence: int
    """Position of its latest entry."""
    head: str
    """Chained MAC of that entry, 64 hexadecimal digits."""
    slot: str
    """Slot of the plan."""
    asset: str
    """Asset that releases it."""
    run_id: str
    """Run that holds it, or committed it."""
    input_mac: str
    """Keyed MAC of the input version."""
    code_version: str
    """Version of the code that releases it."""
    event: dict[str, Any]
    """Mechanism event as JSON."""
    unit: str
    """Privacy unit and neighbouring relation."""
    bound: float
    """Clip norm of one unit's contribution."""
    mu: float
    """Its own Gaussian differential privacy parameter."""
    epsilon: float
    """Composed epsilon of everything reserved up to and including it (numerical)."""
    epsilon_zcdp: float
    """The proven epsilon beside it."""
    delta: float
    """The delta at which both hold."""
    recorded_at_utc: str
    """When its latest entry was written, by that machine's clock; informative."""


@dataclass(frozen=True)
class Spent:
    """The budget so far."""

    epsilon: float
    """Composed over every reserved row."""
    epsilon_zcdp: float
    """The proven epsilon beside it."""
    mu: float
    """Root of the sum of mu^2."""
    epsilon_declared: float
    """What the plan allows in total."""
    delta: float
    """The delta at which all three epsilons hold."""
    free_slots: tuple[str, ...]
    """Slots of the plan that nothing has reserved."""


@dataclass(frozen=True)
class _Entry:
    """A verified entry of the chain."""

    sequence: int
    body: dict[str, Any]
    head: str


def canonical_json(document: Any) -> str:
    """JSON with sorted keys and no spaces: equal documents give equal text.

    Raises:
        ValueError: if a number is not finite.
    """
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _now_utc() -> datetime:
    return datetime.now(UTC)


class Ledger:
    """An open ledger. Holds no connection: every call is one short transaction, safe across processes."""

    def __init__(self, path: Path, key: bytes, compose: Compose, clock: Callable[[], datetime]) -> None:
        """Use `Ledger.open` instead."""
        self._path = path
        self._key = key
        self._compose = compose
        self._clock = clock

    @classmethod
    def open(
        cls,
        path: Path,
        key: bytes,
        plan: Mapping[str, Any],
        compose: Compose,
        *,
        artefacts: Iterable[Artefact] = (),
        clock: Callable[[], datetime] = _now_utc,
    ) -> "Ledger":
        """Open the ledger, or found it on the plan if there is none and nothing was ever released.

        Args:
            path: the SQLite file, on a local disk (its locks do not hold on network file systems).
            key: at least 32 secret bytes.
            plan: row 0: `{"plan": {...}, "unit": str, "epsilon": float, "delta": float, "slots": {name: event}}`.
            compose: what a sequence of events costs.
            artefacts: what published artefacts carry. With any of them, a missing ledger is an error, not a new start.
            clock: current time; informative.

        Returns:
            The ledger, verified from row 0 to its head and against the artefacts.

        Raises:
            LedgerError: if the key is short or does not fit, the plan is not the one of row 0, the plan's slots cost
                more than it declares, the file is missing, cut, changed, unreadable or not writable.
        """
        if len(key) < 32:
            raise LedgerError(f"the ledger key has {len(key)} bytes; give at least 32 random bytes")
        ledger = cls(Path(path), key, compose, clock)
        known = list(artefacts)
        with ledger._transaction("IMMEDIATE") as db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'entry'").fetchone():
                if known:
                    raise LedgerError(
                        f"ledger {path} is missing or empty, but artefact {known[0][0]!r} was released under row "
                        f"{known[0][1]}; restore the ledger from its latest backup"
                    )
                ledger._found(db, plan)
            entries = ledger._entries(db)
        stored, given = entries[0].body["document"]["plan"], plan["plan"]
        if canonical_json(stored) != canonical_json(given):
            raise LedgerError(
                f"the privacy plan (sha256 {_digest(given)[:12]}) is not the plan {_digest(stored)[:12]} that ledger "
                f"{path} was founded on; restore that plan, it is fixed for the ledger's lifetime"
            )
        _check_artefacts(path, entries, known)
        return ledger

    def reserve(
        self, *, slot: str, asset: str, run_id: str, input_version: str, code_version: str, is_published: bool
    ) -> Reservation | Row:
        """Spend a slot before reading data, or find that it was already released from the same inputs.

        Args:
            slot: name of a slot of the plan.
            asset: asset that releases it.
            run_id: run that asks.
            input_version: content version of everything the release reads, and of nothing else; the same content must
                give the same text after a crash and rerun. Only its keyed MAC is stored.
            code_version: version of the releasing code.
            is_published: whether the caller finds an artefact of this slot already published. Trusted only to refuse:
                see the module's docstring for why a correct caller never has one without a commit.

        Returns:
            A `Reservation` to run under; or the committed `Row` of the same asset, inputs and code, whose bytes
            `released` gives: publish these and draw nothing.

        Raises:
            BudgetRefused: if the plan has no such slot, the slot was spent on other inputs, code or asset, the plan's
                epsilon would be exceeded, or an artefact exists that the ledger knows nothing of.
            LedgerError: if the ledger cannot be read, verified or written.
        """
        request = {
            "slot": slot,
            "asset": asset,
            "input_mac": self._mac("input", input_version),
            "code_version": code_version,
        }
        with self._transaction("IMMEDIATE") as db:
            entries = self._entries(db)
            row = _rows(entries).get(slot)
            if row is not None and any(getattr(row, name) != value for name, value in request.items()):
                raise BudgetRefused(
                    slot,
                    f"already spent in row {row.sequence} by run {row.run_id}, on other inputs or code; "
                    "everything else goes on with that release",
                )
            if row is not None and row.state == "committed":
                return row
            if is_published:
                raise BudgetRefused(
                    slot,
                    "an artefact of it is published, but the ledger has no commit of it; "
                    "restore the ledger from its latest backup",
                )
            if row is None:
                body = {"type": "reserve", **request, "run_id": run_id, **self._price(slot, entries)}
            else:
                body = {"type": "resume", "slot": slot, "run_id": run_id}
            entry = self._append(db, entries[-1], body)
        event = _rows([*entries, entry])[slot].event
        return Reservation(slot=slot, sequence=entry.sequence, event=event, resumed=row is not None)

    def commit(self, reservation: Reservation, event: Mapping[str, Any], release: bytes) -> Row:
        """Record what ran and store what it released, before anybody can see it. Publish only after this returns.

        Args:
            reservation: what `reserve` gave.
            event: the mechanism event as JSON, read back from what ran.
            release: the released values, serialised; what the caller then publishes.

        Returns:
            The committed row; its (sequence, head) go with every artefact made from the release.

        Raises:
            BudgetRefused: if the slot was committed already or a later holder took the reservation over.
            LedgerError: if the event is not the reserved one (the reservation stays spent and nothing may be
                published), or the ledger cannot be read, verified or written.
        """
        digest = hashlib.sha256(release).hexdigest()
        with self._transaction("IMMEDIATE") as db:
            entries = self._entries(db)
            row = _rows(entries).get(reservation.slot)
            if row is None or row.state == "committed" or row.sequence != reservation.sequence:
                holder = "nobody" if row is None else f"run {row.run_id} in row {row.sequence} ({row.state})"
                raise BudgetRefused(
                    reservation.slot,
                    f"reservation {reservation.sequence} is no longer valid, the slot is held by {holder}; "
                    "drop this outcome and ask again",
                )
            if dict(event) != row.event:
                raise LedgerError(
                    f"slot {row.slot!r} reserved {canonical_json(row.event)} but what ran was "
                    f"{canonical_json(dict(event))}; the slot stays spent and nothing may be published"
                )
            body = {"type": "commit", "slot": reservation.slot, "event": dict(event), "release_sha256": digest}
            entry = self._append(db, entries[-1], body)
            db.execute("INSERT INTO release VALUES (?, ?)", (entry.sequence, release))
        return _rows([*entries, entry])[reservation.slot]

    def released(self, row: Row) -> bytes:
        """The bytes that a committed row released.

        Raises:
            LedgerError: if the row is not committed, or its bytes are missing or not the committed ones.
        """
        with self._transaction("DEFERRED") as db:
            entries = self._entries(db)
            found = db.execute("SELECT content FROM release WHERE sequence = ?", (row.sequence,)).fetchone()
        body = entries[row.sequence].body if row.sequence < len(entries) else {}
        if found is None or hashlib.sha256(found[0]).hexdigest() != body.get("release_sha256"):
            raise LedgerError(
                f"the stored release of row {row.sequence} in {self._path} is missing or changed; "
                "restore the ledger from its latest backup"
            )
        return bytes(found[0])

    def rows(self) -> list[Row]:
        """All releases in the order of their reservation.

        Raises:
            LedgerError: if the ledger cannot be read or verified.
        """
        return list(_rows(self._read()).values())

    def spent(self) -> Spent:
        """The composed cost of every reservation, committed or not.

        Raises:
            LedgerError: if the ledger cannot be read or verified.
        """
        entries = self._read()
        rows, document = _rows(entries), entries[0].body["document"]
        cost = self._cost([row.event for row in rows.values()])
        return Spent(
            epsilon=cost["epsilon"],
            epsilon_zcdp=cost["epsilon_zcdp"],
            mu=cost["mu"],
            epsilon_declared=document["epsilon"],
            delta=document["delta"],
            free_slots=tuple(name for name in document["slots"] if name not in rows),
        )

    def verify(self, artefacts: Iterable[Artefact] = ()) -> None:
        """Check the chain from row 0 to the head, every stored release, and that no artefact is ahead of it.

        Args:
            artefacts: (name, sequence, head) of every published artefact.

        Raises:
            LedgerError: naming the first row or artefact that does not fit.
        """
        entries = self._read()
        _check_artefacts(self._path, entries, artefacts)
        for row in _rows(entries).values():
            if row.state == "committed":
                self.released(row)

    def _price(self, slot: str, entries: Sequence[_Entry]) -> dict[str, Any]:
        """The reserved event with its cost, alone and after everything before it; refuse what the plan lacks."""
        document = entries[0].body["document"]
        if slot not in document["slots"]:
            raise BudgetRefused(slot, f"the plan has only the slots {', '.join(sorted(document['slots']))}")
        event = document["slots"][slot]
        total = self._cost([*(row.event for row in _rows(entries).values()), event])
        if total["epsilon"] > document["epsilon"]:
            raise BudgetRefused(slot, f"epsilon would be {total['epsilon']:.6g} of {document['epsilon']:g} declared")
        costs = {name: total[name] for name in ("epsilon", "epsilon_zcdp", "delta")}
        return {"event": event, "unit": document["unit"], "mu": self._cost([event])["mu"], **costs}

    def _cost(self, events: Sequence[Mapping[str, Any]]) -> Mapping[str, float]:
        """Compose, with an event that cannot be composed turned into one sentence."""
        try:
            return self._compose(events)
        except ValueError as error:
            raise LedgerError(f"the plan of ledger {self._path} holds an event that has no price: {error}") from error

    def _found(self, db: sqlite3.Connection, plan: Mapping[str, Any]) -> None:
        """Write row 0, once it is sure that the plan's slots together cost no more than it declares."""
        for name, event in plan["slots"].items():
            if event.get("kind") == "none" or event.get("randomness") == "seeded: not private":
                raise LedgerError(f"slot {name!r} is not private ({canonical_json(event)}); no ledger stores that")
        epsilon = self._cost(list(plan["slots"].values()))["epsilon"]
        if not epsilon <= plan["epsilon"]:
            raise LedgerError(f"the plan's slots cost epsilon {epsilon:.6g}, not {plan['epsilon']:g}; lower shares")
        for statement in _SCHEMA.strip().splitlines():
            db.execute(statement)
        body = {"type": "plan", "document": dict(plan), "key_check": self._mac("key check", "")}
        self._append(db, _Entry(-1, {}, ""), body)

    def _append(self, db: sqlite3.Connection, last: _Entry, body: Mapping[str, Any]) -> _Entry:
        """Chain one entry to the last."""
        sequence = last.sequence + 1
        text = canonical_json({**body, "recorded_at_utc": self._clock().isoformat()})
        head = self._mac("chain", f"{last.head}\n{sequence}\n{text}")
        db.execute("INSERT INTO entry VALUES (?, ?, ?)", (sequence, text, head))
        return _Entry(sequence, json.loads(text), head)

    def _mac(self, purpose: str, text: str) -> str:
        """HMAC-SHA-256 with a key of its own for every purpose."""
        key = hmac.digest(self._key, f"portrait ledger: {purpose}".encode(), "sha256")
        return hmac.new(key, text.encode(), "sha256").hexdigest()

    def _read(self) -> list[_Entry]:
        with self._transaction("DEFERRED") as db:
            return self._entries(db)

    def _entries(self, db: sqlite3.Connection) -> list[_Entry]:
        """Every entry, verified from row 0 on."""
        entries: list[_Entry] = []
        head = ""
        for sequence, text, stored in db.execute("SELECT sequence, body, head FROM entry ORDER BY sequence"):
            head = self._mac("chain", f"{head}\n{len(entries)}\n{text}")
            if sequence != len(entries) or not hmac.compare_digest(head, stored):
                raise LedgerError(self._fault(len(entries), text))
            entries.append(_Entry(sequence, json.loads(text), head))
        if not entries:
            raise LedgerError(f"ledger {self._path} has lost its row 0; restore it from its latest backup")
        return entries

    def _fault(self, sequence: int, text: str) -> str:
        """Say whether the key does not fit or a row was touched."""
        if sequence == 0 and self._mac("key check", "") not in text:
            return f"the key does not fit ledger {self._path}; use the key that it was founded with"
        return f"row {sequence} of ledger {self._path} was changed, removed or moved; restore it from its latest backup"

    @contextlib.contextmanager
    def _transaction(self, mode: Literal["IMMEDIATE", "DEFERRED"]) -> Iterator[sqlite3.Connection]:
        """One transaction on a connection of its own; all of it reaches the disk, or none."""
        try:
            with contextlib.closing(sqlite3.connect(self._path, timeout=120, isolation_level=None)) as db:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")  # in WAL mode NORMAL may lose the last commits on power loss
                db.execute(f"BEGIN {mode}")
                try:
                    yield db
                except BaseException:
                    if db.in_transaction:  # SQLite rolls back by itself when the disk is full
                        db.execute("ROLLBACK")
                    raise
                db.execute("COMMIT")
        except sqlite3.Error as error:
            raise LedgerError(
                f"ledger {self._path} cannot be used: {error}; check the disk, its rights and free space, "
                "or restore it from its latest backup"
            ) from error


def _digest(document: Any) -> str:
    """SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(document).encode()).hexdigest()


def _rows(entries: Sequence[_Entry]) -> dict[str, Row]:
    """The releases by slot, in the order of their reservation, as the entries tell them."""
    found: dict[str, Row] = {}
    for entry in entries[1:]:
        body = dict(entry.body)
        kind, slot = body.pop("type"), body["slot"]
        body.pop("release_sha256", None)
        state: Literal["reserved", "committed"] = "committed" if kind == "commit" else "reserved"
        before = {} if kind == "reserve" else dict(vars(found[slot]))
        fields = {**before, **body, "state": state, "sequence": entry.sequence, "head": entry.head}
        found[slot] = Row(**{**fields, "bound": fields["event"]["bound"]})
    return found


def _check_artefacts(path: Path, entries: Sequence[_Entry], artefacts: Iterable[Artefact]) -> None:
    """Refuse an artefact that names a row the ledger does not have, or has differently."""
    for name, sequence, head in artefacts:
        if sequence >= len(entries):
            raise LedgerError(
                f"artefact {name!r} was released under row {sequence}, but ledger {path} ends at row "
                f"{entries[-1].sequence}: its tail was cut or an old copy restored; restore the latest backup"
            )
        if not hmac.compare_digest(entries[sequence].head, head):
            raise LedgerError(f"artefact {name!r} carries another head than row {sequence} of {path}; one is forged")
