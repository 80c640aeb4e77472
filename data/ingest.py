"""Landing: every file of a source enters its raw table exactly once, told by the digest of its bytes.

Ids become pseudonyms here, before anything is written; nothing after this module sees a raw id.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime

import duckdb
import pyarrow as pa

from data.build import Outcome, Refused, packed, published_verdicts
from data.connectors import SourceFile, resolve_files
from data.contracts.raw import raw_table
from data.lake import digest
from data.pseudonym import load_key
from data.quality import batch_measures, failures, prove
from data.shop.errors import ShopError, SourceError
from data.shop.mapping import read_batch
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
    contract = raw_table(source, workspace.shop.sources[source].kind)
    files = resolve_files(workspace.shop, source, workspace.landing, digests=workspace.digests)
    held = held_digests(workspace, source)
    is_remapped = bool(held) and _mapping_held(workspace, source) != _mapping(workspace, source)
    files, problems = _readable(files)
    if is_remapped:
        _all_still_there(source, files, held)
    new = [f for f in files if is_remapped or f.sha256 not in held]
    key = load_key(workspace.settings.keys / "pseudonym.key")
    taken: set[str] = set()
    parts: list[pa.Table] = []
    for number, file in enumerate(new, 1):
        try:
            if file.sha256 not in taken:
                parts.append(contract.conform(_read(workspace, source, file, key)))
                taken.add(file.sha256)
                tell(f"{source}: {file.name}, {parts[-1].num_rows:,} rows ({number} of {len(new)} new files)")
        except SourceError as error:
            problems.append(str(error))
        if parts and (number == len(new) or sum(p.num_rows for p in parts) >= ROWS_PER_COMMIT):
            _append(workspace, source, parts, is_remapped)
            parts, is_remapped = [], False
    if problems and not taken and not held:
        raise ShopError(" ".join(problems))
    if workspace.lake.published(contract.key) is None:
        _append(workspace, source, [contract.arrow_schema().empty_table()], False)
    published = workspace.lake.published(contract.key)
    assert published is not None, "the table was just written"
    return Outcome(published=published, verdicts=published_verdicts(published), is_reused=not taken), problems


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
    """Files of a source that its raw table does not hold yet."""
    held = held_digests(workspace, source)
    files = resolve_files(workspace.shop, source, workspace.landing, digests=workspace.digests)
    return [f for f in files if f.sha256 not in held]


def held_digests(workspace: Workspace, source: str) -> set[str]:
    """Digests of the files that the raw table of a source holds."""
    contract = raw_table(source, workspace.shop.sources[source].kind)
    with workspace.engine.session() as session:
        session.attach(contract, workspace.lake)
        found = session.query(f"select distinct file_sha256 from {contract.key} order by file_sha256")
    return set(found.column("file_sha256").to_pylist())


def _read(workspace: Workspace, source: str, file: SourceFile, key: bytes) -> pa.Table:
    """Rows of one file, on `NO_DAY` where the calendar lacks their day; files are DuckDB's to read on any engine."""
    declared = workspace.shop.sources[source]
    with duckdb.connect(config={"threads": workspace.settings.threads}) as connection:
        rows = read_batch(connection, workspace.shop, source, file, key)
        if declared.kind != "events":
            return rows
        start, end = calendar_days(workspace)
        connection.register("landed", rows)
        in_calendar = f"case when day between date '{start}' and date '{end}' then day else date '{NO_DAY}' end"
        day = in_calendar if declared.time is not None else f"date '{start}'"
        return connection.sql(f"select * replace ({day} as day) from landed order by day, line").to_arrow_table()


def _append(workspace: Workspace, source: str, parts: Sequence[pa.Table], overwrite: bool) -> None:
    contract = raw_table(source, workspace.shop.sources[source].kind)
    rows = pa.concat_tables(parts)
    with workspace.engine.session() as session:
        measures = batch_measures(contract, rows=rows.num_rows, orphans={}, quarantined=0)
        verdicts = prove(contract, rows, measures, session)
    said = failures(contract, verdicts)
    if said:
        raise Refused(contract.key, said, verdicts)
    notes = {"verdicts": packed(verdicts), "mapping": _mapping(workspace, source)}
    files = digest(sorted(rows.column("file_sha256").unique().to_pylist()))
    workspace.lake.append(contract, rows, fingerprint=files, notes=notes, overwrite=overwrite)


def _mapping(workspace: Workspace, source: str) -> str:
    """Digest of everything in the shop file that decides what a landed row of this source becomes."""
    shop = workspace.shop
    calendar = shop.calendar.start.isoformat() if shop.calendar else None
    return digest(shop.sources[source].model_dump(mode="json", exclude={"path"}), shop.timezone, calendar)


def _mapping_held(workspace: Workspace, source: str) -> str | None:
    found = workspace.lake.published(raw_table(source, workspace.shop.sources[source].kind).key)
    return found.notes.get("mapping") if found else None


def _all_still_there(source: str, files: Sequence[SourceFile], held: set[str]) -> None:
    gone = held - {f.sha256 for f in files}
    if gone:
        raise ShopError(
            f"The mapping of source '{source}' changed, so that all its files must be read again, but {len(gone)} of "
            f"the {len(held)} files read before are gone; put them back, or undo the change of the shop file."
        )
