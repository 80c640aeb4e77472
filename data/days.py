"""How the stale days of a table partitioned by day come to be, and no others.

A day is made from its own days of some inputs and from what these look up in others (`data.lookups`). Its column
`input_version` says from which: a digest of the code and of its own days, a point, and a digest of what they found.
The last table's fingerprint is a digest of the versions of all days, a point, and, where each of them is up to date, a
digest of the content of the looked-up tables: until that changes, no published day is looked up again.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date

import pyarrow as pa

from data.build import Made, Outcome, Slice, attach, content_of, restated, standing
from data.contracts.schema import Table
from data.engine import Session
from data.fingerprint import digest
from data.gate import gate, packed
from data.lake import Lake
from data.lookups import Lookup, facts_of
from data.verdicts import Verdict, worst
from data.workspace import Workspace

DAYS_PER_COMMIT = 92
"""Days that are made, proved and published at once: what bounds the memory of a long history."""


class _Plan:
    """What each day is to be made from, beside what it was made from."""

    def __init__(self, basis: str, wanted: Mapping[date, str], have: dict[date, str]) -> None:
        """Keep both.

        Args:
            basis: digest of the content of all looked-up tables.
            wanted: day -> version, for each day that an input has.
            have: day -> version, for each day that is published; kept up to date while days are made.
        """
        self.basis, self.wanted, self.have = basis, wanted, have

    @property
    def stale(self) -> set[date]:
        """Days to make, or to take out."""
        return {d for d in {*self.wanted, *self.have} if self.wanted.get(d) != self.have.get(d)}

    def now_hold(self, days: Sequence[date], made: Collection[Made]) -> None:
        """Take down that these days are about to hold what was made; a day without rows has no version."""
        filled = {day for one in made for day in one.data.column("day").unique().to_pylist()}
        for day in days:
            self.have.pop(day, None)
            if day in filled:
                self.have[day] = self.wanted.get(day, "")

    @property
    def fingerprint(self) -> str:
        """Of tables that hold these days: their versions, and the basis if each of them is up to date."""
        is_proved = all(self.wanted.get(day) == version for day, version in self.have.items())
        return f"{_seal(self.have)}.{self.basis if is_proved else ''}"


def _seal(have: Mapping[date, str]) -> str:
    return digest({str(day): version for day, version in have.items()})


def stale_days(
    workspace: Workspace,
    contracts: Sequence[Table],
    by_day: Sequence[Table],
    lookups: Sequence[Lookup],
    *,
    code_version: str,
) -> list[date]:
    """The days that `refresh_days` with these arguments and all days would make."""
    return sorted(_plan(workspace, contracts, by_day, lookups, code_version).stale)


def refresh_days(
    workspace: Workspace,
    contracts: Sequence[Table],
    by_day: Sequence[Table],
    lookups: Sequence[Lookup],
    make: Callable[[Session], Mapping[str, Made]],
    *,
    days: Collection[date],
    code_version: str,
    days_per_commit: int = DAYS_PER_COMMIT,
) -> dict[str, Outcome]:
    """Make the stale ones among `days` of tables partitioned by day.

    Args:
        workspace: the shop.
        contracts: of the tables that `make` returns; the last one is published last and marks a day as done.
        by_day: inputs partitioned by day; only the stale days are attached.
        lookups: what the days look up in other inputs, which are attached whole.
        make: makes the rows of the attached days; joins the table `input_versions` (day, input_version).
        days: the days that may be rewritten.
        code_version: changes when the code does.
        days_per_commit: how many days are made at once.

    Returns:
        Contract key -> outcome.

    Raises:
        Refused: if a gate refuses a batch of `days_per_commit` days; the last good version of all its days stays.
    """
    lake = workspace.lake
    plan = _plan(workspace, contracts, by_day, lookups, code_version)
    stale = sorted(plan.stale.intersection(days))
    outcomes = {c.key: standing(lake, c) for c in contracts}
    gone = [d for d in stale if d not in plan.wanted] if plan.wanted else []
    plan.now_hold(gone, [])
    outcomes = {c.key: _emptied(lake, c, gone, outcomes[c.key], plan.fingerprint) for c in contracts}
    stale = [d for d in stale if d not in gone]
    for start in range(0, len(stale), days_per_commit):
        chunk = stale[start : start + days_per_commit]
        with workspace.engine.session() as session:
            attach(session, lake, [*(Slice(table=t, days=tuple(chunk)) for t in by_day), *(x.table for x in lookups)])
            versions = [plan.wanted.get(d, "") for d in chunk]
            session.register(
                "input_versions", pa.table({"day": pa.array(chunk, pa.date32()), "input_version": versions})
            )
            made = make(session)
            is_last = start + days_per_commit >= len(stale)
            verdicts = {c.key: gate(workspace, c, made[c.key], session, is_last=is_last) for c in contracts}
        plan.now_hold(chunk, made.values())
        for contract in contracts:
            key, before = contract.key, outcomes[contract.key]
            outcomes[key] = _published(lake, contract, made[key], verdicts[key], chunk, before, plan.fingerprint)
    found = {c.key: outcomes[c.key] or _founded(workspace, c) for c in contracts}
    done = contracts[-1]
    return {**found, done.key: _sealed(lake, done, found[done.key], plan.fingerprint)}


def _plan(
    workspace: Workspace,
    contracts: Sequence[Table],
    by_day: Sequence[Table],
    lookups: Sequence[Lookup],
    code_version: str,
) -> _Plan:
    """Find out what each day is to be made from, looking up only where that may have changed."""
    lake = workspace.lake
    code = digest([c.model_dump() for c in contracts], code_version, [(x.table.key, x.key, x.facts) for x in lookups])
    basis = digest(content_of(lake, [x.table for x in lookups]))
    held = {table.key: lake.day_versions(table.key) for table in by_day}
    days = set().union(*held.values()) if held else set()
    own = {d: digest(code, {key: versions.get(d) for key, versions in held.items()}) for d in days}
    last = lake.published(contracts[-1].key)
    seal, _, proved = (last.fingerprint if last else "").partition(".")
    have = _have_versions(workspace, contracts, seal)
    wanted = {d: version for d, version in have.items() if version.partition(".")[0] == own.get(d)}
    is_proved = (seal, proved) == (_seal(have), basis)
    facts = facts_of(workspace, by_day, lookups, days.difference(wanted) if is_proved else days)
    return _Plan(basis, wanted | {d: f"{own[d]}.{found}" for d, found in facts.items()}, have)


def _have_versions(workspace: Workspace, contracts: Sequence[Table], seal: str) -> dict[date, str]:
    """Input version that each day was last made from; a day on which the tables disagree is not done.

    Nor is a day that the last table has no rows of, unless that table's seal says so: its commit may be missing.
    """
    have: dict[date, set[str]] = {}
    with workspace.engine.session() as session:
        for contract in contracts:
            session.attach(contract, workspace.lake)
            sql = f"select distinct day, input_version from {contract.key} order by day, input_version"
            rows = session.query(sql).to_pylist()
            for row in rows:
                have.setdefault(row["day"], set()).add(row["input_version"])
    found = {day: versions.pop() for day, versions in have.items() if len(versions) == 1}
    marked = {row["day"] for row in rows}
    return found if _seal(found) == seal else {day: version for day, version in found.items() if day in marked}


def _emptied(
    lake: Lake, contract: Table, gone: Sequence[date], before: Outcome | None, fingerprint: str
) -> Outcome | None:
    """Take out days whose inputs have all left, as when a file was taken back: there is nothing to prove in them.

    A table that would lose its last day goes through its gate instead.
    """
    held = sorted(set(lake.day_versions(contract.key)) & set(gone))
    if before is None or not held:
        return before
    empty, notes = contract.arrow_schema().empty_table(), before.published.notes
    published = lake.publish(contract, empty, fingerprint=fingerprint, days=held, notes=notes)
    return before.model_copy(update={"published": published, "is_reused": False, "days": len(held)})


def _published(
    lake: Lake,
    contract: Table,
    made: Made,
    verdicts: list[Verdict],
    days: Sequence[date],
    before: Outcome | None,
    fingerprint: str,
) -> Outcome | None:
    """Publish one chunk of days; days without rows, before and now, are no news."""
    filled = set(made.data.column("day").unique().to_pylist()) | (set(lake.day_versions(contract.key)) & set(days))
    if not filled:
        return before
    if before and not before.is_reused:
        verdicts = worst(before.verdicts, verdicts)
    notes = {**made.notes, "verdicts": packed(verdicts)}
    published = lake.publish(contract, made.data, fingerprint=fingerprint, days=sorted(filled), notes=notes)
    n_days = (before.days or 0 if before else 0) + len(filled)
    return Outcome(published=published, verdicts=tuple(verdicts), is_reused=False, days=n_days)


def _founded(workspace: Workspace, contract: Table) -> Outcome:
    """An empty table where there is none and no day has rows, if its contract allows that."""
    made = Made(data=contract.arrow_schema().empty_table())
    with workspace.engine.session() as session:
        verdicts = gate(workspace, contract, made, session)
    notes = {"verdicts": packed(verdicts)}
    found = workspace.lake.publish(contract, made.data, fingerprint="", days=[], notes=notes)
    return Outcome(published=found, verdicts=tuple(verdicts), is_reused=False, days=0)


def _sealed(lake: Lake, contract: Table, outcome: Outcome, fingerprint: str) -> Outcome:
    """Say how the days stand where the last commit does not, as when a lookup changed and no day found it."""
    if outcome.published.fingerprint == fingerprint:
        return outcome
    published = restated(lake, contract, fingerprint, outcome.published.notes)
    return outcome.model_copy(update={"published": published})
