"""A batch beside the shop's own past: rows a day, usual arrival, and the distribution of key columns.

Each day is judged by itself, against the weeks before it, be they published or in the batch: so a year that is loaded
at once is judged like a year that came day by day. These numbers are statistics across users (class `internal`): they
become metadata of checks that warn, and decide nothing unless the shop file lets them block; see
`data.expectations.COMPARISONS`. A day that cannot be judged passes and is counted as not judged.
"""

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data.contracts.schema import DriftRule, Table, VolumeRule
from data.engine import Session
from data.lake import Lake
from data.verdicts import UNLIMITED_DAYS, Measure

BINS = 10
"""Bins that are compared by themselves, those with most rows in the weeks before; all others together are one more."""

NOT_ENOUGH = "not enough history"


def stability_index(before: npt.ArrayLike, now: npt.ArrayLike) -> float:
    """Population stability index of two histograms over the same bins.

    Args:
        before: (b,) counts, at least one above 0; half a row is added to each bin, so that none is empty.
        now: (b,) counts, likewise.

    Returns:
        sum (p - q) ln(p / q), 0 or more. By the usual rule of thumb less than 0.1 is no change to speak of, 0.1 to
        0.25 is a moderate one, above 0.25 a shift. Between samples of n and m rows of one distribution it is about
        (b - 1) (1 / n + 1 / m) by chance alone.

    Source:
        N. Siddiqi, Credit Risk Scorecards, Wiley 2006 (the index and its rule of thumb); B. Yurdakul and J. Naranjo,
        Statistical properties of the population stability index, Journal of Risk Model Validation 14(4), 2020.
    """
    p, q = (np.asarray(counts, dtype=np.float64) + 0.5 for counts in (before, now))
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((q - p) * np.log(q / p)))


def comparisons(
    contract: Table,
    batch: pa.Table,
    session: Session,
    lake: Lake,
    *,
    today: date,
    lag_days: float | None,
) -> list[Measure]:
    """Hold the days of a batch against the weeks before them.

    Args:
        contract: of a table, with what it compares.
        batch: (n, c) the rows about to be published, all rows of their days.
        session: reads the published weeks.
        lake: holds the published days.
        today: a day in progress, which is not judged by its rows.
        lag_days: days from the newest row to today; None: this is not the end of a history that still grows.

    Returns:
        One measure per comparison of the contract; none of them for a batch without the columns that they read.
    """
    if not (contract.volume or contract.drift or contract.is_timely):
        return []
    declared = contract.arrow_schema()
    if any(
        name not in batch.column_names or batch.schema.field(name).type != declared.field(name).type
        for name in ("day", *(rule.column for rule in contract.drift))
    ):
        return []
    days = sorted(d for d in batch.column("day").unique().to_pylist() if d is not None) if batch.num_rows else []
    published = set(lake.day_versions(contract.key)) - set(days)
    found = []
    if contract.is_timely:
        found.append(_arrival(published.union(days), lag_days, contract.volume or VolumeRule()))
    if not (contract.volume or contract.drift):
        return found
    weeks = max([contract.volume.weeks if contract.volume else 0, *(d.weeks for d in contract.drift)])
    start = min(days) - timedelta(weeks=weeks) if days else today
    rows = _rows(session, contract, batch, lake, [d for d in published if days and start <= d < max(days)])
    if contract.volume:
        counts = {day: int(one.sum()) for day, one in histograms(rows, None).items()}
        found.append(volume(contract.volume, counts, set(days) - {today}))
    for rule in contract.drift:
        found.append(drift(rule, histograms(rows, rule), days))
    return found


def _rows(session: Session, contract: Table, batch: pa.Table, lake: Lake, before: Collection[date]) -> pa.Table:
    """Day and compared columns of the batch and of the days before it: read once, counted often."""
    names = list(dict.fromkeys(("day", *(rule.column for rule in contract.drift))))
    session.attach(contract, lake, days=before)
    earlier = session.query(f"select {', '.join(names)} from {contract.key} where day is not null")
    given = batch.select(names)
    return pa.concat_tables([earlier, given.filter(pc.is_valid(given.column("day")))])


def histograms(rows: pa.Table, rule: DriftRule | None) -> dict[date, npt.NDArray[np.int64]]:
    """Count the rows of each bin of each day.

    Args:
        rows: (n, c) with `day`, never null, and the column of the rule.
        rule: column and edges; None: all rows are one bin.

    Returns:
        (b,) counts of each day that has a row, in the b bins that any row is in, ascending; no value comes last.
    """
    if not rows.num_rows:
        return {}
    day = rows.column("day").cast(pa.int32()).to_numpy()
    bins, n_bins = _bins(rule, rows.column(rule.column)) if rule else (np.zeros(len(day), np.int64), 1)
    first = int(day.min())
    flat = np.bincount((day - first).astype(np.int64) * n_bins + bins)
    counts = np.append(flat, np.zeros(-len(flat) % n_bins, np.int64)).reshape(-1, n_bins)
    counts = counts[:, counts.any(axis=0)]
    return {date(1970, 1, 1) + timedelta(days=first + i): one for i, one in enumerate(counts) if one.any()}


def _bins(rule: DriftRule, column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], int]:
    """The bin of each row, and how many there are: intervals or sorted values, and one for no value."""
    if rule.edges:
        found = np.searchsorted(rule.edges, column.fill_null(0).to_numpy())
        return np.where(column.is_null().to_numpy(), len(rule.edges) + 1, found), len(rule.edges) + 2
    codes = column.combine_chunks().dictionary_encode()
    n_values = len(codes.dictionary)
    place = np.empty(n_values + 1, np.int64)
    place[pc.sort_indices(codes.dictionary)], place[n_values] = np.arange(n_values), n_values
    return place[codes.indices.fill_null(n_values).to_numpy()], n_values + 1


def volume(rule: VolumeRule, rows: Mapping[date, int], days: Collection[date]) -> Measure:
    """Hold the rows of each day against the median of the same weekday in the weeks before.

    Args:
        rule: weeks and limits.
        rows: rows of each day that has any, of the batch and before it.
        days: the days to judge.

    Returns:
        A measure whose value is the number of days outside the limits, at most 0.
    """
    factors: dict[date, float] = {}
    for day in sorted(days):
        earlier = [rows[d] for k in range(1, rule.weeks + 1) if (d := day - timedelta(weeks=k)) in rows]
        if len(earlier) >= rule.min_days and np.median(earlier) >= rule.min_rows:
            factors[day] = rows.get(day, 0) / float(np.median(earlier))
    outside = {day: f for day, f in factors.items() if not rule.low <= f <= rule.high}
    seen = _judged(len(factors), len(days))
    if factors:
        seen |= {"lowest_factor": min(factors.values()), "highest_factor": max(factors.values())}
    if outside:
        seen["first_days"] = ", ".join(f"{day}: {factor:.2f} times the usual" for day, factor in [*outside.items()][:5])
    return Measure(name="volume", value=len(outside), maximum=0, seen=seen)


def drift(rule: DriftRule, histograms: Mapping[date, npt.NDArray[np.int64]], days: Sequence[date]) -> Measure:
    """Hold the distribution of a column on each day against the weeks before.

    Args:
        rule: column and limit.
        histograms: (b,) rows of each bin, of each day that has any, of the batch and before it.
        days: the days to judge.

    Returns:
        A measure whose value is the number of days above the limit, at most 0.
    """
    found: dict[date, float] = {}
    known = sorted(histograms)
    until = np.cumsum([np.zeros_like(histograms[d]) for d in known[:1]] + [histograms[d] for d in known], axis=0)
    for day in days:
        first, last = bisect_left(known, day - timedelta(weeks=rule.weeks)), bisect_left(known, day)
        now = histograms.get(day)
        if now is not None and last - first >= rule.min_days and now.sum() >= rule.min_rows:
            found[day] = stability_index(*_widest(until[last] - until[first], now))
    outside = {day: index for day, index in found.items() if index > rule.limit}
    seen = _judged(len(found), len(days))
    if found:
        seen |= {"largest_index": max(found.values()), "median_index": float(np.median(list(found.values())))}
    if outside:
        seen["first_days"] = ", ".join(f"{day}: {index:.2f}" for day, index in [*outside.items()][:5])
    return Measure(name=f"{rule.column}_drift", value=len(outside), maximum=0, seen=seen)


def _widest(
    before: npt.NDArray[np.int64], now: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Counts of the bins with most rows before, and of all others together."""
    kept = np.argsort(-before, kind="stable")[:BINS]
    one, two = (np.append(counts[kept], counts.sum() - counts[kept].sum()) for counts in (before, now))
    return one, two


def _judged(judged: int, days: int) -> dict[str, float | str]:
    seen: dict[str, float | str] = {"days_judged": judged, "days_not_judged": days - judged}
    return seen if judged else seen | {"not_judged": NOT_ENOUGH}


def _arrival(days: Collection[date], lag_days: float | None, rule: VolumeRule) -> Measure:
    """The age of the newest row against the longest wait between two days with rows in the weeks before it."""
    if lag_days is None or not days:
        why = "these are not the last days of a calendar without end"
        return Measure(name="arrival", value=0, maximum=UNLIMITED_DAYS, seen={"not_judged": why})
    newest = max(days)
    recent = sorted(d for d in days if d >= newest - timedelta(weeks=rule.weeks))
    if len(recent) < rule.min_days:
        return Measure(name="arrival", value=lag_days, maximum=UNLIMITED_DAYS, seen={"not_judged": NOT_ENOUGH})
    usual = max((b - a).days for a, b in zip(recent, recent[1:], strict=False))
    return Measure(name="arrival", value=lag_days, maximum=usual + 1, seen={"longest_usual_wait_days": usual})
