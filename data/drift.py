"""A batch beside the shop's own past: rows a day, usual arrival, and the distribution of key columns.

Each day is judged by itself, against the weeks before it, be they published or in the batch: so a year that is loaded
at once is judged like a year that came day by day. These numbers are statistics across users (class `internal`): they
become metadata of checks that warn, and decide nothing unless the shop file lets them block; see
`data.expectations.COMPARISONS`. A day that cannot be judged passes and is counted as not judged.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.contracts.schema import DriftRule, Table, VolumeRule
from data.engine import Session
from data.lake import Lake
from data.quality import UNLIMITED_DAYS, Measure

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
        session: counts; the batch is registered on it as `batch_under_proof`, the published weeks as the contract.
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
    _gather(session, contract, batch, lake, [d for d in published if days and start <= d < max(days)])
    if contract.volume:
        counts = _histograms(session, None)
        rows = {day: int(one.sum()) for day, one in counts.items()}
        found.append(volume(contract.volume, rows, set(days) - {today}))
    for rule in contract.drift:
        found.append(drift(rule, _histograms(session, rule), days))
    return found


def _gather(session: Session, contract: Table, batch: pa.Table, lake: Lake, before: Collection[date]) -> None:
    """Keep day and bins of the batch and of the days before it on the session: they are read once, counted often."""
    session.register("batch_under_proof", batch)
    session.attach(contract, lake, days=before)
    bins = "".join(f', {_bin(rule)} as "{rule.column}"' for rule in contract.drift)
    rows = " union all ".join(f"select day{bins} from {table}" for table in ("batch_under_proof", contract.key))
    session.materialise("days_under_proof", rows)


def _bin(rule: DriftRule) -> str:
    if not rule.edges:
        return f"cast({rule.column} as varchar)"
    cases = " ".join(f"when {rule.column} <= {edge!r} then {i}" for i, edge in enumerate(rule.edges))
    return f"case {cases} when {rule.column} is not null then {len(rule.edges)} end"


def _histograms(session: Session, rule: DriftRule | None) -> dict[date, npt.NDArray[np.int64]]:
    """Rows of each bin, of every day that has any; without a rule all rows are one bin."""
    value = f'"{rule.column}"' if rule else "0"
    sql = f"select day, {value} as bin, count(*) as n from days_under_proof where day is not null group by day, bin"
    rows = session.query(f"{sql} order by day, bin")
    if not rows.num_rows:
        return {}
    days, which_day = np.unique(rows.column("day").to_numpy(), return_inverse=True)
    bins = rows.column("bin").combine_chunks().dictionary_encode(null_encoding="encode")
    counts = np.zeros((len(days), len(bins.dictionary)), np.int64)
    counts[which_day, bins.indices.to_numpy()] = rows.column("n").to_numpy()
    return dict(zip(days.astype("datetime64[D]").tolist(), counts, strict=True))


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
    for day in days:
        span = (day - timedelta(days=k) for k in range(1, 7 * rule.weeks + 1))
        earlier = [histograms[d] for d in span if d in histograms]
        now = histograms.get(day)
        if now is not None and len(earlier) >= rule.min_days and now.sum() >= rule.min_rows:
            found[day] = stability_index(*_widest(np.sum(earlier, axis=0), now))
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
