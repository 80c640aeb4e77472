"""The gate: a contract becomes Great Expectations expectations, which a batch must meet before it is published.

Row faults have been set aside by then; here the cleaned batch's row rules are proved again by a second
instrument, and batch facts (row count, references, quarantine share, the shop's past) are held against their limits.
Great Expectations is imported inside functions: it costs seconds, and readers of contracts do not need it.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa

from data.contracts.schema import Column, Frozen, Severity, Table
from data.engine import Session
from data.expectations import expectations, rules_of


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
    seen: Mapping[str, float | str] = {}
    """What else was observed; never a value of a person."""


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
    severity: Severity = "critical"
    """Whether it blocks if it did not pass."""

    @property
    def blocks(self) -> bool:
        """Whether it refuses the batch."""
        return not self.passed and self.severity == "critical"


class GateFailed(Exception):
    """A batch was refused; nothing of it was published."""


UNLIMITED_DAYS = 1e6
"""Stands for no limit on the age of data: three thousand years."""


def batch_measures(
    contract: Table,
    *,
    rows: int,
    orphans: Mapping[str, int],
    quarantined: int,
    kept: int | None = None,
    lag_days: float = 0,
    max_lag_days: float | None = None,
) -> list[Measure]:
    """The batch facts that a contract limits.

    Args:
        contract: the contract.
        rows: rows of the cleaned batch.
        orphans: rows per referring column whose target is missing; a reference that is not counted has not passed.
        quarantined: rows that were set aside for a fault (duplicates are not faults).
        kept: rows without one, where they are not the rows of the batch (edges become identifiers); None: they are.
        lag_days: days from the newest row that the table would have to the end of the calendar, or to today.
        max_lag_days: what the shop allows; None: anything.

    Returns:
        One measure per limit of the contract.
    """
    found = [Measure(name="row_count", value=rows, minimum=contract.min_rows)]
    for reference in contract.references:
        name = f"{reference.column}_references_{reference.table.replace('.', '_')}"
        if reference.column in orphans:
            found.append(Measure(name=name, value=orphans[reference.column], maximum=0))
    if contract.max_quarantine_share is not None:
        share = quarantined / max((rows if kept is None else kept) + quarantined, 1)
        found.append(Measure(name="quarantine_share", value=share, maximum=contract.max_quarantine_share))
    if contract.is_timely:
        limit = UNLIMITED_DAYS if max_lag_days is None else max_lag_days
        found.append(Measure(name="freshness", value=lag_days, maximum=limit))
    return found


def prove(
    contract: Table, batch: pa.Table, measures: Sequence[Measure], session: Session, block: Collection[str] = ()
) -> list[Verdict]:
    """Hold a batch against its contract.

    Core tables are proved row by row, by Great Expectations itself: a second instrument beside the SQL that cleaned
    them. Rows of other tables were made from proved rows; there the engine counts what breaks each rule, and the
    counts are what is expected to be 0.

    Args:
        contract: the contract.
        batch: (n, c) the rows about to be published.
        measures: batch facts with their limits.
        session: counts; the batch is registered on it as `batch_under_proof`.
        block: comparisons with the past that block in this shop; see `data.expectations.expectations`.

    Returns:
        One verdict per expectation, in the order of `expectation_names`. One that did not run has not passed.
    """
    if contract.layer == "core":
        verdicts = _proved_by_row(contract, batch) | _measured(measures)
    else:
        counts, verdicts = _rule_counts(contract, batch, session)
        verdicts |= _measured([*counts, *measures])
    verdicts["schema"] = Verdict(
        check="schema",
        passed=batch.schema.equals(contract.arrow_schema()),
        broke=None,
        observed={"columns": ", ".join(f"{f.name} {f.type}" for f in batch.schema)},
    )
    found = []
    for one in expectations(contract, block):
        verdict = verdicts.get(one.name) or _broken(one.name, "the check did not run")
        said = _without_values(verdict.broke, contract) if verdict.broke else None
        found.append(verdict.model_copy(update={"severity": one.severity, "broke": said}))
    return found


def _broken(check: str, why: str) -> Verdict:
    return Verdict(check=check, passed=False, broke=why, observed={})


def _without_values(message: str, contract: Table) -> str:
    """The first line of an error, without quoted words that could be values of rows."""
    line = message.strip().splitlines()[0][:300] if message.strip() else "no message"
    return re.sub(r"(['\"`])(.*?)\1", lambda m: m[0] if m[2] in contract.names else f"{m[1]}...{m[1]}", line)


def _proved_by_row(contract: Table, batch: pa.Table) -> dict[str, Verdict]:
    import great_expectations.expectations as gxe

    rules = [_expectation(column, rule) for column in contract.columns for rule in rules_of(column)]
    if contract.primary_key:
        key = list(contract.primary_key)
        meta = {"check": "key_unique"}
        rules.append(
            gxe.ExpectCompoundColumnsToBeUnique(column_list=key, meta=meta)
            if len(key) > 1
            else gxe.ExpectColumnValuesToBeUnique(column=key[0], meta=meta)
        )
    needed = sorted({c.name for c in contract.columns if rules_of(c)} | set(contract.primary_key))
    return _validate(_frame(batch.select([n for n in needed if n in batch.column_names])), rules)


def _rule_counts(contract: Table, batch: pa.Table, session: Session) -> tuple[list[Measure], dict[str, Verdict]]:
    """How many rows break each rule of a batch, of which none may; and which counts the engine could not make."""
    broken = {
        f"{c.name}_{rule}": f"count(*) filter (where {_breaks(c, rule)})"
        for c in contract.columns
        for rule in rules_of(c)
        if c.name in batch.column_names
    }
    if contract.primary_key and set(contract.primary_key) <= set(batch.column_names):
        broken["key_unique"] = f"count(*) - count(distinct row({', '.join(contract.primary_key)}))"
    session.register("batch_under_proof", batch)
    counts, broke = _counted(broken, session)
    seen = {"element_count": 1.0 * batch.num_rows}
    return [Measure(name=name, value=count, maximum=0, seen=seen) for name, count in counts.items()], broke


def _counted(counts: Mapping[str, str], session: Session) -> tuple[dict[str, float], dict[str, Verdict]]:
    """Values of the counts of a batch, all in one query; where that fails, those that work, and which broke and why."""
    if not counts:
        return {}, {}
    listed = ", ".join(f'{sql} as "{name}"' for name, sql in counts.items())
    try:
        [row] = session.query(f"select {listed} from batch_under_proof").to_pylist()
    except duckdb.Error as error:  # a count that the engine cannot make is a check that broke
        if len(counts) == 1:
            return {}, {name: _broken(name, str(error)) for name in counts}
        each = [_counted({name: sql}, session) for name, sql in counts.items()]
        return {n: v for good, _ in each for n, v in good.items()}, {n: v for _, bad in each for n, v in bad.items()}
    return {name: float(value) for name, value in row.items()}, {}


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


def _measured(measures: Sequence[Measure]) -> dict[str, Verdict]:
    """Hold values against their limits, as a frame of one row."""
    row = _frame(pa.table({m.name: [float(m.value)] for m in measures}))
    found = _validate(row, [_within(m) for m in measures])
    seen = {m.name: m.seen for m in measures}
    return {k: v.model_copy(update={"observed": {**v.observed, **seen[k]}}) for k, v in found.items()}


def _within(measure: Measure) -> Any:
    import great_expectations.expectations as gxe

    return gxe.ExpectColumnMaxToBeBetween(
        column=measure.name, min_value=measure.minimum, max_value=measure.maximum, meta={"check": measure.name}
    )


def failures(contract: Table, verdicts: Sequence[Verdict]) -> str | None:
    """One sentence about all verdicts that block, or None."""
    said = "; ".join(said_of(contract, v) for v in verdicts if v.blocks)
    return f"{contract.key}: the batch is refused and nothing of it is published: {said}" if said else None


def said_of(contract: Table, verdict: Verdict) -> str:
    """What an expectation found, in words that tell bad data from a check that could not run."""
    seen = verdict.observed
    if verdict.broke:
        return f"{verdict.check} broke and says nothing about the data ({verdict.broke})"
    if verdict.check == "quarantine_share":
        share, limit = float(seen.get("observed_value", 0)), contract.max_quarantine_share or 0
        remedy = "" if verdict.passed else "; correct the rows, or their mapping in the shop file"
        return f"quarantine_share is {100 * share:.1f} percent, at most {100 * limit:g} may be set aside{remedy}"
    if "not_judged" in seen:
        return f"{verdict.check} was not judged: {seen['not_judged']}"
    if "first_days" in seen:
        return (
            f"{verdict.check} found {seen['observed_value']:g} days unlike the weeks before them ({seen['first_days']})"
        )
    if "unexpected_count" in seen:
        return f"{verdict.check} found {seen['unexpected_count']:g} of {seen.get('element_count', 0):g} rows at fault"
    return f"{verdict.check} found {', '.join(f'{v}' for v in seen.values()) or 'nothing'}"


def worst(before: Sequence[Verdict], now: Sequence[Verdict]) -> list[Verdict]:
    """Verdicts of several batches of one run: of each check the one that did not pass, else the latest."""
    earlier = {v.check: v for v in before if not v.passed}
    return [earlier.get(v.check, v) if v.passed else v for v in now]


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
