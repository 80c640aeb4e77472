"""How a table comes to be: skip what is up to date, make, prove, publish. By stale days: see `data.days`.

Up to date means: the published version was made by the same code from the same content. That one rule makes a
second run free, lets an interrupted run go on where it stopped, and turns late files, corrections and erasure
into ordinary runs.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from data.contracts.schema import Frozen, Table
from data.engine import Session
from data.fingerprint import digest
from data.gate import Made, Refused, gate, packed, published_verdicts
from data.lake import Lake, Published
from data.verdicts import Verdict
from data.workspace import Workspace

__all__ = [
    "Made",
    "Outcome",
    "Refused",
    "Slice",
    "attach",
    "content_of",
    "is_current",
    "packed",
    "published_verdicts",
    "refresh",
    "refresh_changed",
    "restated",
    "standing",
]


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


def attach(session: Session, lake: Lake, inputs: Sequence[Table | Slice]) -> None:
    """Show each input, or only its days, to a session under its contract key."""
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
        attach(session, lake, inputs)
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
    lake = workspace.lake
    fingerprint = _fingerprint(contract, code_version, content_of(lake, inputs), config)
    before = standing(lake, contract)
    if before is not None and before.published.fingerprint == fingerprint:
        return before
    with workspace.engine.session() as session:
        attach(session, lake, inputs)
        made = make(session)
        verdicts = gate(workspace, contract, made, session)
        rows = contract.conform(made.data)
        days = _different_days(session, lake, contract, rows)
    notes = {**made.notes, "verdicts": packed(verdicts)}
    if days or before is None:
        kept = rows.filter(pc.is_in(rows.column("day"), pa.array(days, pa.date32())))
        published = lake.publish(contract, kept, fingerprint=fingerprint, days=days, notes=notes)
    else:  # no file changes, but the commit says what the table was proved to be made from
        published = restated(lake, contract, fingerprint, notes)
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


def standing(lake: Lake, contract: Table) -> Outcome | None:
    """The outcome of a run that finds a table partitioned by day as it should be; None before its first version."""
    found = lake.published(contract.key)
    if found is None:
        return None
    return Outcome(published=found, verdicts=published_verdicts(found), is_reused=True, days=0)


def restated(lake: Lake, contract: Table, fingerprint: str, notes: Mapping[str, str]) -> Published:
    """Say in a commit of its own what a published table was proved to be made from; no file changes."""
    lake.append(contract, contract.arrow_schema().empty_table(), fingerprint=fingerprint, notes=notes)
    found = lake.published(contract.key)
    assert found is not None, "the table was published before"
    return found
