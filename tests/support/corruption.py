"""One corruption per kind of expectation: a good batch is made bad in exactly that respect, after every guard.

`corruptions` lists them for a contract, by expectation; nothing is corrupted that the contract does not limit.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa

from data.contracts.schema import Column, Table
from data.expectations import COMPARISONS, Expectation, Kind, expectations
from data.gate import Made
from data.gates_page import can_fail

Corruption = Callable[[Made], Made]


def corruptible(contract: Table) -> list[Expectation]:
    """The expectations of a contract that bad data can fail."""
    return [one for one in expectations(contract) if can_fail(contract, one)]


def corruptions(contract: Table, one: Expectation) -> list[Corruption]:
    """Ways to break one expectation of rows or of the batch, and nothing else.

    Args:
        contract: the contract.
        one: a critical expectation of it.

    Returns:
        One corruption, or one for each side of an interval.
    """
    assert one.kind not in COMPARISONS, "the past is corrupted by whole days; see tests/data/test_drift.py"
    if one.column and one.kind != "references":
        column = next(c for c in contract.columns if c.name == one.column)
        return [_with_value(column.name, value) for value in _bad_values(column, one.kind)]
    found: Mapping[str, Corruption] = {
        "schema": _with_column,
        "key_unique": lambda made: _with(made, pa.concat_tables([made.data, made.data.slice(0, 1)])),
        "row_count": lambda made: _with_few(made, contract.min_rows - 1),
        "references": _with_value(one.column or "", "no such item"),
        "quarantine_share": lambda made: made.model_copy(update={"quarantined": made.data.num_rows}),
        "freshness": lambda made: made.model_copy(update={"lag_days": 8.0, "max_lag_days": 7.0}),
    }
    return [found[one.kind]]


def _bad_values(column: Column, kind: Kind) -> list[Any]:
    if kind == "not_null":
        return [None]
    if kind == "in_set":
        return ["no such word"]
    if kind == "matches":
        assert not re.fullmatch(column.pattern or "", "written otherwise")
        return ["written otherwise"]
    low = [] if column.minimum is None else [column.minimum - 1]
    return low + ([] if column.maximum is None else [column.maximum + 1])


def _with(made: Made, data: pa.Table) -> Made:
    return made.model_copy(update={"data": data})


def _with_few(made: Made, rows: int) -> Made:
    """Lose rows after they were counted, so that the share of what was set aside is what it was."""
    kept = made.data.num_rows if made.kept is None else made.kept
    return made.model_copy(update={"data": made.data.slice(0, rows), "kept": kept})


def _with_column(made: Made) -> Made:
    return _with(made, made.data.append_column("surprise", pa.nulls(made.data.num_rows, pa.string())))


def _with_value(name: str, value: Any) -> Corruption:
    """Put a value into the first row that has one, so that a rule about values sees it."""

    def corrupt(made: Made) -> Made:
        values = made.data.column(name).to_pylist()
        kind = made.data.schema.field(name).type
        values[next((i for i, v in enumerate(values) if v is not None), 0)] = (
            int(value) if value is not None and pa.types.is_integer(kind) else value
        )
        return _with(made, made.data.set_column(made.data.column_names.index(name), name, pa.array(values, kind)))

    return corrupt


def drawn(contract: Table, n: int = 3) -> pa.Table:
    """Rows that keep every rule of a contract, for tables whose real rows take training to make."""
    columns = {c.name: [_drawn(c, i) for i in range(n)] for c in contract.columns}
    return contract.conform(
        pa.table({c.name: pa.array(columns[c.name], _arrow(contract, c)) for c in contract.columns})
    )


def _arrow(contract: Table, column: Column) -> pa.DataType:
    return contract.arrow_schema().field(column.name).type


def _drawn(column: Column, number: int) -> Any:
    if column.one_of:
        return column.one_of[number % len(column.one_of)]
    if column.type in ("double", "bigint", "integer"):
        low = column.minimum if column.minimum is not None else 0
        return low + number / 10 if column.type == "double" else int(low) + number
    texts = {"text": f"u_{number:032x}" if column.pattern else f"{column.name} {number}", "boolean": True}
    dates = {"date": date(2024, 1, 1) + timedelta(days=number), "timestamp": datetime(2024, 1, 1 + number)}
    return {**texts, **dates, "texts": ["a"], "vector": [0.5, 0.5]}[column.type]
