"""Rows of a table as files: a pull streams them into Parquet, in parts that are landed like any other file.

With a watermark a pull holds the rows that were added since the last published one. Rows at exactly that value may
have been added later, so that they are read again, and those that are held already are told by their digest: the
rule is that a row (its mapped columns and its watermark) is held as often as the table has it.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from data.connectors import SourceFile
from data.shop.errors import SourceError
from data.shop.mapping import wanted_columns
from data.shop.staging import choose_columns
from data.sql_marks import MOST_TIES, WHOLE, Mark, Tally, Ties, is_same, short
from data.sql_source import OpenTable, Value

CHUNK_ROWS = 20_000
"""Rows that are Python objects at once."""


@dataclass(frozen=True)
class PulledFile(SourceFile):
    """A part of a table, as a Parquet file that lives no longer than its pull."""

    label: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Table, number of the pull and newest watermark: what quarantine rows name."""
        return self.label

    @cached_property
    def sha256(self) -> str:
        """Digest of the rows instead of the bytes."""
        return self.digest


@dataclass(frozen=True)
class Part:
    """Some rows of a table, in a file."""

    file: PulledFile
    """The file."""
    rows: int
    """Rows in it."""
    mark: Mark | None
    """How far the table is published once they are; None for a whole table."""


def pull(
    table: OpenTable, key: bytes, folder: Path, *, mark: Mark | None, origin: str, part_rows: int
) -> Iterator[Part]:
    """Read the rows beyond a mark, oldest first.

    Args:
        table: A table with a watermark.
        key: 32 secret bytes for the digests of rows: without them, a digest leads to nobody.
        folder: Where the files go; each is gone once the next part is asked for.
        mark: How far the table is published; None: not at all.
        origin: Of the marks that are made.
        part_rows: Most rows of a part.

    Yields:
        Parts that hold at least one row.

    Raises:
        SourceError: A mapped column is missing, or rows changed among too many with one watermark.
    """
    held = mark.value if mark else None
    names = _chosen(table)
    query = table.beyond(held).add_columns(*_texts(table, names), table.text(table.watermark).label("portrait_mark"))
    writer = _Writer(folder / "pull.parquet", names)
    seen = Tally()
    fresh = _fresh(table, _rows(table, query.order_by(table.watermark), table.bound(held)), key, mark, seen)
    value, tally = (mark.value, Tally(mark.ties)) if mark else (None, Tally())
    done = mark or Mark(origin=origin, value="", pulls=0, rows=0, ties=Ties())
    for row, at, digest in fresh:
        if value is None or not is_same(at, value):
            value, tally = at, Tally()
        tally.add(digest)
        writer.add(row, digest)
        if writer.rows == part_rows:
            part = writer.finish(table.name, done, origin, value, tally)
            yield part
            done = part.mark or done
    if writer.rows and value is not None:
        yield writer.finish(table.name, done, origin, value, tally)


def pull_whole(table: OpenTable, key: bytes, folder: Path, limit: int | None = None) -> Part:
    """Read all rows of a table, in the order of their mapped columns.

    Args:
        table: Any table.
        key: See `pull`.
        folder: Where the file goes.
        limit: Read no more than this many rows, in whatever order.

    Returns:
        One part; its digest depends on the rows alone.

    Raises:
        SourceError: A mapped column is missing.
    """
    names = _chosen(table)
    query = table.beyond(None).add_columns(*_texts(table, names))
    query = query.order_by(*map(sa.column, names)) if limit is None else query.limit(limit)
    writer = _Writer(folder / "pull.parquet", names)
    for row in _rows(table, query, {}):
        writer.add(row, _digest(row, key))
    digest, rows = writer.close("")
    file = PulledFile(str(writer.path), writer.path.stat().st_size, label=f"{table.name}@{digest[:12]}", digest=digest)
    return Part(file, rows, None)


def check_watermark(table: OpenTable) -> None:
    """Make sure that every row can be found by its watermark.

    Raises:
        SourceError: The column is missing, or some rows have no value in it.
    """
    if table.has_unmarked():
        what = f"has rows without a value of {table.declared.watermark}, which no run would ever see"
        raise SourceError(table.place, what, "give them one (NOT NULL), or leave `watermark` out")


def unmapped_columns(table: OpenTable) -> tuple[str, ...]:
    """Columns of a table that the shop file does not name, sorted."""
    return tuple(sorted(set(table.columns) - set(wanted_columns(table.declared)) - {table.declared.watermark or ""}))


def absent_columns(table: OpenTable) -> tuple[str, ...]:
    """Columns that a table lacks, sorted, where the shop file says that it may; others are an error of the pull."""
    wanted = wanted_columns(table.declared)
    return tuple(sorted(name for name in set(wanted) - set(table.columns) if wanted[name]))


def _chosen(table: OpenTable) -> list[str]:
    return choose_columns(table.place, table.columns, wanted_columns(table.declared))


def _texts(table: OpenTable, names: Sequence[str]) -> list[sa.ColumnElement[Any]]:
    # Names of their own: ORDER BY would otherwise mean the text, and 10 comes before 9 there.
    return [table.text(sa.column(name)).label(f"portrait_{number}") for number, name in enumerate(names)]


def _rows(table: OpenTable, query: sa.Select[Any], bound: Mapping[str, Value]) -> Iterator[tuple[Any, ...]]:
    """Stream a query's rows, `CHUNK_ROWS` at a time."""
    streaming = query.execution_options(stream_results=True, yield_per=CHUNK_ROWS)
    with table.connection.execute(streaming, bound) as found:
        for chunk in found.partitions():
            yield from map(tuple, chunk)


def _fresh(
    table: OpenTable, rows: Iterator[tuple[Any, ...]], key: bytes, mark: Mark | None, seen: Tally
) -> Iterator[tuple[tuple[Any, ...], Value, bytes]]:
    """Rows that are not held yet, with their watermark and digest; those at the mark come first."""
    known = Counter(mark.ties.digests) if mark and mark.ties.digests is not None else None
    at_mark = mark is not None
    for *values, at in rows:
        row = tuple(values)
        digest = _digest((*row, at), key)
        if mark and at_mark and is_same(at, mark.value):
            if known is None:
                seen.add(digest)
                continue
            if known[short(digest)] > 0:
                known[short(digest)] -= 1
                continue
        elif mark and at_mark:
            at_mark = False
            _same_ties(table, mark, seen)
        yield row, at, digest
    if mark and at_mark:
        _same_ties(table, mark, seen)


def _same_ties(table: OpenTable, mark: Mark, seen: Tally) -> None:
    if mark.ties.digests is None and (seen.count, f"{seen.total:x}") != (mark.ties.count, mark.ties.total):
        what = (
            f"changed among its {mark.ties.count:,} rows with {table.declared.watermark} {mark.value}, "
            f"and which rows are new cannot be told for more than {MOST_TIES:,}"
        )
        raise SourceError(table.place, what, "take a watermark that fewer rows share, or leave it out")


class _Writer:
    """Rows on their way into Parquet files, every value a text."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path = path
        self.schema = pa.schema([(name, pa.string()) for name in names])
        self.rows, self.tally = 0, 0
        self.chunk: list[tuple[str | None, ...]] = []
        self.stream: pq.ParquetWriter | None = None

    def add(self, row: tuple[Any, ...], digest: bytes) -> None:
        self.chunk.append(tuple(map(_text, row)))
        self.rows += 1
        self.tally = (self.tally + int.from_bytes(digest)) % WHOLE
        if len(self.chunk) == CHUNK_ROWS:
            self._flush()

    def _flush(self) -> None:
        self.stream = self.stream or pq.ParquetWriter(self.path, self.schema, compression="zstd")
        columns = zip(*self.chunk, strict=True) if self.chunk else [[] for _ in self.schema]
        self.stream.write_table(pa.table([pa.array(c, pa.string()) for c in columns], schema=self.schema))
        self.chunk = []

    def close(self, before: str) -> tuple[str, int]:
        """Finish the file; returns its digest, which `before` enters too, and its rows."""
        self._flush()
        assert self.stream is not None, "opened by the flush"
        self.stream.close()
        digest = hashlib.sha256(f"{before}:{self.rows}:{self.tally:x}".encode()).hexdigest()
        rows = self.rows
        self.rows, self.tally, self.stream = 0, 0, None
        return digest, rows

    def finish(self, name: str, done: Mark, origin: str, value: Value, tally: Tally) -> Part:
        """Finish a part that follows what is `done`; the same rows after other ones are another file."""
        digest, rows = self.close(f"{origin}:{done.pulls}")
        pulls = done.pulls + 1
        # The number keeps files in the order of their pulls, whatever a watermark looks like.
        label = f"{name}@{pulls:06d} {value}"
        file = PulledFile(str(self.path), self.path.stat().st_size, label=label, digest=digest)
        mark = Mark(origin=origin, value=value, pulls=pulls, rows=done.rows + rows, ties=tally.ties())
        return Part(file, rows, mark)


def _text(value: object) -> str | None:
    """What a file would say: SQLite's numbers in their shortest exact form, bytes in hexadecimal."""
    if value is None or isinstance(value, str):
        return value
    return f"\\x{value.hex()}" if isinstance(value, bytes) else repr(value)


def _digest(row: tuple[Any, ...], key: bytes) -> bytes:
    return hashlib.blake2b(repr(row).encode("utf-8", "surrogatepass"), key=key, digest_size=32).digest()
