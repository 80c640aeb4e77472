"""What the entries of a ledger say: its releases, its budget, and how a plan differs from the one in row 0."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from data.ledger.chain import Entry, canonical_json


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
    """When its latest entry was written, by that machine's clock; informative, the order is the sequence."""
    is_clock_behind: bool
    """Whether that clock stood before the time of an earlier entry: then one of the two clocks is wrong."""


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

    @property
    def epsilon_left(self) -> float:
        """What the plan still allows, never negative."""
        return max(self.epsilon_declared - self.epsilon, 0.0)


def rows_of(entries: Sequence[Entry]) -> dict[str, Row]:
    """The releases by slot, in the order of their reservation.

    Args:
        entries: verified, row 0 first.
    """
    found: dict[str, Row] = {}
    latest = datetime.fromisoformat(entries[0].body["recorded_at_utc"])
    for entry in entries[1:]:
        body = dict(entry.body)
        kind, slot = body.pop("type"), body["slot"]
        body.pop("release_sha256", None)
        at = datetime.fromisoformat(body["recorded_at_utc"])
        state: Literal["reserved", "committed"] = "committed" if kind == "commit" else "reserved"
        before = {} if kind == "reserve" else dict(vars(found[slot]))
        place = {"sequence": entry.sequence, "head": entry.head, "is_clock_behind": at < latest}
        fields = {**before, **body, **place, "state": state}
        found[slot] = Row(**{**fields, "bound": fields["event"]["bound"]})
        latest = max(latest, at)
    return found


def plan_differences(stored: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Tell how a plan differs from the one that a ledger was founded on.

    >>> plan_differences({"epsilon": 1, "slots": [{"name": "a", "share": 1}]}, {"epsilon": 2, "slots": []})
    (['epsilon is 2, there 1'], ["slot 'a' is gone"])

    Args:
        stored: plan in row 0: fields of the policy, and `slots`, a list of documents with a `name`.
        given: plan of now. The order of the slots says nothing.

    Returns:
        One phrase a difference: those of the policy, and those of slots.
    """
    policy = list(_fields({**stored, "slots": None}, {**given, "slots": None}, ""))
    there, here = ({slot["name"]: slot for slot in plan.get("slots", [])} for plan in (stored, given))
    slots = [f"slot {name!r} is gone" for name in there if name not in here]
    slots += [f"slot {name!r} is new" for name in here if name not in there]
    for name in there:
        if name in here:
            slots += _fields(there[name], here[name], f" of slot {name!r}")
    return policy, slots


def _fields(stored: Mapping[str, Any], given: Mapping[str, Any], of: str) -> Iterator[str]:
    for name in dict.fromkeys((*given, *stored)):
        there, here = (canonical_json(plan[name]) if name in plan else "missing" for plan in (stored, given))
        if there != here:
            yield f"{name}{of} is {here}, there {there}"
