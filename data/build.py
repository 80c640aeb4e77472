"""How a table comes to be: skip what is up to date, make, prove, publish; whole or by stale days.

Up to date means: the published version was made by the same code from the same content. That one rule makes a
second run free, lets an interrupted run go on where it stopped, and turns late files, corrections and erasure
into ordinary runs.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from data.contracts.schema import Frozen, Table
from data.engine import Session
from data.gate import Made, Refused, gate, packed, published_verdicts
from data.lake import Lake, Published, digest
from data.quality import Verdict, worst
from data.workspace import Workspace

__all__ = [
    "DAYS_PER_COMMIT",
    "Made",
    "Outcome",
    "Refused",
    "Slice",
    "content_of",
    "packed",
    "published_verdicts",
    "refresh",
    "refresh_changed",
    "refresh_days",
]

DAYS_PER_COMMIT = 92
"""Days that are made, proved and published at once: what bounds the memory of a long history."""


class Slice(Frozen):
    """Some days of a table partitioned by day, as an input: only they are attached, only they count as changed."""

    table: Table
    """The table."""
    days: tuple[date, ...]
    """The days."""


class Outcome(Frozen):
    """What became of one table in one run."""

    published: Published
    """The version that readers see now."""
    verdicts: tuple[Verdict, ...]
    """What the gate found when that version was proved."""
    is_reused: bool
    """True if it was up to date and nothing was made."""
    days: int | None = None
    """Days rewritten, for tables partitioned by day."""
    warning: str = ""
    """Why an older version stays in use although its inputs have changed; empty if nothing is amiss."""
    figures: Mapping[str, float] = {}
    """Further numbers about the version, said in every run, so that they become time series."""


def content_of(lake: Lake, inputs: Sequence[Table | Slice]) -> dict[str, object]:
    """Content version of each input; None where it was never published."""
    found: dict[str, object] = {}
    for one in inputs:
        if isinstance(one, Slice):
            versions = lake.day_versions(one.table.key)
            found[one.table.key] = [versions.get(d) for d in one.days]
        else:
            published = lake.published(one.key)
            found[one.key] = published.content if published else None
    return found


def _attach(session: Session, lake: Lake, inputs: Sequence[Table | Slice]) -> None:
    for one in inputs:
        if isinstance(one, Slice):
            session.attach(one.table, lake, days=one.days)
        else:
            session.attach(one, lake)


def refresh(
    workspace: Workspace,
    contracts: Sequence[Table],
    inputs: Sequence[Table | Slice],
    make: Callable[[Session], Mapping[str, Made]],
    *,
    code_version: str,
    config: Mapping[str, object] | None = None,
) -> dict[str, Outcome]:
    """Make whole tables if anything they are made from has changed.

    Args:
        workspace: the shop.
        contracts: of the tables that `make` returns, in the order in which they are published.
        inputs: lake tables that `make` reads, or only some days of them; they are attached to its session.
        make: makes the rows of each table.
        code_version: changes when the code does.
        config: everything else that decides the content.

    Returns:
        Contract key -> outcome.

    Raises:
        Refused: if a gate refuses a batch; the last good versions stay.
    """
    lake = workspace.lake
    contents = content_of(lake, inputs)
    fingerprints = {c.key: _fingerprint(c, code_version, contents, config) for c in contracts}
    found = {c.key: lake.published(c.key) for c in contracts}
    current = {key: one for key, one in found.items() if one is not None and one.fingerprint == fingerprints[key]}
    if len(current) == len(contracts):
        return {
            k: Outcome(published=one, verdicts=published_verdicts(one), is_reused=True) for k, one in current.items()
        }
    with workspace.engine.session() as session:
        _attach(session, lake, inputs)
        made = make(session)
        verdicts = {c.key: gate(workspace, c, made[c.key], session) for c in contracts}
    outcomes = {}
    for contract in contracts:
        key = contract.key
        notes = {**made[key].notes, "verdicts": packed(verdicts[key])}
        published = lake.publish(contract, made[key].data, fingerprint=fingerprints[key], notes=notes)
        outcomes[key] = Outcome(published=published, verdicts=tuple(verdicts[key]), is_reused=False)
    return outcomes


def _fingerprint(
    contract: Table, code_version: str, contents: Mapping[str, object], config: Mapping[str, object] | None
) -> str:
    return digest(contract.model_dump(), code_version, contents, config or {})


def is_current(
    workspace: Workspace,
    contracts: Sequence[Table],
    inputs: Sequence[Table | Slice],
    *,
    code_version: str,
    config: Mapping[str, object] | None = None,
) -> bool:
    """Whether `refresh` with these arguments would make nothing."""
    contents = content_of(workspace.lake, inputs)
    found = {c.key: workspace.lake.published(c.key) for c in contracts}
    return all(
        (one := found[c.key]) is not None and one.fingerprint == _fingerprint(c, code_version, contents, config)
        for c in contracts
    )


def stale_days(
    workspace: Workspace,
    contracts: Sequence[Table],
    by_day: Sequence[Table],
    whole: Sequence[Table],
    *,
    code_version: str,
    config: Mapping[str, object] | None = None,
) -> list[date]:
    """The days that `refresh_days` with these arguments and all days would make."""
    wanted = _wanted_versions(workspace.lake, contracts, by_day, whole, [code_version, config or {}])
    have = _have_versions(workspace, contracts)
    return sorted(d for d in set(wanted) | set(have) if wanted.get(d) != have.get(d))


def refresh_changed(
    workspace: Workspace,
    contract: Table,
    inputs: Sequence[Table | Slice],
    make: Callable[[Session], Made],
    *,
    code_version: str,
    config: Mapping[str, object] | None = None,
) -> Outcome:
    """Make a whole table partitioned by day if anything it is made from has changed; publish the days that differ.

    The other days keep their files, and with them their version: what reads this table by day is made again for the
    days alone whose rows have changed.

    Args:
        workspace: the shop.
        contract: of the table, partitioned by day.
        inputs: as `refresh`.
        make: makes all rows of the table.
        code_version: changes when the code does.
        config: everything else that decides the content.

    Returns:
        The outcome.

    Raises:
        Refused: if a gate refuses the table; the last good version stays.
    """
    lake, key = workspace.lake, contract.key
    fingerprint = _fingerprint(contract, code_version, content_of(lake, inputs), config)
    before = _standing(lake, contract)
    if before is not None and before.published.fingerprint == fingerprint:
        return before
    with workspace.engine.session() as session:
        _attach(session, lake, inputs)
        made = make(session)
        verdicts = gate(workspace, contract, made, session)
        rows = contract.conform(made.data)
        days = _different_days(session, lake, contract, rows)
    notes = {**made.notes, "verdicts": packed(verdicts)}
    if days or before is None:
        kept = rows.filter(pc.is_in(rows.column("day"), pa.array(days, pa.date32())))
        published = lake.publish(contract, kept, fingerprint=fingerprint, days=days, notes=notes)
    else:  # no file changes, but the commit says what the table was proved to be made from
        lake.append(contract, rows.slice(0, 0), fingerprint=fingerprint, notes=notes)
        found = lake.published(key)
        assert found is not None, "the table was published before"
        published = found
    return Outcome(published=published, verdicts=tuple(verdicts), is_reused=False, days=len(days))


def _different_days(session: Session, lake: Lake, contract: Table, rows: pa.Table) -> list[date]:
    """Days whose published rows are not these rows, as multisets."""
    session.register("made_rows", rows)
    session.attach(contract, lake)
    names = ", ".join(f'"{name}"' for name in contract.names)
    made, held = f"select {names} from made_rows", f"select {names} from {contract.key}"
    found = session.query(
        f"select distinct day from (({made} except all {held}) union all ({held} except all {made})) order by day"
    )
    days: list[date] = found.column("day").to_pylist()
    return days


def refresh_days(
    workspace: Workspace,
    contracts: Sequence[Table],
    by_day: Sequence[Table],
    whole: Sequence[Table],
    make: Callable[[Session], Mapping[str, Made]],
    *,
    days: Collection[date],
    code_version: str,
    config: Mapping[str, object] | None = None,
) -> dict[str, Outcome]:
    """Make the stale ones among `days` of tables partitioned by day.

    Args:
        workspace: the shop.
        contracts: of the tables that `make` returns; the last one is published last and marks a day as done.
        by_day: inputs partitioned by day; only the stale days are attached.
        whole: other inputs.
        make: makes the rows of the attached days; joins the table `input_versions` (day, input_version).
        days: the days that may be rewritten.
        code_version: changes when the code does.
        config: everything else that decides the content.

    Returns:
        Contract key -> outcome.

    Raises:
        Refused: if a gate refuses a batch of `DAYS_PER_COMMIT` days; the last good version of all its days stays.
    """
    lake = workspace.lake
    wanted = _wanted_versions(lake, contracts, by_day, whole, [code_version, config or {}])
    have = _have_versions(workspace, contracts)
    stale = sorted(d for d in set(days) & (set(wanted) | set(have)) if wanted.get(d) != have.get(d))
    outcomes = {c.key: _standing(lake, c) for c in contracts}
    gone = [d for d in stale if d not in wanted] if wanted else []
    outcomes = {c.key: _emptied(lake, c, gone, outcomes[c.key]) for c in contracts}
    stale = [d for d in stale if d not in gone]
    for start in range(0, len(stale), DAYS_PER_COMMIT):
        chunk = stale[start : start + DAYS_PER_COMMIT]
        with workspace.engine.session() as session:
            _attach(session, lake, [*(Slice(table=t, days=tuple(chunk)) for t in by_day), *whole])
            versions = [wanted.get(d, "") for d in chunk]
            session.register(
                "input_versions", pa.table({"day": pa.array(chunk, pa.date32()), "input_version": versions})
            )
            made = make(session)
            is_last = start + DAYS_PER_COMMIT >= len(stale)
            verdicts = {c.key: gate(workspace, c, made[c.key], session, is_last=is_last) for c in contracts}
        for contract in contracts:
            key = contract.key
            outcomes[key] = _publish_days(lake, contract, made[key], verdicts[key], chunk, outcomes[key])
    return {c.key: outcomes[c.key] or _founded(workspace, c) for c in contracts}


def _standing(lake: Lake, contract: Table) -> Outcome | None:
    found = lake.published(contract.key)
    if found is None:
        return None
    return Outcome(published=found, verdicts=published_verdicts(found), is_reused=True, days=0)


def _emptied(lake: Lake, contract: Table, gone: Sequence[date], before: Outcome | None) -> Outcome | None:
    """Take out days whose inputs have all left, as when a file was taken back: there is nothing to prove in them.

    A table that would lose its last day goes through its gate instead.
    """
    held = sorted(set(lake.day_versions(contract.key)) & set(gone))
    if before is None or not held:
        return before
    empty, notes = contract.arrow_schema().empty_table(), before.published.notes
    published = lake.publish(contract, empty, fingerprint=digest(list(map(str, held))), days=held, notes=notes)
    return before.model_copy(update={"published": published, "is_reused": False, "days": len(held)})


def _founded(workspace: Workspace, contract: Table) -> Outcome:
    """An empty table where there is none and no day has rows, if its contract allows that."""
    made = Made(data=contract.arrow_schema().empty_table())
    with workspace.engine.session() as session:
        verdicts = gate(workspace, contract, made, session)
    notes = {"verdicts": packed(verdicts)}
    found = workspace.lake.publish(contract, made.data, fingerprint="", days=[], notes=notes)
    return Outcome(published=found, verdicts=tuple(verdicts), is_reused=False, days=0)


def _publish_days(
    lake: Lake, contract: Table, made: Made, verdicts: list[Verdict], days: Sequence[date], before: Outcome | None
) -> Outcome | None:
    """Publish one chunk of days; days without rows, before and now, are no news."""
    filled = set(made.data.column("day").unique().to_pylist()) | (set(lake.day_versions(contract.key)) & set(days))
    if not filled:
        return before
    if before and not before.is_reused:
        verdicts = worst(before.verdicts, verdicts)
    published = lake.publish(
        contract,
        made.data,
        fingerprint=digest(sorted(map(str, filled))),
        days=sorted(filled),
        notes={**made.notes, "verdicts": packed(verdicts)},
    )
    return Outcome(
        published=published,
        verdicts=tuple(verdicts),
        is_reused=False,
        days=(before.days or 0 if before else 0) + len(filled),
    )


def _wanted_versions(
    lake: Lake, contracts: Sequence[Table], by_day: Sequence[Table], whole: Sequence[Table], code: object
) -> dict[date, str]:
    shared = digest([c.model_dump() for c in contracts], code, content_of(lake, whole))
    found = {table.key: lake.day_versions(table.key) for table in by_day}
    days = set().union(*found.values()) if found else set()
    return {d: digest(shared, {key: versions.get(d) for key, versions in found.items()}) for d in days}


def _have_versions(workspace: Workspace, contracts: Sequence[Table]) -> dict[date, str]:
    """Input version that each day was last made from; a day on which the tables disagree is not done."""
    have: dict[date, set[str]] = {}
    with workspace.engine.session() as session:
        for contract in contracts:
            session.attach(contract, workspace.lake)
            sql = f"select distinct day, input_version from {contract.key} order by day, input_version"
            for row in session.query(sql).to_pylist():
                have.setdefault(row["day"], set()).add(row["input_version"])
    return {day: versions.pop() for day, versions in have.items() if len(versions) == 1}
