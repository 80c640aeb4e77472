"""Landing of sources that are tables of a database: how far a table is published is a note of the very commit.

With a watermark, rows are appended; without one, the raw table is replaced when the content of the table changed.
A run that is killed between reading and publishing has published nothing, and the next one reads the same rows again.
"""

import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb

from data.build import Outcome
from data.connectors import landing_files
from data.contracts.schema import Frozen
from data.fingerprint import digest
from data.ingest import (
    append_rows,
    calendar_days,
    held_digests,
    is_mapping_held,
    landed,
    landed_days,
    read_rows_in_parts,
)
from data.pseudonym import load_key
from data.row_file import RowFile
from data.shapes import Shape, shape_of
from data.shop.errors import ShopError, SourceError
from data.shop.instants import instant_sql
from data.sql_marks import Mark
from data.sql_pull import Part, absent_columns, check_watermark, pull, pull_whole, unmapped_columns
from data.sql_source import OpenTable, Value, open_table
from data.workspace import Workspace

ROWS_PER_COMMIT = 500_000
"""Rows of a pull after which what was read is published, where a watermark says how far it came."""

ROWS_AT_ONCE = 20_000
"""Rows of a pull that are in memory at once while they are mapped."""


class Waiting(Frozen):
    """Rows of a table that are not landed yet."""

    newest: str
    """Greatest watermark of the table, or what is known instead."""
    identity: str
    """Digest of the table and that watermark: what a launch is told by."""
    days: tuple[date, date]
    """First and last day whose tables may change; the whole calendar where the database cannot tell."""


def ingest_table(workspace: Workspace, source: str, tell: Callable[[str], None]) -> tuple[Outcome, list[str]]:
    """Land what a table holds and its raw table does not.

    Args:
        workspace: the shop.
        source: name of a source that is a table.
        tell: receives a line of progress per commit.

    Returns:
        The outcome, and one sentence per thing that could not be read (what was read is published).

    Raises:
        ShopError: if nothing can be read and nothing was read before; if the watermark went backwards, or rows read
            before are gone although all must be read again.
        Refused: if the rows do not meet the raw contract.
    """
    problems = [
        f"{file.path}: source '{source}' is a table and takes no files; remove it, or name another source."
        for file in landing_files(source, workspace.landing)
    ]
    landing = _Landing(workspace, source, tell)
    try:
        with open_table(workspace.shop, source) as table, tempfile.TemporaryDirectory(prefix="portrait-") as folder:
            landing.run(table, Path(folder))
    except SourceError as error:
        problems.append(str(error))
        if not landing.rows_held and not landing.taken:
            raise ShopError(" ".join(problems)) from None
    return landed(workspace, source, landing.shape, is_reused=not landing.taken), problems


def waiting_rows(workspace: Workspace, source: str) -> Waiting | None:
    """What a table holds beyond its raw table, by one cheap question.

    Args:
        workspace: the shop.
        source: name of a source that is a table.

    Returns:
        None if nothing waits. A table without a watermark always does: only reading it tells whether it changed.

    Raises:
        SourceError: if the database cannot be asked.
        ShopError: if the declaration of the database is wrong.
    """
    declared = workspace.shop.sources[source]
    origin = origin_of(workspace, source)
    if declared.watermark is None:
        return Waiting(newest="unknown", identity=origin, days=_days(workspace, source, None, None))
    mark = mark_of(workspace, source)
    held = mark.value if mark and mark.origin == origin and is_mapping_held(workspace, source) else None
    with open_table(workspace.shop, source) as table:
        standing = table.standing(held)
        n_ties = table.count_at(held) if held is not None else 0
        if not standing.is_ahead and (mark is None or n_ties <= mark.ties.count):
            return None
        identity = digest(origin, str(standing.newest), held is None, n_ties)
        days = _days(workspace, source, table, held)
    return Waiting(newest=str(standing.newest), identity=identity, days=days)


def origin_of(workspace: Workspace, source: str) -> str:
    """Digest of what a mark is about: the table or query, and the watermark."""
    declared = workspace.shop.sources[source]
    return digest(declared.table, declared.query, declared.watermark)


def mark_of(workspace: Workspace, source: str) -> Mark | None:
    """How far a table is published, as its last commit says."""
    found = workspace.lake.published(workspace.raw(source).key)
    return Mark.model_validate_json(found.notes["pull"]) if found and "pull" in found.notes else None


class _Landing:
    """One landing of one table."""

    def __init__(self, workspace: Workspace, source: str, tell: Callable[[str], None]) -> None:
        self.workspace, self.source, self.tell = workspace, source, tell
        self.contract = workspace.raw(source)
        self.key = load_key(workspace.settings.keys / "pseudonym.key")
        published = workspace.lake.published(self.contract.key)
        self.rows_held = published.rows if published else 0
        self.is_remapped = published is not None and not is_mapping_held(workspace, source)
        self.shape = Shape(source) if self.is_remapped else shape_of(workspace, source)
        self.taken = 0

    def run(self, table: OpenTable, folder: Path) -> None:
        self.shape.tell_columns(table.name, unmapped_columns(table), absent_columns(table), self.tell)
        if table.declared.watermark is None:
            self._replace(table, folder)
        else:
            self._extend(table, folder)

    def _extend(self, table: OpenTable, folder: Path) -> None:
        check_watermark(table)
        origin = origin_of(self.workspace, self.source)
        mark = mark_of(self.workspace, self.source)
        if mark is not None and mark.origin == origin:
            self._still_there(table, mark)
        if self.is_remapped or (mark is not None and mark.origin != origin):
            mark = None
        parts = pull(table, self.key, folder, mark=mark, origin=origin, part_rows=ROWS_PER_COMMIT)
        for part in parts:
            assert part.mark is not None, "parts of a table with a watermark have one"
            self._publish(part, {"pull": part.mark.model_dump_json(), "watermark": str(part.mark.value)})

    def _still_there(self, table: OpenTable, mark: Mark) -> None:
        """Refuse a table that lost what was read before: another database, or a restored backup."""
        standing = table.standing(mark.value)
        if standing.is_behind:
            newest = "no row at all" if standing.newest is None else f"{standing.newest} as its newest"
            raise ShopError(
                f"{table.place}: the watermark went backwards: the table has {newest} {table.declared.watermark}, but "
                f"rows up to {mark.value} were published; restore the table, or correct `database`, or declare it as a "
                "source of another name."
            )
        if self.is_remapped and (n_rows := table.count_up_to(mark.value)) < mark.rows:
            raise ShopError(
                f"{table.place}: the mapping of source '{self.source}' changed, so that all rows must be read again, "
                f"but of the {mark.rows:,} rows read before only {n_rows:,} are left; put them back, or undo the "
                "change of the shop file."
            )

    def _replace(self, table: OpenTable, folder: Path) -> None:
        part = pull_whole(table, self.key, folder)
        if not part.rows:
            if self.rows_held:
                what = f"holds no rows, but its last {self.rows_held:,} stay published"
                raise SourceError(table.place, what, "fill it again, or remove the source")
            return
        if self.is_remapped or held_digests(self.workspace, self.source) != {part.file.sha256}:
            self.is_remapped = True
            self._publish(part, {})

    def _publish(self, part: Part, notes: dict[str, str]) -> None:
        read = read_rows_in_parts(self.workspace, self.source, part.file, self.key, ROWS_AT_ONCE)
        rows = RowFile.write(Path(part.file.path).with_name("rows.parquet"), self.contract.arrow_schema(), read)
        files = (part.file.sha256,)
        append_rows(self.workspace, self.source, rows, files, self.shape, overwrite=self.is_remapped, notes=notes)
        self.is_remapped = False
        self.taken += part.rows
        self.tell(f"{self.source}: {part.file.name}, {rows.num_rows:,} rows")


def _days(workspace: Workspace, source: str, table: OpenTable | None, held: Value | None) -> tuple[date, date]:
    """First and last day that rows beyond a watermark may touch."""
    declared = workspace.shop.sources[source]
    calendar = calendar_days(workspace)
    if declared.kind == "promotions":
        return calendar[0], calendar[0]
    if declared.kind != "events":
        found = landed_days(workspace)
        return (min(found), max(found)) if found else calendar
    if table is None or held is None or declared.time is None:
        return calendar
    span = table.time_span(held)
    if span is None:
        return calendar
    day = f"cast({instant_sql(declared.time, 'said', workspace.shop.timezone)} as date)"
    with duckdb.connect() as connection:
        [days] = connection.execute(f"select min({day}), max({day}) from (values (?), (?)) as t(said)", span).fetchall()
    return days if None not in days else calendar
