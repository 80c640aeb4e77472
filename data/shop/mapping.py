"""From the text of one file to raw rows: contract names, times in UTC, pseudonyms, ids of events.

Values stay text as they landed; typing them and judging them is core's business. The SQL runs on DuckDB alone, with
what its wheel carries.
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from data.connectors import SourceFile
from data.contracts.raw import FIELDS, raw_table
from data.pseudonym import key_of, pseudonymise
from data.shop.columns import Filter
from data.shop.config import Shop
from data.shop.fields import column_text, field_texts, said
from data.shop.instants import instant_sql
from data.shop.promotions import promotions_query
from data.shop.reading import stage
from data.shop.source import ID_COLUMNS, Source
from data.shop.staging import MISSING_KEY, Staged, literal

EPOCH = dt.date(1970, 1, 1)
"""The `day` of rows without a readable time."""
_NO_USER = ("", "null", "none")
_CONTENT = ("user_id", "item_id", "event_type", "quantity", "value", "session_id", "text")


@dataclass(frozen=True)
class Batch:
    """What one file holds."""

    rows: pa.Table
    """Rows with the columns and types of `raw_table(source, kind)`, in line order; promotions, which are put together
    from many lines, in any."""
    unmapped: tuple[str, ...]
    """Columns of the file that the shop file does not name."""
    absent: tuple[str, ...]
    """Columns that the file lacks, where they are `optional`."""
    lacking: Mapping[str, tuple[int, int]]
    """Key -> lines that are set aside because they lack it, and the first of them."""


def read_batch(
    connection: duckdb.DuckDBPyConnection,
    shop: Shop,
    source: str,
    file: SourceFile,
    key: bytes,
    limit: int | None = None,
) -> Batch:
    """Read one file of one source as raw rows.

    Args:
        connection: Any DuckDB connection; nothing stays on it.
        shop: The declaration.
        source: Name of the source.
        file: One of its files.
        key: 32-byte pseudonym key; used in Python alone, never part of a query.
        limit: Read no more than this many lines.

    Returns:
        The rows, and how the file's columns differ from the mapped ones. Lines that cannot be read have `fault`
        unreadable_line and no values; rows that a filter rejects have its reason as `fault`, and JSON lines that lack a
        mapped key missing_key.

    Raises:
        SourceError: The file as a whole is unusable.
    """
    declared = shop.sources[source]
    in_place = declared.kind == "promotions"
    with _reading(connection, shop, source, file, key, limit, in_place) as (cursor, query, staged):
        rows = cursor.sql(query).to_arrow_table()
        lacking = _lacking(cursor, declared, staged)
        unmapped, absent = staged.unmapped, staged.absent
    rows = rows.cast(raw_table(source, declared.kind).arrow_schema())
    lines = rows["line"].to_numpy()
    is_ordered = declared.kind == "promotions" or (lines[1:] > lines[:-1]).all()
    return Batch(rows if is_ordered else rows.sort_by("line"), unmapped, absent, lacking)


def read_parts(
    connection: duckdb.DuckDBPyConnection, shop: Shop, source: str, file: SourceFile, key: bytes, part_rows: int
) -> Iterator[pa.Table]:
    """Read one Parquet file as raw rows without holding them all; see `read_batch`.

    Args:
        connection: Any DuckDB connection; it is in use until the last part.
        shop: The declaration.
        source: Name of the source.
        file: One of its files, in Parquet, which is not copied.
        key: 32-byte pseudonym key.
        part_rows: Most rows of a part.

    Yields:
        Parts of the rows that `read_batch` returns, in any order of lines: what is said of a row, such as which of
        several copies it is, is said within the whole file.

    Raises:
        SourceError: The file as a whole is unusable.
    """
    schema = raw_table(source, shop.sources[source].kind).arrow_schema()
    with _reading(connection, shop, source, file, key, None, in_place=True) as (cursor, query, _):
        for batch in cursor.sql(query).to_arrow_reader(part_rows):
            yield pa.Table.from_batches([batch]).cast(schema)


@contextmanager
def _reading(
    connection: duckdb.DuckDBPyConnection,
    shop: Shop,
    source: str,
    file: SourceFile,
    key: bytes,
    limit: int | None,
    in_place: bool,
) -> Iterator[tuple[duckdb.DuckDBPyConnection, str, Staged]]:
    """A cursor on which a file is staged, and the query for its raw rows."""
    declared = shop.sources[source]
    # A cursor has temporary tables of its own, and the raw ids leave the connection with it.
    with (
        connection.cursor() as cursor,
        stage(cursor, declared, file, wanted_columns(declared), limit, in_place) as staged,
    ):
        cursor.register("people", _people(cursor, declared, staged, key))
        query = _query(cursor, declared, staged, shop.timezone)
        origin = f"{literal(source)} AS source, {literal(file.name)} AS file, {literal(file.sha256)} AS file_sha256"
        yield cursor, f"SELECT * EXCLUDE (line), {origin}, line FROM ({query})", staged
        cursor.unregister("people")


def _query(connection: duckdb.DuckDBPyConnection, source: Source, staged: Staged, zone: str) -> str:
    """Render the raw rows of a staged file, each with the line that it stands in."""
    if source.kind == "promotions":
        texts = {name: said(text) for name, text in staged.columns.items()}
        fault = _fault(source.filters, staged)
        return promotions_query(source, staged, field_texts(source, staged, zone), texts, fault, zone)
    named = _named(source, staged, zone)
    return _events_query(connection, source, named) if source.kind == "events" else _records_query(source, named)


def days_in_file(connection: duckdb.DuckDBPyConnection, shop: Shop, source: str, file: SourceFile) -> set[dt.date]:
    """Tell which values `day` takes in one file, reading its time alone.

    Args:
        connection: Any DuckDB connection; nothing stays on it.
        shop: The declaration.
        source: Name of a source of events.
        file: One of its files.

    Returns:
        UTC days; `EPOCH` stands for rows without a readable time, and for a source without times.

    Raises:
        SourceError: The file as a whole is unusable.
    """
    declared = shop.sources[source]
    if declared.time is None:
        return {EPOCH}
    wanted = {declared.time.column: False}
    with connection.cursor() as cursor, stage(cursor, declared, file, wanted) as staged:
        instant = instant_sql(declared.time, staged.columns[declared.time.column], shop.timezone)
        days = cursor.execute(f"SELECT DISTINCT CAST({instant} AS DATE) FROM {staged.table}").fetchall()
    return {day or EPOCH for (day,) in days}


def wanted_columns(source: Source) -> dict[str, bool]:
    """Tell which columns are read.

    Args:
        source: The declaration.

    Returns:
        Source column -> whether a file may lack it.
    """
    uses = [(name, column.optional) for column in source.columns.values() for name in column.sources]
    if source.event_type and source.event_type.column:
        uses.append((source.event_type.column, False))
    if source.time:
        uses.append((source.time.column, False))
    if source.valid:
        uses += [(name, False) for name in source.valid.columns]
    uses += [(rule.column, rule.optional) for rule in source.filters]
    wanted: dict[str, bool] = {}
    for name, is_optional in uses:
        wanted[name] = wanted.get(name, True) and is_optional
    return wanted


def _people(connection: duckdb.DuckDBPyConnection, source: Source, staged: Staged, key: bytes) -> pa.Table:
    """Return (named_in, raw, pseudonym) of the distinct texts of each id column that name somebody."""
    texts = {name: said(text) for name, text in staged.columns.items()}
    found: dict[str, list[str]] = {"named_in": [], "raw": [], "pseudonym": []}
    for name in ID_COLUMNS:
        if column := source.columns.get(name):
            distinct = f"SELECT DISTINCT CAST({column_text(name, column, texts)} AS VARCHAR) AS raw"
            raw = connection.sql(f"{distinct} FROM {staged.table}").to_arrow_table()["raw"].to_pylist()
            named = {text: text.strip() for text in raw if text is not None and text.strip().lower() not in _NO_USER}
            ids = list(named.values())
            if source.id_form == "raw":
                ids = pseudonymise(ids, key_of(column.identifier, key))
            for column_of, values in zip(found, ([name] * len(ids), named, ids), strict=True):
                found[column_of].extend(values)
    return pa.table({name: pa.array(values, pa.string()) for name, values in found.items()})


def _named(source: Source, staged: Staged, zone: str) -> str:
    """Render (line, fault, contract columns) of the staged rows, persons as pseudonyms."""
    fields = field_texts(source, staged, zone)
    fault = _fault(source.filters, staged)
    columns = [field.name for field in FIELDS[source.kind] if field.name not in ("fault", "day")]
    if source.kind == "events" and "other_id" in source.columns:
        columns.append("other_id")
    picks = ", ".join(f"{fields.get(column, 'NULL')} AS {column}" for column in columns)
    query = f"SELECT line, {fault} AS fault, {picks} FROM {staged.table}"
    mapped = [name for name in ID_COLUMNS if name in source.columns]
    if not mapped:
        return query
    joins = "".join(
        f" LEFT JOIN people AS {name}s ON {name}s.named_in = '{name}' AND n.{name} = {name}s.raw" for name in mapped
    )
    if source.kind != "events":
        known = ", ".join(f"{name}s.pseudonym AS {name}" for name in mapped)
        return f"SELECT n.* REPLACE ({known}) FROM ({query}) AS n{joins}"
    # The better known identifier has the event; that the line holds two joins nobody.
    known = "coalesce(" + ", ".join(f"{name}s.pseudonym" for name in mapped) + ")"
    less = " EXCLUDE (other_id)" if "other_id" in mapped else ""
    return f"SELECT n.*{less} REPLACE ({known} AS user_id) FROM ({query}) AS n{joins}"


def _records_query(source: Source, named: str) -> str:
    """Render raw items or users: a catalogue made of invoice lines repeats itself, so that copies may go."""
    columns = ", ".join(field.name for field in FIELDS[source.kind])
    if source.duplicates == "keep":
        return f"SELECT {columns}, line FROM ({named})"
    content = ", ".join(field.name for field in FIELDS[source.kind] if field.name != "updated_at_utc")
    picked = columns.replace("updated_at_utc", "max(updated_at_utc) AS updated_at_utc")
    return f"SELECT {picked}, min(line) AS line FROM ({named}) GROUP BY {content}"


def _events_query(connection: duckdb.DuckDBPyConnection, source: Source, named: str) -> str:
    """Render raw events; where copies count, their numbers are found first, among the few rows that have any."""
    number = "coalesce(CAST(try_cast({0} AS DECIMAL(28, 6)) AS VARCHAR), {0}, '')"
    parts = [number.format(c) if c in ("quantity", "value") else f"coalesce({c}, '')" for c in _CONTENT]
    parts.append("coalesce(CAST(occurred_at_utc AS VARCHAR), occurred_at_text, '')")
    content = f"concat_ws(chr(31), {', '.join(parts)})"
    nth = "'0'"
    if source.duplicates == "keep":
        connection.execute(
            f"""CREATE TEMP TABLE copies AS
            SELECT line AS copy, row_number() OVER (PARTITION BY {content} ORDER BY line) - 1 AS nth FROM ({named})
            WHERE line IN (SELECT unnest(lines) FROM (
                SELECT list(line) AS lines FROM ({named}) GROUP BY hash({content}) HAVING count(*) > 1))"""
        )
        named = f"SELECT * FROM ({named}) LEFT JOIN copies ON line = copy"
        nth = "coalesce(nth, 0)"
    made = {
        "event_id": f"coalesce(nullif(trim(event_id), ''), left(sha256({content} || chr(31) || {nth}), 32))",
        "day": f"coalesce(CAST(occurred_at_utc AS DATE), DATE '{EPOCH}')",
    }
    columns = ", ".join(f"{made[c.name]} AS {c.name}" if c.name in made else c.name for c in FIELDS["events"])
    return f"SELECT {columns}, line FROM ({named})"


def _fault(filters: tuple[Filter, ...], staged: Staged) -> str:
    """Render the fault of a staged row: its own, the reason of the first filter that rejects it, or a missing key.

    A filter may be there to leave out what other keys are for, so that it comes before the keys that it does not ask.
    """
    cases = ""
    for rule in filters:
        text = staged.columns[rule.column]
        if rule.drop_matching is not None:
            test = f"regexp_matches({text}, {literal(rule.drop_matching)})"
        elif rule.drop_values:
            test = f"trim({text}) IN ({', '.join(map(literal, rule.drop_values))})"
        else:
            test = f"trim({text}) IS NULL OR trim({text}) NOT IN ({', '.join(map(literal, rule.keep_values))})"
        if lacks := staged.lacks.get(rule.column):
            cases += f" WHEN {lacks} THEN {literal(MISSING_KEY)}"
        cases += f" WHEN {test} THEN {literal(rule.reason)}"
    if staged.lacks:
        cases += f" WHEN {' OR '.join(staged.lacks.values())} THEN {literal(MISSING_KEY)}"
    return f"CASE WHEN fault IS NOT NULL THEN fault{cases} END"


def _lacking(connection: duckdb.DuckDBPyConnection, source: Source, staged: Staged) -> dict[str, tuple[int, int]]:
    """Return the keys that lines are set aside for, each with the number of its lines and the first of them."""
    if not staged.lacks:
        return {}
    counts = ", ".join(f"count(*) FILTER ({test}), min(line) FILTER ({test})" for test in staged.lacks.values())
    aside = f"{_fault(source.filters, staged)} = {literal(MISSING_KEY)}"
    [found] = connection.execute(f"SELECT {counts} FROM {staged.table} WHERE {aside}").fetchall()
    pairs = zip(staged.lacks, found[::2], found[1::2], strict=True)
    return {name: (count, first) for name, count, first in pairs if count}
