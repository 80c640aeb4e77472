"""A batch held against its contract: by which instrument each expectation is proved, and which facts are limited.

Row faults have been set aside by then; here the cleaned batch's row rules are proved again by a second
instrument, and batch facts (row count, references, quarantine share, the shop's past) are held against their limits.
"""

import re
from collections.abc import Collection, Mapping, Sequence

import duckdb

from data.contracts.schema import Column, Table
from data.engine import Session
from data.expectations import expectations, rules_of
from data.row_file import Rows
from data.validation import prove_measures, prove_rows
from data.verdicts import UNLIMITED_DAYS, Measure, Verdict


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
    contract: Table, batch: Rows, measures: Sequence[Measure], session: Session, block: Collection[str] = ()
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
        verdicts = prove_rows(contract, batch, session) | prove_measures(measures)
    else:
        counts, verdicts = _rule_counts(contract, batch, session)
        verdicts |= prove_measures([*counts, *measures])
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


def _rule_counts(contract: Table, batch: Rows, session: Session) -> tuple[list[Measure], dict[str, Verdict]]:
    """How many rows break each rule of a batch, of which none may; and which counts the engine could not make."""
    broken = {
        f"{c.name}_{rule}": f"count(*) filter (where {_breaks(c, rule)})"
        for c in contract.columns
        for rule in rules_of(c)
        if c.name in batch.column_names
    }
    key = ", ".join(contract.primary_key)
    if key and set(contract.primary_key) <= set(batch.column_names):
        broken["key_unique"] = f"count(*) - count(distinct hash({key}))"
    session.register("batch_under_proof", batch)
    counts, broke = _counted(broken, session)
    if counts.get("key_unique"):  # keys are the same, or only their digests
        counts |= _counted({"key_unique": f"count(*) - count(distinct row({key}))"}, session)[0]
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
