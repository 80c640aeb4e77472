"""What a contract expects of a batch: one named expectation per rule, with its severity and its meaning in words.

Here is what is expected; `data.quality` holds batches against it. Nothing heavy is imported, since every code location
lists these as checks.
"""

from collections.abc import Collection, Iterator
from typing import Literal

from data.contracts.schema import Column, Frozen, Severity, Table

Kind = Literal[
    "schema",
    "not_null",
    "between",
    "in_set",
    "matches",
    "key_unique",
    "row_count",
    "references",
    "quarantine_share",
    "freshness",
    "arrival",
    "volume",
    "drift",
]

COMPARISONS = ("arrival", "volume", "drift")
"""Kinds that hold a batch against the shop's own past; they warn, unless the shop file says that they block.

They are statistics across users, class `internal`. As warnings they are metadata of a check, seen by operators, and
decide nothing. Where a shop lets them block, they stop a batch for everybody: exception E1 of the privacy rules, like
schema, freshness and quarantine share. They never choose among rows, users, releases or parameters.
"""


class Expectation(Frozen):
    """One expectation of one contract."""

    name: str
    """Name of the check, unique in its table."""
    kind: Kind
    """What sort of rule it is."""
    column: str | None
    """The column, for rules of one."""
    severity: Severity
    """Whether failing it blocks."""
    meaning: str
    """What it takes to meet it, in one sentence."""


def expectations(contract: Table, block: Collection[str] = ()) -> tuple[Expectation, ...]:
    """All expectations of a contract, in a fixed order.

    Args:
        contract: the contract.
        block: kinds of comparisons that this shop lets block (`shop.gates.blocking`).

    Returns:
        Schema, rules of columns, key, then batch facts where the contract has them.

    Raises:
        ValueError: if the contract's `warns` names no expectation of it.
    """
    found = tuple(
        Expectation(name=name, kind=kind, column=column, severity=_severity(contract, name, kind, block), meaning=said)
        for name, kind, column, said in (*_of_rows(contract), *_of_batch(contract))
    )
    if odd := sorted(set(contract.warns) - {one.name for one in found}):
        raise ValueError(f"contract {contract.key}: warns names {odd}, which it does not expect; correct the names")
    return found


def expectation_names(contract: Table) -> tuple[str, ...]:
    """Names of all expectations of a contract, in the order of `expectations`."""
    return tuple(one.name for one in expectations(contract))


def rules_of(column: Column) -> list[Kind]:
    """Kinds of rules that the values of a column keep."""
    rules: list[Kind] = []
    if column.required:
        rules.append("not_null")
    if column.minimum is not None or column.maximum is not None:
        rules.append("between")
    if column.one_of:
        rules.append("in_set")
    if column.pattern:
        rules.append("matches")
    return rules


def _severity(contract: Table, name: str, kind: Kind, block: Collection[str]) -> Severity:
    warns = name in contract.warns or (kind in COMPARISONS and kind not in block)
    return "warning" if warns else "critical"


def _of_rows(contract: Table) -> Iterator[tuple[str, Kind, str | None, str]]:
    yield "schema", "schema", None, "Columns have the names and types of the contract."
    for column in contract.columns:
        for rule in rules_of(column):
            yield f"{column.name}_{rule}", rule, column.name, _said(column, rule)
    if contract.primary_key:
        yield "key_unique", "key_unique", None, f"No two rows share {' and '.join(contract.primary_key)}."


def _said(column: Column, rule: Kind) -> str:
    if rule == "not_null":
        return f"`{column.name}` is not NULL."
    if rule == "in_set":
        return f"`{column.name}` is one of {', '.join(column.one_of)}."
    if rule == "matches":
        return f"`{column.name}` is written as `{column.pattern}`."
    low = f"at least {column.minimum:,g}" if column.minimum is not None else ""
    high = f"at most {column.maximum:,g}" if column.maximum is not None else ""
    return f"`{column.name}` is {' and '.join(filter(None, (low, high)))}."


def _of_batch(contract: Table) -> Iterator[tuple[str, Kind, str | None, str]]:
    least = f"The batch has at least {contract.min_rows} rows." if contract.min_rows else "Rows, counted; any number."
    yield "row_count", "row_count", None, least
    for reference in contract.references:
        name = f"{reference.column}_references_{reference.table.replace('.', '_')}"
        yield name, "references", reference.column, f"Every `{reference.column}` stands in `{reference.table}`."
    if contract.max_quarantine_share is not None:
        said = f"At most {contract.max_quarantine_share:.0%} of the batch's rows were set aside for a fault."
        yield "quarantine_share", "quarantine_share", None, said
    if contract.is_timely:
        yield "freshness", "freshness", None, "The newest row is at most `max_lag_days` old, where the shop says so."
        yield "arrival", "arrival", None, "The newest row is no older than the longest usual wait and a day."
    if rule := contract.volume:
        said = f"{rule.low:.2g} to {rule.high:g} times the median of the same weekday in the {rule.weeks} weeks before."
        yield "volume", "volume", None, f"Each day has {said}"
    for drift in contract.drift:
        said = f"At most {drift.limit:g} of stability index between each day and the {drift.weeks} weeks before."
        yield f"{drift.column}_drift", "drift", drift.column, f"`{drift.column}`: {said[0].lower()}{said[1:]}"
