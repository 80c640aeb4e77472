"""The gate: a contract becomes Great Expectations expectations, which a batch must meet before it is published.

Row faults have been set aside by then; here the cleaned batch's row rules are proved again by a second
instrument, and batch facts (row count, references, quarantine share) are held against their limits.
Great Expectations is imported inside functions: it costs seconds, and readers of contracts do not need it.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import pyarrow as pa

from data.contracts.schema import Column, Frozen, Table
from data.engine import Session


class Measure(Frozen):
    """One fact about a batch and the interval it must lie in."""

    name: str
    """Name of the check."""
    value: float
    """Observed value."""
    minimum: float | None = None
    """Smallest allowed value, inclusive."""
    maximum: float | None = None
    """Largest allowed value, inclusive."""
    doc: str = ""
    """What it measures."""


class Verdict(Frozen):
    """Outcome of one expectation."""

    check: str
    """Name of the expectation, unique in its table."""
    passed: bool
    """Whether the data met it."""
    broke: str | None
    """Why the check itself could not run; None if it ran. A check that broke has not passed."""
    observed: Mapping[str, float | str]
    """Counts and aggregates; never a value of a person."""


class GateFailed(Exception):
    """A batch was refused; nothing of it was published."""


def expectation_names(contract: Table) -> tuple[str, ...]:
    """Names of all expectations of a contract, in a fixed order, without importing Great Expectations.

    Returns:
        Row rules, then `row_count`, references and `quarantine_share` where the contract has them.
    """
    names = ["schema"]
    for column in contract.columns:
        names += [f"{column.name}_{rule}" for rule in _rules(column)]
    if contract.primary_key:
        names.append("key_unique")
    names += [m.name for m in batch_measures(contract, rows=0, orphans={}, quarantined=0)]
    return tuple(names)


def _rules(column: Column) -> list[str]:
    rules = []
    if column.required:
        rules.append("not_null")
    if column.minimum is not None or column.maximum is not None:
        rules.append("between")
    if column.one_of:
        rules.append("in_set")
    if column.pattern:
        rules.append("matches")
    return rules


UNLIMITED_DAYS = 1e6
"""Stands for no limit on the age of data: three thousand years."""


def batch_measures(
    contract: Table,
    *,
    rows: int,
    orphans: Mapping[str, int],
    quarantined: int,
    lag_days: float = 0,
    max_lag_days: float | None = None,
) -> list[Measure]:
    """The batch facts that a contract limits.

    Args:
        contract: the contract.
        rows: rows of the cleaned batch.
        orphans: rows per referring column whose target is missing.
        quarantined: rows that were set aside for a fault (duplicates are not faults).
        lag_days: days from the newest row that the table would have to the end of the calendar, or to today.
        max_lag_days: what the shop allows; None: anything.

    Returns:
        One measure per limit of the contract.
    """
    found = [Measure(name="row_count", value=rows, minimum=contract.min_rows, doc="Rows in the batch.")]
    for reference in contract.references:
        name = f"{reference.column}_references_{reference.table.replace('.', '_')}"
        doc = f"Rows whose {reference.column} is not in {reference.table}."
        found.append(Measure(name=name, value=orphans.get(reference.column, 0), maximum=0, doc=doc))
    if contract.max_quarantine_share is not None:
        share = quarantined / max(rows + quarantined, 1)
        doc = "Share of the batch's rows that were set aside for a fault."
        found.append(Measure(name="quarantine_share", value=share, maximum=contract.max_quarantine_share, doc=doc))
    if contract.is_timely:
        limit = UNLIMITED_DAYS if max_lag_days is None else max_lag_days
        doc = "Days from the newest row to the end of the calendar, or to today."
        found.append(Measure(name="freshness", value=lag_days, maximum=limit, doc=doc))
    return found


def prove(contract: Table, batch: pa.Table, measures: Sequence[Measure], session: Session) -> list[Verdict]:
    """Hold a batch against its contract.

    Core tables are proved row by row, by Great Expectations itself: a second instrument beside the SQL that cleaned
    them. Rows of other tables were made from proved rows; there the engine counts what breaks each rule, and the
    counts are what is expected to be 0.

    Args:
        contract: the contract.
        batch: (n, c) the rows about to be published.
        measures: batch facts with their limits.
        session: counts; the batch is registered on it as `batch_under_proof`.

    Returns:
        One verdict per expectation, in the order of `expectation_names`.
    """
    verdicts = (
        _proved_by_row(contract, batch) if contract.layer == "core" else _proved_by_count(contract, batch, session)
    )
    verdicts |= _validate(_one_row({m.name: float(m.value) for m in measures}), [_within(m) for m in measures])
    verdicts["schema"] = Verdict(
        check="schema",
        passed=batch.schema.equals(contract.arrow_schema()),
        broke=None,
        observed={"columns": ", ".join(f"{f.name} {f.type}" for f in batch.schema)},
    )
    order = {name: i for i, name in enumerate(expectation_names(contract))}
    for name in set(order) - set(verdicts):
        verdicts[name] = Verdict(check=name, passed=False, broke="the check did not run", observed={})
    return sorted(verdicts.values(), key=lambda v: order.get(v.check, len(order)))


def _proved_by_row(contract: Table, batch: pa.Table) -> dict[str, Verdict]:
    import great_expectations.expectations as gxe

    rules = [_expectation(column, rule) for column in contract.columns for rule in _rules(column)]
    if contract.primary_key:
        key = list(contract.primary_key)
        meta = {"check": "key_unique"}
        rules.append(
            gxe.ExpectCompoundColumnsToBeUnique(column_list=key, meta=meta)
            if len(key) > 1
            else gxe.ExpectColumnValuesToBeUnique(column=key[0], meta=meta)
        )
    needed = sorted({c.name for c in contract.columns if _rules(c)} | set(contract.primary_key))
    return _validate(_frame(batch.select([n for n in needed if n in batch.column_names])), rules)


def _proved_by_count(contract: Table, batch: pa.Table, session: Session) -> dict[str, Verdict]:
    broken = {
        f"{c.name}_{rule}": _breaks(c, rule)
        for c in contract.columns
        for rule in _rules(c)
        if c.name in batch.column_names
    }
    counts = [f"count(*) filter (where {condition}) as {name}" for name, condition in broken.items()]
    key = [name for name in contract.primary_key if name in batch.column_names]
    if key:
        counts.append(f"count(*) - count(distinct row({', '.join(key)})) as key_unique")
    if not counts:
        return {}
    session.register("batch_under_proof", batch)
    found = session.query(f"select {', '.join(counts)} from batch_under_proof").to_pylist()[0]
    none = [Measure(name=name, value=0, maximum=0) for name in found]
    return _validate(_one_row({name: float(count) for name, count in found.items()}), [_within(m) for m in none])


def _breaks(column: Column, rule: str) -> str:
    """SQL: whether a row breaks a rule."""
    name = f'"{column.name}"'
    if rule == "not_null":
        return f"{name} is null"
    if rule == "between":
        low = f"{name} < {column.minimum!r}" if column.minimum is not None else "false"
        high = f"{name} > {column.maximum!r}" if column.maximum is not None else "false"
        return f"{low} or {high}"
    if rule == "in_set":
        return f"{name} not in ({', '.join(map(_quoted, column.one_of))})"
    return f"not regexp_full_match({name}, {_quoted(column.pattern or '')})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _within(measure: Measure) -> Any:
    import great_expectations.expectations as gxe

    return gxe.ExpectColumnMaxToBeBetween(
        column=measure.name, min_value=measure.minimum, max_value=measure.maximum, meta={"check": measure.name}
    )


def _one_row(values: Mapping[str, float]) -> Any:
    return _frame(pa.table({name: [value] for name, value in values.items()}))


def failures(contract: Table, verdicts: Sequence[Verdict]) -> str | None:
    """One sentence about all verdicts that did not pass, or None."""
    bad = [v for v in verdicts if not v.passed]
    if not bad:
        return None
    said = "; ".join(f"{v.check} broke ({v.broke})" if v.broke else _found(contract, v) for v in bad)
    return f"{contract.key}: the batch is refused and nothing of it is published: {said}"


def _found(contract: Table, verdict: Verdict) -> str:
    seen = verdict.observed
    if verdict.check == "quarantine_share":
        share, limit = float(seen.get("observed_value", 0)), contract.max_quarantine_share or 0
        remedy = "correct the rows, or their mapping in the shop file"
        return f"quarantine_share is {100 * share:.1f} percent, at most {100 * limit:g} may be set aside; {remedy}"
    if "unexpected_count" in seen:
        return f"{verdict.check} found {seen['unexpected_count']:g} of {seen.get('element_count', 0):g} rows at fault"
    return f"{verdict.check} found {', '.join(f'{v}' for v in seen.values()) or 'nothing'}"


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


def _frame(batch: pa.Table) -> Any:
    """Numpy-dtype pandas with nanosecond timestamps: the only dtypes on Great Expectations' vectorised path."""
    frame = batch.to_pandas()
    for name in frame.columns:
        if str(frame[name].dtype) == "datetime64[us]":
            frame[name] = frame[name].astype("datetime64[ns]")
    return frame


@cache
def _rows_of_a_frame() -> Any:
    """One ephemeral context a process: each one leaves a temporary folder behind and costs a tenth of a second."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return (
        context.data_sources.add_pandas("batch").add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")
    )


def _validate(frame: Any, expectations: Sequence[Any]) -> dict[str, Verdict]:
    import great_expectations as gx

    if not expectations:
        return {}
    batch = _rows_of_a_frame().get_batch({"dataframe": frame})
    suite = gx.ExpectationSuite(name="contract", expectations=list(expectations))
    result = batch.validate(suite, result_format={"result_format": "BASIC", "partial_unexpected_count": 0})
    return {v.check: v for v in map(_verdict, result.results)}


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
