"""Landing: every file of a source enters its raw table exactly once, told by the digest of its bytes.

A column that the shop file maps and a file lacks refuses that file, unless it is optional; how a file's columns differ
otherwise is said in the log when it changes, and with every publication in its notes (`data.shapes`).
Ids become pseudonyms here, before anything is written; nothing after this module sees a raw id.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import duckdb
import pyarrow as pa

from data.build import Outcome, packed, published_verdicts
from data.connectors import SourceFile, resolve_files
from data.contracts.raw import PUBLIC
from data.fingerprint import digest
from data.gate import Made, gate
from data.pseudonym import load_key
from data.row_file import Rows
from data.shapes import Shape, shape_of
from data.shop.errors import ShopError, SourceError
from data.shop.mapping import Batch, read_batch, read_parts
from data.withdrawn import withdrawn
from data.workspace import Workspace

NO_DAY = date(1970, 1, 1)
"""Partition of rows whose time does not parse or lies outside the calendar; every row of it is quarantined."""

ROWS_PER_COMMIT = 2_000_000


def today() -> date:
    """Today in UTC, like every day of Portrait."""
    return datetime.now(UTC).date()


def calendar_days(workspace: Workspace) -> tuple[date, date]:
    """First and last day that events of this shop may have.

    Returns:
        The declared calendar; without an end it goes to today, without a calendar (a shop without timestamps) it is
        one constant day.
    """
    calendar = workspace.shop.calendar
    if calendar is None:
        return date(1970, 1, 2), date(1970, 1, 2)
    return calendar.start, calendar.end or today()


def landed_days(workspace: Workspace) -> set[date]:
    """UTC days that rows of any source of events have landed on; rows without a readable day count for none."""
    events = [name for name, source in workspace.shop.sources.items() if source.kind == "events"]
    return {day for name in events for day in workspace.lake.day_versions(workspace.raw(name).key)} - {NO_DAY}


def ingest(workspace: Workspace, source: str, tell: Callable[[str], None]) -> tuple[Outcome, list[str]]:
    """Append all files of a source that its raw table does not hold yet.

    Args:
        workspace: the shop.
        source: name of the source.
        tell: receives a line of progress per file.

    Returns:
        The outcome, and one sentence per file that could not be read (the others are published).

    Raises:
        SourceError: if the source has no file.
        ShopError: if none of its files can be read, or the mapping changed and a file read before is gone.
        Refused: if the rows do not meet the raw contract.
    """
    contract = workspace.raw(source)
    files = resolve_files(workspace.shop, source, workspace.landing, digests=workspace.digests)
    held = held_digests(workspace, source)
    is_remapped = bool(held) and not is_mapping_held(workspace, source)
    files, problems = _readable(files)
    gone = withdrawn(workspace.lake, contract.key)
    files = [f for f in files if f.sha256 not in gone]
    if is_remapped:
        _all_still_there(source, files, held)
    new = [f for f in files if is_remapped or f.sha256 not in held]
    key = load_key(workspace.settings.keys / "pseudonym.key")
    taken: set[str] = set()
    parts: dict[str, pa.Table] = {}
    shape = Shape(source) if is_remapped else shape_of(workspace, source)
    for number, file in enumerate(new, 1):
        try:
            if file.sha256 not in taken:
                batch = read_rows(workspace, source, file, key)
                parts[file.sha256] = contract.conform(batch.rows)
                taken.add(file.sha256)
                tell(f"{source}: {file.name}, {batch.rows.num_rows:,} rows ({number} of {len(new)} new files)")
                shape.tell(file.name, batch, tell)
        except SourceError as error:
            problems.append(str(error))
        if parts and (number == len(new) or sum(p.num_rows for p in parts.values()) >= ROWS_PER_COMMIT):
            append_rows(workspace, source, pa.concat_tables(parts.values()), parts, shape, overwrite=is_remapped)
            parts, is_remapped = {}, False
    if problems and not taken and not held:
        raise ShopError(" ".join(problems))
    return landed(workspace, source, shape, is_reused=not taken), problems


def landed(workspace: Workspace, source: str, shape: Shape, *, is_reused: bool) -> Outcome:
    """The raw table as it stands after landing, founded empty if nothing ever landed."""
    contract = workspace.raw(source)
    if workspace.lake.published(contract.key) is None:
        append_rows(workspace, source, contract.arrow_schema().empty_table(), (), shape)
    published = workspace.lake.published(contract.key)
    assert published is not None, "the table was just written"
    return Outcome(published=published, verdicts=published_verdicts(published), is_reused=is_reused)


def _readable(files: Sequence[SourceFile]) -> tuple[list[SourceFile], list[str]]:
    """Files whose bytes can be read, and a sentence for each of the others."""
    readable, problems = [], []
    for file in files:
        try:
            _ = file.sha256
        except SourceError as error:
            problems.append(str(error))
        else:
            readable.append(file)
    return readable, problems


def new_files(workspace: Workspace, source: str) -> list[SourceFile]:
    """Files of a source that its raw table does not hold yet; one that was taken back is none."""
    held = known_digests(workspace, source)
    files = resolve_files(workspace.shop, source, workspace.landing, digests=workspace.digests)
    return [f for f in files if f.sha256 not in held]


def held_digests(workspace: Workspace, source: str) -> set[str]:
    """Digests of the files that the raw table of a source holds."""
    contract = workspace.raw(source)
    with workspace.engine.session() as session:
        session.attach(contract, workspace.lake)
        found = session.query(f"select distinct file_sha256 from {contract.key} order by file_sha256")
    return set(found.column("file_sha256").to_pylist())


def known_digests(workspace: Workspace, source: str) -> set[str]:
    """Digests of the files of a source that need no landing: those held, and those that were taken back."""
    contract = workspace.raw(source)
    return held_digests(workspace, source) | withdrawn(workspace.lake, contract.key)


def landed_rows(workspace: Workspace, source: str, file: SourceFile) -> pa.Table:
    """Rows of one file as the raw table of its source holds them.

    Raises:
        SourceError: if the file cannot be read.
    """
    contract = workspace.raw(source)
    key = load_key(workspace.settings.keys / "pseudonym.key")
    return contract.conform(read_rows(workspace, source, file, key).rows)


def read_rows(workspace: Workspace, source: str, file: SourceFile, key: bytes) -> Batch:
    """Rows of one file, on `NO_DAY` where the calendar lacks their day; files are DuckDB's to read on any engine."""
    declared = workspace.shop.sources[source]
    with duckdb.connect(config=_limits(workspace, declared.kind)) as connection:
        batch = read_batch(connection, workspace.shop, source, file, key)
        return replace(batch, rows=_in_calendar(connection, workspace, source, batch.rows))


def read_rows_in_parts(
    workspace: Workspace, source: str, file: SourceFile, key: bytes, part_rows: int
) -> Iterator[pa.Table]:
    """Rows of one Parquet file like `read_rows`, conformed, at most `part_rows` of them at a time."""
    declared, contract = workspace.shop.sources[source], workspace.raw(source)
    with duckdb.connect(config=_limits(workspace, declared.kind)) as connection:
        for rows in read_parts(connection, workspace.shop, source, file, key, part_rows):
            yield contract.conform(_in_calendar(connection, workspace, source, rows))


def _in_calendar(connection: duckdb.DuckDBPyConnection, workspace: Workspace, source: str, rows: pa.Table) -> pa.Table:
    """Rows of events by day, on `NO_DAY` where the calendar lacks theirs; others as they are."""
    declared = workspace.shop.sources[source]
    if declared.kind != "events":
        return rows
    start, end = calendar_days(workspace)
    connection.register("landed", rows)
    in_calendar = f"case when day between date '{start}' and date '{end}' then day else date '{NO_DAY}' end"
    day = in_calendar if declared.time is not None else f"date '{start}'"
    return connection.sql(f"select * replace ({day} as day) from landed order by day, line").to_arrow_table()


def _limits(workspace: Workspace, kind: str) -> dict[str, str | bool | int | float | list[str]]:
    """What reading a file may take; only what is public may spill to the disk, for raw ids are never written."""
    threads = str(workspace.settings.threads)
    if kind not in PUBLIC:
        return {"threads": threads}
    spill = workspace.home / "spill"
    spill.mkdir(parents=True, exist_ok=True)
    return {"threads": threads, "memory_limit": workspace.settings.memory_limit, "temp_directory": str(spill)}


def append_rows(
    workspace: Workspace,
    source: str,
    rows: Rows,
    files: Collection[str],
    shape: Shape,
    *,
    overwrite: bool = False,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Prove rows against the raw contract and publish them in one commit.

    Args:
        workspace: the shop.
        source: name of the source.
        rows: (n, c) as the raw contract has them.
        files: digests of the files that they stood in.
        shape: how the columns of the source differ from those mapped.
        overwrite: the rows replace everything that the table holds.
        notes: further facts for the commit.

    Raises:
        Refused: if the rows do not meet the raw contract.
    """
    contract = workspace.raw(source)
    with workspace.engine.session() as session:
        verdicts = gate(workspace, contract, Made(data=rows), session)
    said_too = {**shape.notes(), **(notes or {})}
    said_too |= {"verdicts": packed(verdicts), "mapping": _mapping(workspace, source)}
    fingerprint = digest(sorted(files))
    workspace.lake.append(contract, rows, fingerprint=fingerprint, notes=said_too, overwrite=overwrite)


def _mapping(workspace: Workspace, source: str) -> str:
    """Digest of everything in the shop file that decides what a landed row of this source becomes."""
    shop = workspace.shop
    calendar = shop.calendar.start.isoformat() if shop.calendar else None
    declared = shop.sources[source]
    # Where it lies decides nothing; what only tables have, or a shop does not say, is left out: older digests hold.
    apart = {"path", "database"} if declared.is_table else {"path", "database", "table", "query", "watermark"}
    apart |= {name for name in ("returns", "valid") if getattr(declared, name) is None} | {"public"}
    exclude: dict[str, Any] = dict.fromkeys(apart, True)
    ways = set() if declared.kind == "promotions" else {"absent", "labels"}
    exclude["filters"] = {n: {"optional"} for n, rule in enumerate(declared.filters) if not rule.optional}
    # What is missing or out of range is judged by core, after landing.
    exclude["columns"] = {"__all__": {"missing", "unparsable", "out_of_range", *ways}}
    return digest(declared.model_dump(mode="json", exclude=exclude), shop.timezone, calendar)


def is_mapping_held(workspace: Workspace, source: str) -> bool:
    """Whether what the raw table of a source holds was landed as the shop file says it now."""
    found = workspace.lake.published(workspace.raw(source).key)
    return found is not None and found.notes.get("mapping") == _mapping(workspace, source)


def _all_still_there(source: str, files: Sequence[SourceFile], held: set[str]) -> None:
    gone = held - {f.sha256 for f in files}
    if gone:
        raise ShopError(
            f"The mapping of source '{source}' changed, so that all its files must be read again, but {len(gone)} of "
            f"the {len(held)} files read before are gone; put them back, or undo the change of the shop file."
        )
