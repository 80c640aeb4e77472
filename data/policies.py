"""What becomes of values that are missing, unparsable or out of range: the contract's policies as SQL, by source.

The contract says what a column may do and what it does by default; a shop file may choose another of its policies for
each source. Every policy reads this row, this user's rows and constants alone.
"""

from collections.abc import Mapping, Sequence

from data.contracts.core import EVENTS
from data.contracts.schema import OCCASIONS, Column, Frozen, Occasion, Repair
from data.shop.config import Shop
from data.shop.handling import Handling


class Rule(Frozen):
    """One column of the events, as the judging models read it; texts are SQL over a row's own columns."""

    name: str
    """Column."""
    minimum: str = ""
    """Smallest allowed value."""
    maximum: str = ""
    """Largest allowed value."""
    default: str
    """What stands where no value is expected."""
    expected: str
    """Whether the row should have a value."""
    policy: Mapping[Occasion, str]
    """Occasion -> name of the policy of the row's source."""
    constant: Mapping[Occasion, str]
    """Occasion -> what the policy `constant` puts there."""
    wanted: str
    """Whether a row may want the policy `interpolate`."""


def number_rules(shop: Shop, row: str) -> list[Rule]:
    """The rules of the numbers of events.

    Args:
        shop: the declaration.
        row: alias of the row in the model.
    """
    return [_rule(shop, column, row) for column in _repaired() if column.type == "double"]


def text_rules(shop: Shop, row: str) -> list[Rule]:
    """The rules of the texts of events that some source does not leave as they are."""
    found = [_rule(shop, column, row) for column in _repaired() if column.type == "text"]
    return [rule for rule in found if rule.policy["missing"] != "'null'"]


def interpolates(shop: Shop) -> bool:
    """Whether any source fills values in from the user's other events."""
    return any(rule.wanted != "false" for rule in number_rules(shop, "r"))


def _repaired() -> list[Column]:
    return [column for column in EVENTS.columns if column.repair is not None]


def _rule(shop: Shop, column: Column, row: str) -> Rule:
    repair = column.repair
    assert repair is not None, "only columns with policies have a rule"
    chosen = {
        name: {
            occasion: _chosen(source.columns[column.name].handling(occasion), repair, occasion)
            for occasion in OCCASIONS
        }
        for name, source in shop.sources.items()
        if source.kind == "events" and column.name in source.columns
    }
    standard = {occasion: _chosen(None, repair, occasion) for occasion in OCCASIONS}
    sources = [name for name, found in chosen.items() if any(h and h.policy == "interpolate" for h in found.values())]
    types = f" and {row}.event_type in ({_listed(repair.expected_in)})" if repair.expected_in else ""
    is_text = column.type == "text"
    return Rule(
        name=column.name,
        minimum="" if is_text else _double(column.minimum),
        maximum="" if is_text else _double(column.maximum),
        default="null" if is_text else _double(repair.constant),
        expected=f"{row}.source in ({_listed(sorted(chosen))}){types}" if chosen else "false",
        policy={
            o: _by_source(
                row, {n: _quoted(h.policy) if (h := f[o]) else "null" for n, f in chosen.items()}, standard[o]
            )
            for o in OCCASIONS
        },
        constant={o: _by_source(row, {n: _constant(f[o], column) for n, f in chosen.items()}, None) for o in OCCASIONS},
        wanted=f"{row}.source in ({_listed(sources)}){types}" if sources else "false",
    )


def _chosen(handling: Handling | None, repair: Repair, occasion: Occasion) -> Handling | None:
    """What the source says, else the contract's default; None where a column cannot have the occasion."""
    allowed = repair.allowed(occasion)
    return handling or (Handling(policy=allowed[0]) if allowed else None)


def _constant(handling: Handling | None, column: Column) -> str:
    if handling is None or handling.policy != "constant":
        return "null"
    if column.type == "text":
        return _quoted(handling.constant or "")
    assert column.repair is not None, "only columns with policies have constants"
    return _double(column.repair.constant if handling.constant is None else float(handling.constant))


def _by_source(row: str, values: Mapping[str, str], standard: Handling | None) -> str:
    """A value that depends on the row's source; plain where all sources agree."""
    distinct = set(values.values())
    if not distinct:
        return _quoted(standard.policy) if standard else "null"
    if len(distinct) == 1:
        return distinct.pop()
    whens = " ".join(f"when {_quoted(name)} then {value}" for name, value in sorted(values.items()))
    return f"case {row}.source {whens} end"


def _double(number: float | None) -> str:
    assert number is not None, "the contract bounds every number that has policies, and names its constant"
    return f"{float(number)}e0"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(_quoted, names))
