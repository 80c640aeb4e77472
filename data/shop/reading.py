"""Reading one file as text: every value a string or null, every line numbered, unreadable lines told apart.

The result is a temporary table `(line BIGINT, fault VARCHAR, s0 VARCHAR, s1 VARCHAR, ...)`; what the columns mean is
the business of `mapping`.
"""

import bisect
import csv
import difflib
import re
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pyarrow as pa

from data.connectors import SourceFile, local_copy, plain_text
from data.shop.errors import SourceError
from data.shop.source import Format, Source, format_of

UNREADABLE = "unreadable_line"
_ENCODING_REMEDY = "declare its encoding under csv.encoding (often cp1252 or latin-1)"
_UNIT_SEPARATOR, _RECORD_SEPARATOR = "\x1f", "\x1e"


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


@dataclass(frozen=True)
class _Text:
    """A text file that is ready for DuckDB."""

    path: Path
    shown: str
    connection: duckdb.DuckDBPyConnection
    prefix: str
    limit: int | None


@dataclass(frozen=True)
class _Cut:
    """How lines are cut into columns."""

    delimiter: str
    quote: str
    escape: str
    header: bool


def literal(text: str) -> str:
    """Quote a text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def file_format(source: Source, file: SourceFile) -> Format:
    """Tell the format of one file: the declared one, else by its ending.

    Raises:
        SourceError: Neither says it.
    """
    found = source.format or format_of(file.path)
    if found is None:
        raise SourceError(file.path, "has an ending that names no format", "declare format: csv, jsonl or parquet")
    return found


@contextmanager
def stage(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    file: SourceFile,
    wanted: Mapping[str, bool],
    limit: int | None = None,
    in_place: bool = False,
) -> Iterator[Staged]:
    """Read columns of one file as text.

    Args:
        connection: Where the temporary tables are made, and dropped at the end.
        source: How the file is written.
        file: The file.
        wanted: Source column -> whether a file may lack it.
        limit: Read no more than this many lines.
        in_place: A Parquet file is not copied, but seen through a view; damage then is met by who reads the view.

    Yields:
        The staged file.

    Raises:
        SourceError: The file as a whole is unusable.
    """
    prefix = f"stage_{uuid.uuid4().hex}"
    form = file_format(source, file)
    try:
        with local_copy(file) as local:
            if form == "parquet":
                text = _Text(local, file.path, connection, prefix, limit)
                if in_place:
                    with _seen_parquet(text, wanted) as seen:
                        yield seen
                    return
                staged = _stage_parquet(text, wanted)
            else:
                with plain_text(local, source.csv.encoding, file.path) as plain:
                    text = _Text(plain, file.path, connection, prefix, limit)
                    stager = _stage_csv if form == "csv" else _stage_jsonl
                    staged = stager(text, source, wanted)
        yield staged
    finally:
        for suffix in ("", "_lines", "_rejects", "_scans"):
            connection.execute(f"DROP TABLE IF EXISTS {prefix}{suffix}")


def csv_delimiter(source: Source, path: str) -> str:
    """Return the delimiter of a CSV file: the declared one, else a tab for .tsv and a comma otherwise."""
    return source.csv.delimiter or ("\t" if re.search(r"\.tsv(\.|$)", path.lower()) else ",")


def _staged(text: _Text, names: Iterable[str], wanted: Mapping[str, bool], staged: Mapping[str, str]) -> Staged:
    columns = {name: staged.get(name, "NULL") for name in wanted}
    return Staged(text.prefix, columns, columns, tuple(sorted(set(names) - set(wanted))))


def _stage_csv(text: _Text, source: Source, wanted: Mapping[str, bool]) -> Staged:
    options = source.csv
    delimiter = csv_delimiter(source, text.shown)
    first = _first_record(text, delimiter, options.quote)
    names = first if options.header else list(options.names)
    if not options.header and len(first) != len(names):
        what = f"its first line has {len(first)} fields, but csv.names has {len(names)}"
        raise SourceError(text.shown, what, "correct csv.names or csv.delimiter")
    columns = choose_columns(text.shown, names, wanted, delimiter)
    for name in columns:
        if names.count(name) > 1:
            raise SourceError(text.shown, f"has the column '{name}' more than once", "rename one of them in the file")
    staged = {name: f"s{number}" for number, name in enumerate(columns)}
    picks = [f"c{names.index(name)} AS {column}" for name, column in staged.items()]
    _read_lines(
        text,
        text.prefix,
        len(names),
        picks,
        _Cut(delimiter, options.quote, options.escape or options.quote, options.header),
    )
    _refuse_if_nothing_readable(text, "CSV")
    return _staged(text, filter(None, names), wanted, staged)


def _stage_jsonl(text: _Text, source: Source, wanted: Mapping[str, bool]) -> Staged:
    with text.path.open("rb") as stream:
        if stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
            raise SourceError(text.shown, "is one JSON array", "write one object a line (`jq -c '.[]'`)")
    _read_lines(text, f"{text.prefix}_lines", 1, ["c0"], _Cut(_UNIT_SEPARATOR, "", "", False))
    paths = {name: _json_path(name) for name in wanted}
    listed = "[" + ", ".join(literal(path) for path in paths.values()) + "]"
    picks = "".join(f", j[{number + 1}] AS s{number}" for number in range(len(paths)))
    text.connection.execute(
        f"""CREATE TEMP TABLE {text.prefix} AS SELECT line, fault{picks} FROM (
            SELECT line, coalesce(fault, CASE WHEN is_object THEN NULL ELSE {literal(UNREADABLE)} END) AS fault,
                CASE WHEN is_object THEN json_extract_string(c0, {listed}) END AS j
            FROM (SELECT *, CASE WHEN json_valid(c0) THEN json_type(c0) = 'OBJECT' ELSE false END AS is_object
                FROM {text.prefix}_lines WHERE fault IS NOT NULL OR trim(c0) <> ''))"""
    )
    _refuse_if_nothing_readable(text, "JSON lines")
    keys = _keys(text)
    for number, (name, path) in enumerate(paths.items()):
        if not wanted[name] and not _any(text, f"{text.prefix} WHERE s{number} IS NOT NULL"):
            lines = f"{text.prefix}_lines WHERE json_valid(c0)"
            if _any(text, lines) and not _any(text, f"{lines} AND json_exists(c0, {literal(path)})"):
                choose_columns(text.shown, [key for key in keys if key != name], {name: False})
    # A path into a nested object uses its outermost key.
    used = {re.split(r"[.\[]", name.removeprefix("$."))[0] for name in wanted} | set(wanted)
    columns = {name: f"s{number}" for number, name in enumerate(paths)}
    return Staged(text.prefix, columns, columns, tuple(key for key in keys if key not in used))


def _keys(text: _Text) -> list[str]:
    """Return the keys of all lines that are objects, sorted."""
    found = text.connection.execute(
        f"""SELECT DISTINCT unnest(json_keys(c0)) AS key FROM {text.prefix}_lines
        WHERE CASE WHEN json_valid(c0) THEN json_type(c0) = 'OBJECT' ELSE false END ORDER BY key"""
    ).fetchall()
    return [key for (key,) in found]


def _stage_parquet(text: _Text, wanted: Mapping[str, bool]) -> Staged:
    with _reading_parquet(text):
        names, staged = _parquet_columns(text, wanted)
        picks = [f"CAST({_quoted(name)} AS VARCHAR) AS {cell}" for name, cell in staged.items()]
        text.connection.execute(f"CREATE TEMP TABLE {text.prefix} AS {_parquet_query(text, picks)}")
    return _staged(text, names, wanted, staged)


@contextmanager
def _seen_parquet(text: _Text, wanted: Mapping[str, bool]) -> Iterator[Staged]:
    """A view on the file, with its own types; damage is met while it is read."""
    view = f"{text.prefix}_view"
    with _reading_parquet(text):
        names, staged = _parquet_columns(text, wanted)
        picks = [f"{_quoted(name)} AS {cell}" for name, cell in staged.items()]
        text.connection.execute(f"CREATE TEMP VIEW {view} AS {_parquet_query(text, picks)}")
        found = _staged(text, names, wanted, staged)
        texts = {name: cell if cell == "NULL" else f"CAST({cell} AS VARCHAR)" for name, cell in found.cells.items()}
        try:
            yield replace(found, table=view, columns=texts)
        finally:
            text.connection.execute(f"DROP VIEW {view}")


def _parquet_columns(text: _Text, wanted: Mapping[str, bool]) -> tuple[list[str], dict[str, str]]:
    """Columns of a Parquet file, and of the wanted ones the names that they are staged under."""
    described = text.connection.execute(f"DESCRIBE SELECT * FROM read_parquet({literal(str(text.path))})").fetchall()
    names = [row[0] for row in described]
    return names, {name: f"s{number}" for number, name in enumerate(choose_columns(text.shown, names, wanted))}


def _parquet_query(text: _Text, picks: Sequence[str]) -> str:
    limit = f" LIMIT {text.limit}" if text.limit is not None else ""
    picked = "".join(f", {pick}" for pick in picks)
    scan = f"read_parquet({literal(str(text.path))}, file_row_number = true)"
    return f"SELECT file_row_number + 1 AS line, CAST(NULL AS VARCHAR) AS fault{picked} FROM {scan}{limit}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def _reading_parquet(text: _Text) -> Iterator[None]:
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        what = f"is damaged, cut short or no Parquet ({type(error).__name__})"
        raise SourceError(text.shown, what, "deliver the file again") from None


def _read_lines(text: _Text, table: str, width: int, picks: Sequence[str], cut: _Cut) -> None:
    """Make `table` (line, fault, picks) of a text of `width` columns."""
    try:
        try:
            _scan(text, table, width, picks, cut)
        except duckdb.InvalidInputException:
            # DuckDB's strict reader stops at a file that ends some lines in CR LF and others in LF.
            for leftover in (table, f"{text.prefix}_rejects", f"{text.prefix}_scans"):
                text.connection.execute(f"DROP TABLE IF EXISTS {leftover}")
            with _unified_line_ends(text.path) as unified:
                _scan(replace(text, path=unified), table, width, picks, cut)
    except duckdb.Error as error:
        what = f"cannot be read as lines ({type(error).__name__})"
        raise SourceError(text.shown, what, "correct format, csv.delimiter or csv.quote") from None


@contextmanager
def _unified_line_ends(path: Path) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile(prefix="portrait-", suffix=".txt") as target, path.open("rb") as stream:
        target.writelines(line[:-2] + b"\n" if line.endswith(b"\r\n") else line for line in stream)
        target.flush()
        yield Path(target.name)


def _scan(text: _Text, table: str, width: int, picks: Sequence[str], cut: _Cut) -> None:
    names = ", ".join(f"'c{number}': 'VARCHAR'" for number in range(width))
    picked = "".join(f", {pick}" for pick in picks)
    limit = f"LIMIT {text.limit}" if text.limit is not None else ""
    text.connection.execute(
        f"""CREATE TEMP TABLE {table} AS
        SELECT row_number() OVER () AS line, CAST(NULL AS VARCHAR) AS fault{picked}
        FROM read_csv({literal(str(text.path))}, columns = {{{names}}}, auto_detect = false, compression = 'none',
            header = {cut.header}, delim = {literal(cut.delimiter)},
            quote = {literal(cut.quote)}, escape = {literal(cut.escape)},
            store_rejects = true, rejects_table = '{text.prefix}_rejects', rejects_scan = '{text.prefix}_scans') {limit}
        """
    )
    at = "coalesce(byte_position, line_byte_position)"
    rejects = text.connection.execute(
        f"SELECT line - {int(cut.header)}, {at}, error_type FROM {text.prefix}_rejects ORDER BY ALL"
    ).fetchall()
    if any(kind == "INVALID ENCODING" for _, _, kind in rejects):
        first = min(line for line, _, kind in rejects if kind == "INVALID ENCODING")
        raise SourceError(text.shown, f"is not UTF-8 text (first in data line {first})", _ENCODING_REMEDY)
    if rejects:
        # A file of one column has no blank lines: there they are rows.
        blanks = _blank_lines(text.path) if width > 1 else []
        _renumber(text.connection, table, sorted({line - bisect.bisect_left(blanks, at) for line, at, _ in rejects}))


def _renumber(connection: duckdb.DuckDBPyConnection, table: str, rejected: Sequence[int]) -> None:
    """Give readable lines the numbers that the rejected ones leave free, and add the rejected ones."""
    # The j-th rejected line r_j stands before every readable line from the (r_j - j + 1)-th on.
    shift = {line - number + 1: number for number, line in enumerate(rejected, start=1)}
    connection.register("shifts", pa.table({"first": list(shift), "shift": list(shift.values())}))
    connection.register("lost", pa.table({"line": pa.array(rejected, pa.int64())}))
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE {table} AS
        SELECT l.* REPLACE (l.line + coalesce(s.shift, 0) AS line)
        FROM {table} AS l ASOF LEFT JOIN shifts AS s ON l.line >= s.first"""
    )
    connection.execute(f"INSERT INTO {table} (line, fault) SELECT line, {literal(UNREADABLE)} FROM lost")
    connection.unregister("shifts")
    connection.unregister("lost")


def _blank_lines(path: Path) -> list[int]:
    """Return the byte positions of blank lines: DuckDB counts them in rejects' numbers, and skips them as rows."""
    blanks, at = [], 0
    with path.open("rb") as stream:
        for line in stream:
            if line in (b"\n", b"\r\n"):
                blanks.append(at)
            at += len(line)
    return blanks


def _first_record(text: _Text, delimiter: str, quote: str) -> list[str]:
    try:
        # Faulty bytes further down are told with their line later on.
        with text.path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            # Without a quote character, one that no file holds.
            lines = stream if len(delimiter) == 1 else (line.replace(delimiter, _RECORD_SEPARATOR) for line in stream)
            mark = delimiter if len(delimiter) == 1 else _RECORD_SEPARATOR
            first = next(csv.reader(lines, delimiter=mark, quotechar=quote or _UNIT_SEPARATOR))
    except StopIteration:
        raise SourceError(text.shown, "holds no text", "deliver it again or remove it") from None
    except csv.Error as error:
        raise SourceError(text.shown, f"is no CSV ({error})", "correct csv.delimiter, csv.quote or format") from None
    if any("\ufffd" in name for name in first):
        raise SourceError(text.shown, "is not UTF-8 text", _ENCODING_REMEDY)
    return first


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
        close = difflib.get_close_matches(missing[0], names, n=1)
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


def _refuse_if_nothing_readable(text: _Text, form: str) -> None:
    if _any(text, text.prefix) and not _any(text, f"{text.prefix} WHERE fault IS NULL"):
        raise SourceError(text.shown, f"has no line that reads as {form}", "correct format, csv.delimiter or csv.quote")


def _any(text: _Text, rows: str) -> bool:
    return text.connection.execute(f"SELECT 1 FROM {rows} LIMIT 1").fetchall() != []


def _json_path(name: str) -> str:
    if name.startswith("$"):
        return name
    return "$" + "".join('."' + part.replace('"', '\\"') + '"' for part in name.split("."))
