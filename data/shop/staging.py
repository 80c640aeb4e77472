"""What a file becomes on reading: a temporary table of text, and the errors that all formats share.

The table is `(line BIGINT, fault VARCHAR, s0 VARCHAR, s1 VARCHAR, ...)`; how a format comes to it is the business of
`csv_lines`, `json_lines` and `parquet_rows`.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from data.shop.errors import SourceError

UNREADABLE = "unreadable_line"
MISSING_KEY = "missing_key"


@dataclass(frozen=True)
class Staged:
    """One file as text in a temporary table."""

    table: str
    """Name of the table."""
    columns: Mapping[str, str]
    """Source column -> SQL expression of its text: a column of the table, or NULL where the file lacks it."""
    cells: Mapping[str, str]
    """Source column -> the column of the table that holds it, as text or as the file types it; NULL likewise."""
    unmapped: tuple[str, ...] = ()
    """Columns of the file that nobody asked for, sorted; of JSON lines the keys of any line."""
    absent: tuple[str, ...] = ()
    """Columns that the file lacks and may lack, sorted; they are null."""
    lacks: Mapping[str, str] = field(default_factory=dict)
    """Of JSON lines: source column that no line may lack -> SQL boolean, whether this one does."""


@dataclass(frozen=True)
class Text:
    """A file that is ready for DuckDB: local, unpacked, and UTF-8 where it is text."""

    path: Path
    """Where it is."""
    shown: str
    """How messages name it."""
    connection: duckdb.DuckDBPyConnection
    """Where its tables are made."""
    prefix: str
    """Of the names of these tables."""
    limit: int | None
    """Read no more than this many lines; None: all."""


def literal(text: str) -> str:
    """Quote a text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def staged_as(text: Text, names: Iterable[str], wanted: Mapping[str, bool], staged: Mapping[str, str]) -> Staged:
    """Say which columns of a file were staged as which of its table, and which are left out or absent."""
    columns = {name: staged.get(name, "NULL") for name in wanted}
    unmapped, absent = set(names) - set(wanted), set(wanted) - set(staged)
    return Staged(text.prefix, columns, columns, tuple(sorted(unmapped)), tuple(sorted(absent)))


def choose_columns(
    shown: str, names: Sequence[str], wanted: Mapping[str, bool], delimiter: str | None = None
) -> list[str]:
    """Choose the wanted columns that exist.

    Args:
        shown: How messages name the file or table.
        names: The columns that it has.
        wanted: Column -> whether it may be lacking.
        delimiter: Of a CSV file.

    Returns:
        Wanted columns, in the order of `wanted`.

    Raises:
        SourceError: One that may not be lacking is.
    """
    missing = [name for name, is_optional in wanted.items() if name not in names and not is_optional]
    if missing:
        # The file's own first line is not quoted: without a header it would be somebody's data.
        close = difflib.get_close_matches(missing[0], [name for name in names if name not in wanted], n=1)
        marks = [mark for mark in (",", ";", "\t", "|", "::") if mark != delimiter]
        other = [mark for mark in marks if len(names) == 1 and mark in names[0]]
        if other:
            remedy = f"set csv.delimiter to {other[0]!r}, which stands in its first line"
        elif close:
            remedy = f"map '{close[0]}', or give it its old name"
        else:
            remedy = "correct the column in the shop file, or mark it optional: true"
        listed = ", ".join(f"'{name}'" for name in missing)
        raise SourceError(shown, f"has no column {listed}", remedy)
    return [name for name in wanted if name in names]


def refuse_if_nothing_readable(text: Text, form: str) -> None:
    """Make sure that a file with lines has one that could be read.

    Raises:
        SourceError: It has none.
    """
    if has_rows(text, text.prefix) and not has_rows(text, f"{text.prefix} WHERE fault IS NULL"):
        raise SourceError(text.shown, f"has no line that reads as {form}", "correct format, csv.delimiter or csv.quote")


def has_rows(text: Text, rows: str) -> bool:
    """Tell whether there is any row of what stands behind FROM."""
    return text.connection.execute(f"SELECT 1 FROM {rows} LIMIT 1").fetchall() != []
