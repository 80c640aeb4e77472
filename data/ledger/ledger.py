"""What a ledger says and refuses: the plan, reservations and commits, and what is spent. See the package."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from data.ledger.chain import Artefact, Chain, Entry, canonical_json
from data.ledger.rows import Reservation, Row, Spent, plan_differences, rows_of
from data.ledger.store import BudgetRefused, LedgerError, Store, Transaction

Compose = Callable[[Sequence[Mapping[str, Any]]], Mapping[str, float]]
"""From event documents to `{"epsilon", "epsilon_zcdp", "delta", "mu"}` of all of them together."""

Plan = Mapping[str, Any]
"""A declared plan as JSON: epsilon, delta, declared_users, and `slots`, a list of documents with a `name`."""

DIFFERENCES_SHOWN = 4


def _now_utc() -> datetime:
    return datetime.now(UTC)


class Ledger:
    """An open ledger. Holds no connection: every call is one short transaction, safe across processes."""

    def __init__(self, chain: Chain, compose: Compose) -> None:
        """Use `Ledger.open` instead."""
        self._chain = chain
        self._compose = compose

    @classmethod
    def open(
        cls,
        store: Store,
        key: bytes,
        plan: Mapping[str, Any],
        compose: Compose,
        *,
        artefacts: Iterable[Artefact] = (),
        in_todays_form: Callable[[Plan], Plan] = dict,
        clock: Callable[[], datetime] = _now_utc,
    ) -> "Ledger":
        """Open the ledger, or found it on the plan if there is none and nothing was ever released.

        Args:
            store: where it lies.
            key: at least 32 secret bytes.
            plan: row 0: `{"plan": {...}, "unit": str, "epsilon": float, "delta": float, "slots": {name: event}}`.
            compose: what a sequence of events costs.
            artefacts: what published artefacts carry. With any of them, a missing ledger is an error, not a new start.
            in_todays_form: fills a stored plan's later fields with what they meant when there was no such field.
            clock: current time; informative.

        Returns:
            The ledger, verified from row 0 to its head and against the artefacts.

        Raises:
            LedgerError: if the key is short or does not fit, the plan is not the one of row 0, the plan's slots cost
                more than it declares, the ledger is missing, cut, changed, unreadable or not writable.
        """
        ledger, known = cls(Chain(store, key, clock), compose), list(artefacts)
        if not store.is_founded():
            if known:
                raise LedgerError(
                    f"ledger {store.place} is missing or empty, but artefact {known[0][0]!r} was released under row "
                    f"{known[0][1]}; restore the ledger from its latest backup"
                )
            with store.transaction("write") as transaction:
                if not transaction.is_founded():  # another process may have been quicker
                    ledger._found(transaction, plan)
        entries = ledger._chain.read()
        ledger._check_plan(in_todays_form(entries[0].body["document"]["plan"]), plan["plan"])
        ledger._chain.check_artefacts(entries, known)
        return ledger

    @staticmethod
    def founding_plan(store: Store, key: bytes) -> Plan | None:
        """The plan of row 0, as it was declared then; None if there is no ledger.

        Args:
            store: where the ledger lies.
            key: the key that it was founded with.

        Raises:
            LedgerError: as `open`, but for the plan.
        """
        if not store.is_founded():
            return None
        found: Plan = Chain(store, key, _now_utc).read()[0].body["document"]["plan"]
        return found

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
                see the package's docstring for why a correct caller never has one without a commit.

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
            "input_mac": self._chain.mac("input", input_version),
            "code_version": code_version,
        }
        with self._chain.store.transaction("write") as transaction:
            entries = self._chain.entries(transaction)
            row = rows_of(entries).get(slot)
            _check_request(row, request, is_published)
            if row is not None and row.state == "committed":
                return row
            if row is None:
                body = {"type": "reserve", **request, "run_id": run_id, **self._price(slot, entries)}
            else:
                body = {"type": "resume", "slot": slot, "run_id": run_id}
            entry = self._chain.append(transaction, entries[-1], body)
        event = rows_of([*entries, entry])[slot].event
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
        with self._chain.store.transaction("write") as transaction:
            entries = self._chain.entries(transaction)
            row = rows_of(entries).get(reservation.slot)
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
            entry = self._chain.append(transaction, entries[-1], body)
            transaction.keep(entry.sequence, release)
        return rows_of([*entries, entry])[reservation.slot]

    def released(self, row: Row) -> bytes:
        """The bytes that a committed row released.

        Raises:
            LedgerError: if the row is not committed, or its bytes are missing or not the committed ones.
        """
        with self._chain.store.transaction("read") as transaction:
            return self._content(transaction, self._chain.entries(transaction), row.sequence)

    def rows(self) -> list[Row]:
        """All releases in the order of their reservation.

        Raises:
            LedgerError: if the ledger cannot be read or verified.
        """
        return list(rows_of(self._chain.read()).values())

    def spent(self) -> Spent:
        """The composed cost of every reservation, committed or not.

        Raises:
            LedgerError: if the ledger cannot be read or verified.
        """
        entries = self._chain.read()
        rows, document = rows_of(entries), entries[0].body["document"]
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
        with self._chain.store.transaction("read") as transaction:
            entries = self._chain.entries(transaction)
            self._chain.check_artefacts(entries, artefacts)
            for row in rows_of(entries).values():
                if row.state == "committed":
                    self._content(transaction, entries, row.sequence)

    def _content(self, transaction: Transaction, entries: Sequence[Entry], sequence: int) -> bytes:
        """The stored bytes of a commit, held against its digest."""
        body = entries[sequence].body if sequence < len(entries) else {}
        found = transaction.released(sequence)
        if found is None or hashlib.sha256(found).hexdigest() != body.get("release_sha256"):
            raise LedgerError(
                f"the stored release of row {sequence} in ledger {self._chain.place} is missing or changed; "
                "restore the ledger from its latest backup"
            )
        return found

    def _check_plan(self, stored: Plan, given: Plan) -> None:
        policy, slots = plan_differences(stored, given)
        if found := policy + slots:
            more = f", and {len(found) - DIFFERENCES_SHOWN} more" if len(found) > DIFFERENCES_SHOWN else ""
            remedy = (
                "put the old values back into the shop file" if policy else "use the version that knows these slots"
            )
            raise LedgerError(
                f"the privacy plan is not the one that ledger {self._chain.place} was founded on "
                f"({'; '.join(found[:DIFFERENCES_SHOWN])}{more}); a plan is fixed for its ledger's lifetime: {remedy}"
            )

    def _price(self, slot: str, entries: Sequence[Entry]) -> dict[str, Any]:
        """The reserved event with its cost, alone and after everything before it; refuse what the plan lacks."""
        document = entries[0].body["document"]
        if slot not in document["slots"]:
            raise BudgetRefused(slot, f"the plan has only the slots {', '.join(sorted(document['slots']))}")
        event = document["slots"][slot]
        total = self._cost([*(row.event for row in rows_of(entries).values()), event])
        if total["epsilon"] > document["epsilon"]:
            raise BudgetRefused(slot, f"epsilon would be {total['epsilon']:.6g} of {document['epsilon']:g} declared")
        costs = {name: total[name] for name in ("epsilon", "epsilon_zcdp", "delta")}
        return {"event": event, "unit": document["unit"], "mu": self._cost([event])["mu"], **costs}

    def _cost(self, events: Sequence[Mapping[str, Any]]) -> Mapping[str, float]:
        """Compose, with an event that cannot be composed turned into one sentence."""
        try:
            return self._compose(events)
        except ValueError as error:
            raise LedgerError(
                f"the plan of ledger {self._chain.place} holds an event that has no price: {error}"
            ) from error

    def _found(self, transaction: Transaction, plan: Mapping[str, Any]) -> None:
        """Write row 0, once it is sure that the plan's slots together cost no more than it declares."""
        for name, event in plan["slots"].items():
            if event.get("kind") == "none" or event.get("randomness") == "seeded: not private":
                raise LedgerError(f"slot {name!r} is not private ({canonical_json(event)}); no ledger stores that")
        epsilon = self._cost(list(plan["slots"].values()))["epsilon"]
        if not epsilon <= plan["epsilon"]:
            raise LedgerError(f"the plan's slots cost epsilon {epsilon:.6g}, not {plan['epsilon']:g}; lower shares")
        self._chain.found(transaction, {"type": "plan", "document": dict(plan)})


def _check_request(row: Row | None, request: Mapping[str, str], is_published: bool) -> None:
    """Refuse a slot that was spent on something else, and an artefact that the ledger knows nothing of."""
    if row is not None and any(getattr(row, name) != value for name, value in request.items()):
        after = (
            "everything else goes on with that release"
            if row.state == "committed"
            else "nothing of it was released, and only a rerun on the same inputs and code can finish it"
        )
        raise BudgetRefused(
            row.slot, f"already spent in row {row.sequence} by run {row.run_id}, on other inputs or code; {after}"
        )
    if is_published and (row is None or row.state != "committed"):
        raise BudgetRefused(
            request["slot"],
            "an artefact of it is published, but the ledger has no commit of it; "
            "restore the ledger from its latest backup",
        )
