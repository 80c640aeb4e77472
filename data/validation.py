"""Great Expectations at work: rules and measures become its expectations, its results verdicts.

It is imported inside functions: it costs seconds, and whoever only reads contracts or verdicts does not need it.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from data.contracts.schema import Column, Table
from data.engine import Session
from data.expectations import rules_of
from data.verdicts import Measure, Verdict


def prove_rows(contract: Table, batch: pa.Table, session: Session) -> dict[str, Verdict]:
    """Hold every row against the rules of its columns, and the rows together against the key.

    Two rules are dear on many rows, and less settles them where they are met: a pattern by the distinct values of its
    column, the key by a digest of every row's key, since keys of different digests are different. Where that does not
    show that a rule is met, the rows themselves decide, and are counted.

    Args:
        contract: the contract.
        batch: (n, c) rows; columns may be missing or of another type, which breaks their rules.
        session: makes the digests; the batch is registered on it as `batch_under_proof`.

    Returns:
        One verdict per rule that ran, by its name.
    """
    rules = {rule.meta["check"]: rule for rule in _rules(contract)}
    tried = _by_values(contract, batch, rules) | _by_digest(contract, batch, session)
    settled = {name: verdict for name, verdict in tried.items() if verdict.passed}
    left = [rule for name, rule in rules.items() if name not in settled]
    needed = {name for rule in left for name in getattr(rule, "column_list", None) or [rule.column]}
    frame = _frame(batch.select([name for name in batch.column_names if name in needed]))
    return settled | _validate(frame, left)


def prove_measures(measures: Sequence[Measure]) -> dict[str, Verdict]:
    """Hold values against their limits, as a frame of one row.

    Args:
        measures: of different names.

    Returns:
        One verdict per measure, by its name.
    """
    import great_expectations.expectations as gxe

    row = _frame(pa.table({m.name: [float(m.value)] for m in measures}))
    limits = [
        gxe.ExpectColumnMaxToBeBetween(column=m.name, min_value=m.minimum, max_value=m.maximum, meta={"check": m.name})
        for m in measures
    ]
    seen = {m.name: m.seen for m in measures}
    found = _validate(row, limits)
    return {k: v.model_copy(update={"observed": {**v.observed, **seen[k]}}) for k, v in found.items()}


def _rules(contract: Table) -> list[Any]:
    import great_expectations.expectations as gxe

    rules = [_expectation(column, rule) for column in contract.columns for rule in rules_of(column)]
    meta = {"check": "key_unique"}
    if len(contract.primary_key) > 1:
        rules.append(gxe.ExpectCompoundColumnsToBeUnique(column_list=list(contract.primary_key), meta=meta))
    elif contract.primary_key:
        rules.append(gxe.ExpectColumnValuesToBeUnique(column=contract.primary_key[0], meta=meta))
    return rules


def _expectation(column: Column, rule: str) -> Any:
    import great_expectations.expectations as gxe

    meta = {"check": f"{column.name}_{rule}"}
    if rule == "not_null":
        return gxe.ExpectColumnValuesToNotBeNull(column=column.name, meta=meta)
    if rule == "between":
        return gxe.ExpectColumnValuesToBeBetween(
            column=column.name, min_value=column.minimum, max_value=column.maximum, meta=meta
        )
    if rule == "in_set":
        return gxe.ExpectColumnValuesToBeInSet(column=column.name, value_set=list(column.one_of), meta=meta)
    return gxe.ExpectColumnValuesToMatchRegex(column=column.name, regex=f"^(?:{column.pattern})$", meta=meta)


def _by_values(contract: Table, batch: pa.Table, rules: Mapping[str, Any]) -> dict[str, Verdict]:
    """Verdicts of patterns on the distinct values of their columns."""
    found: dict[str, Verdict] = {}
    texts = {field.name for field in batch.schema if pa.types.is_string(field.type)}
    for column in (c for c in contract.columns if c.pattern and c.name in texts):
        values = batch.column(column.name)
        counts = {"element_count": 1.0 * batch.num_rows, "missing_count": 1.0 * values.null_count}
        distinct = _frame(pa.table({column.name: pc.unique(values)}))
        for name, verdict in _validate(distinct, [rules[f"{column.name}_matches"]]).items():
            found[name] = verdict.model_copy(update={"observed": {**verdict.observed, **counts}})
    return found


def _by_digest(contract: Table, batch: pa.Table, session: Session) -> dict[str, Verdict]:
    """The verdict of a key of several columns on its digests."""
    import great_expectations.expectations as gxe

    key = contract.primary_key
    if len(key) < 2 or not set(key) <= set(batch.column_names):
        return {}
    session.register("batch_under_proof", batch.select(list(key)))
    digests = session.query(f"select hash({', '.join(key)}) as digest from batch_under_proof")
    return _validate(_frame(digests), [gxe.ExpectColumnValuesToBeUnique(column="digest", meta={"check": "key_unique"})])


def _frame(batch: pa.Table) -> Any:
    """Pandas as Great Expectations is fast on it: days as timestamps, and texts that repeat as categories."""
    for i, field in enumerate(batch.schema):
        column = batch.column(i)
        if pa.types.is_date(field.type):
            column = column.cast(pa.timestamp("s"))
        elif pa.types.is_string(field.type) and _repeats(column):
            column = column.combine_chunks().dictionary_encode()
        batch = batch.set_column(i, field.name, column)
    return batch.to_pandas()


def _repeats(column: pa.ChunkedArray) -> bool:
    """Whether few values fill a column, by its first rows; of ids a dictionary would only be dearer."""
    first = column.slice(0, 10_000)
    return len(first.unique()) < len(first) / 2


@cache
def _context() -> Any:
    """One ephemeral context a process: each one leaves a temporary folder behind and costs a tenth of a second."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def _validate(frame: Any, rules: Sequence[Any]) -> dict[str, Verdict]:
    """Validate a frame in one go.

    The frame is handed to the engine of Great Expectations itself: a batch of a data source would be hashed twice
    for a fingerprint that nobody reads, which took half of the gate's time.
    """
    if not rules:
        return {}
    context = _context()
    from great_expectations.execution_engine import PandasExecutionEngine
    from great_expectations.validator.validator import Validator

    engine = PandasExecutionEngine(batch_data_dict={"rows": frame})
    results = Validator(execution_engine=engine, data_context=context).graph_validate(
        configurations=[rule.configuration for rule in rules],
        runtime_configuration={"result_format": {"result_format": "BASIC", "partial_unexpected_count": 0}},
    )
    return {v.check: v for v in map(_verdict, results)}


def _verdict(result: Any) -> Verdict:
    info = result.exception_info or {}
    nested = [i for i in info.values() if isinstance(i, dict)] or [info]
    broke = next((str(i.get("exception_message")) for i in nested if i.get("exception_message")), None)
    observed = {
        k: float(v)
        for k, v in (result.result or {}).items()
        if k in {"element_count", "unexpected_count", "unexpected_percent", "missing_count", "observed_value"}
        and isinstance(v, int | float)
    }
    return Verdict(
        check=result.expectation_config.meta["check"],
        passed=bool(result.success) and broke is None,
        broke=broke,
        observed=observed,
    )
