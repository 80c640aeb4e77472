"""Text files cut into lines and columns: CSV, and the lines of JSON lines."""

import bisect
import csv
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pyarrow as pa

from data.shop.errors import SourceError
from data.shop.source import Source
from data.shop.staging import UNREADABLE, Staged, Text, choose_columns, literal, refuse_if_nothing_readable, staged_as

UNIT_SEPARATOR = "\x1f"
_RECORD_SEPARATOR = "\x1e"
_ENCODING_REMEDY = "declare its encoding under csv.encoding (often cp1252 or latin-1)"


@dataclass(frozen=True)
class Cut:
    """How lines are cut into columns."""

    delimiter: str
    quote: str
    escape: str
    header: bool


def csv_delimiter(source: Source, path: str) -> str:
    """Return the delimiter of a CSV file: the declared one, else a tab for .tsv and a comma otherwise."""
    return source.csv.delimiter or ("\t" if re.search(r"\.tsv(\.|$)", path.lower()) else ",")


def stage_csv(text: Text, source: Source, wanted: Mapping[str, bool]) -> Staged:
    """Make a table of the wanted columns of a CSV file; see `reading.stage`."""
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
    read_lines(
        text,
        text.prefix,
        len(names),
        picks,
        Cut(delimiter, options.quote, options.escape or options.quote, options.header),
    )
    if options.header:
        _set_headers_aside(text, names, staged)
    refuse_if_nothing_readable(text, "CSV")
    return staged_as(text, filter(None, names), wanted, staged)


def _set_headers_aside(text: Text, names: Sequence[str], staged: Mapping[str, str]) -> None:
    """Files that were put one behind the other have headers between their rows: one like the first is no row.

    Raises:
        SourceError: The columns have another order or other names from there on.
    """
    if len(staged) < 2:
        return
    listed = ", ".join(literal(name) for name in names if name)
    named = [f"{cell} IN ({listed})" for cell in staged.values()]
    n_named = " + ".join(f"CAST(coalesce({test}, false) AS INTEGER)" for test in named)
    is_first = " AND ".join(f"{cell} = {literal(name)}" for name, cell in staged.items())
    # Of most rows the first two values say that they are no header.
    found = text.connection.execute(
        f"""SELECT line, coalesce({is_first}, false) FROM {text.prefix}
        WHERE ({" OR ".join(named[:2])}) AND 2 * ({n_named}) > {len(named)} ORDER BY line"""
    ).fetchall()
    for line, is_alike in found:
        if not is_alike:
            what = f"has another header in data line {line}, with other columns than the first"
            raise SourceError(text.shown, what, "deliver what stands below it as a file of its own")
    lines = ", ".join(str(line) for line, _ in found)
    if lines:
        nothing = ", ".join(f"{cell} = NULL" for cell in staged.values())
        text.connection.execute(
            f"UPDATE {text.prefix} SET fault = {literal(UNREADABLE)}, {nothing} WHERE line IN ({lines})"
        )


def read_lines(text: Text, table: str, width: int, picks: Sequence[str], cut: Cut) -> None:
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


def _scan(text: Text, table: str, width: int, picks: Sequence[str], cut: Cut) -> None:
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


def _first_record(text: Text, delimiter: str, quote: str) -> list[str]:
    try:
        # Faulty bytes further down are told with their line later on.
        with text.path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            # Without a quote character, one that no file holds.
            lines = stream if len(delimiter) == 1 else (line.replace(delimiter, _RECORD_SEPARATOR) for line in stream)
            mark = delimiter if len(delimiter) == 1 else _RECORD_SEPARATOR
            first = next(csv.reader(lines, delimiter=mark, quotechar=quote or UNIT_SEPARATOR))
    except StopIteration:
        raise SourceError(text.shown, "holds no text", "deliver it again or remove it") from None
    except csv.Error as error:
        raise SourceError(text.shown, f"is no CSV ({error})", "correct csv.delimiter, csv.quote or format") from None
    if any("\ufffd" in name for name in first):
        raise SourceError(text.shown, "is not UTF-8 text", _ENCODING_REMEDY)
    return first
