"""What a shop.yaml makes of its files, before anything runs: some mapped rows and every problem found."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from data.connectors import SourceFile, resolve_files
from data.contracts.core import EVENT_TYPES, EVENTS
from data.pseudonym import ephemeral_key
from data.shop.config import NO_POPULATION, Calendar, Shop
from data.shop.errors import ShopError, SourceError
from data.shop.mapping import read_batch
from data.shop.source import Source
from data.shop.staging import UNREADABLE, literal
from data.sql_pull import check_watermark, pull_whole, unmapped_columns
from data.sql_source import open_table

CATALOGUE_ROWS = 500_000
"""Of a larger catalogue, nothing is said about items that it lacks."""


@dataclass(frozen=True)
class Preview:
    """What `portrait check-shop` shows."""

    rows: dict[str, pa.Table]
    """Source -> its first mapped rows; users under pseudonyms that mean nothing elsewhere."""
    files: dict[str, int]
    """Source -> number of files; a table counts as one."""
    problems: tuple[str, ...]
    """One sentence each; empty when all is well."""
    unmapped: Mapping[str, tuple[str, ...]]
    """Source -> columns that the shop file does not name, where there are any; they are left out."""


def preview(shop: Shop, n: int = 20, sample: int = 10_000) -> Preview:
    """Map a little of every source; open every file far enough to know that it can be read.

    Args:
        shop: The declaration.
        n: Rows shown a source.
        sample: Lines of a source's first readable file, or rows of its table, that are judged.

    Returns:
        The rows and the problems; a file or source that cannot be read is a problem, not an error.
    """
    found = _Found(ephemeral_key())
    if shop.declared_users is None:
        found.problems.append(f"{shop.location}: {NO_POPULATION}")
    with duckdb.connect() as connection:
        for name, source in shop.sources.items():
            try:
                if source.is_table:
                    _look_at_table(connection, shop, name, n, sample, found)
                else:
                    _look_at_files(connection, shop, name, resolve_files(shop, name), n, sample, found)
            except (ShopError, SourceError) as error:
                found.problems.append(str(error))
        found.problems += _unknown_items(connection, shop, found.referring, found.key)
    unmapped = {name: tuple(sorted(columns)) for name, columns in found.unmapped.items() if columns}
    return Preview(found.rows, found.files, tuple(found.problems), unmapped)


@dataclass
class _Found:
    """What a preview has seen so far."""

    key: bytes
    rows: dict[str, pa.Table] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    unmapped: dict[str, set[str]] = field(default_factory=dict)
    referring: dict[str, pa.Table] = field(default_factory=dict)
    """Sources whose rows name items of the catalogue -> rows."""


def _look_at_files(
    connection: duckdb.DuckDBPyConnection,
    shop: Shop,
    name: str,
    files: Sequence[SourceFile],
    n: int,
    sample: int,
    found: _Found,
) -> None:
    found.files[name] = len(files)
    left_out = found.unmapped.setdefault(name, set())
    for file in files:
        try:
            limit = 1 if name in found.rows else sample
            batch = read_batch(connection, shop, name, file, found.key, limit=limit)
        except SourceError as error:
            found.problems.append(str(error))
            continue
        left_out |= set(batch.unmapped)
        if name not in found.rows:
            found.rows[name] = batch.rows.sort_by("line").slice(0, n)
            found.problems += _judge(connection, name, shop.sources[name], shop.calendar, batch.rows)
            found.problems += [
                f"{name}: {count} of the first {batch.rows.num_rows} rows lack '{key}' (first in line {line}); map the "
                "key that they have instead, or mark the column optional: true."
                for key, (count, line) in batch.lacking.items()
            ]
            if shop.sources[name].kind in ("events", "promotions"):
                found.referring[name] = batch.rows


def _look_at_table(
    connection: duckdb.DuckDBPyConnection, shop: Shop, name: str, n: int, sample: int, found: _Found
) -> None:
    with open_table(shop, name) as table, tempfile.TemporaryDirectory(prefix="portrait-") as folder:
        if shop.sources[name].watermark is not None:
            check_watermark(table)
        part = pull_whole(table, found.key, Path(folder), limit=sample)
        _look_at_files(connection, shop, name, [part.file], n, sample, found)
        found.unmapped[name] |= set(unmapped_columns(table))


def _judge(
    connection: duckdb.DuckDBPyConnection, name: str, source: Source, calendar: Calendar | None, batch: pa.Table
) -> list[str]:
    """Count what core would set aside; messages hold line numbers and event words, never other values."""
    connection.register("batch", batch)
    if not batch.num_rows:
        return [f"{name}: its first file has no rows; deliver rows or remove it."]
    tests = [(f"fault = '{UNREADABLE}'", "cannot be read", "correct the lines, or csv.delimiter and csv.quote")]
    for column in ("quantity", "value", "discount", "price"):
        if column in batch.column_names:
            test = f"fault IS NULL AND trim({column}) <> '' AND try_cast({column} AS DOUBLE) IS NULL"
            tests.append((test, f"have a {column} that is no number", f"correct columns.{column}"))
            if column != "value" or source.value_is == "total":
                remedy = "filter them, or map them to return with positive numbers"
                negative = f"fault IS NULL AND try_cast({column} AS DOUBLE) < 0"
                tests.append((negative, f"have a negative {column}", remedy))
    if source.kind == "events":
        tests += _event_tests(source, calendar)
    elif source.kind == "items":
        tests.append(("fault IS NULL AND item_id IS NULL", "have no item id", "correct columns.item_id"))
    elif source.kind == "promotions":
        tests += _promotion_tests()
    elif source.kind == "identities":
        proved = "fault IS NULL AND lower(trim(is_authenticated)) IN ('1', 'true', 'yes', 'y')"
        lacks = f"{proved} AND (user_id IS NULL OR other_id IS NULL)"
        tests.append((lacks, "name one identifier only", "correct columns.user_id and columns.other_id"))
        nobody = f"fault IS NULL AND NOT EXISTS (SELECT 1 FROM batch WHERE {proved})"
        tests.append((nobody, "authenticate nobody", "correct columns.is_authenticated"))
    problems = []
    for test, what, remedy in tests:
        query = f"SELECT count(*), min(line) FROM batch WHERE {test}"
        [(count, line)] = connection.execute(query).fetchall()
        if count:
            rows = f"{count} of the first {batch.num_rows} rows"
            problems.append(f"{name}: {rows} {what} (first in line {line}); {remedy}.")
    if source.kind == "events":
        problems += _unknown_words(connection, name)
    connection.unregister("batch")
    return problems


def _promotion_tests() -> list[tuple[str, str, str]]:
    nothing = "NOT EXISTS (SELECT 1 FROM batch WHERE display IS NOT NULL OR mailer IS NOT NULL)"
    unreadable = "fault IS NULL AND (valid_from_utc IS NULL OR valid_until_utc IS NULL)"
    return [
        ("fault IS NULL AND item_id IS NULL", "have no item id", "correct columns.item_id"),
        (unreadable, "do not tell from when to when they are valid", "correct valid"),
        ("valid_until_utc <= valid_from_utc", "end before they begin", "correct valid.start and valid.end"),
        (f"fault IS NULL AND {nothing}", "promote nothing", "correct columns.display, columns.mailer or absent"),
    ]


def _event_tests(source: Source, calendar: Calendar | None) -> list[tuple[str, str, str]]:
    nobody = "(SELECT count(user_id) FROM batch WHERE fault IS NULL) = 0"
    tests = [(f"fault IS NULL AND {nobody}", "name no user at all", "correct columns.user_id")]
    if source.time:
        remedy = f"correct time.format, now {source.time.format}"
        tests.append(("fault IS NULL AND occurred_at_utc IS NULL", "have no readable time", remedy))
    if source.time and calendar:
        end = f" OR day > DATE '{calendar.end}'" if calendar.end else ""
        outside = f"fault IS NULL AND occurred_at_utc IS NOT NULL AND (day < DATE '{calendar.start}'{end})"
        tests.append((outside, "lie outside the calendar", "widen calendar, or correct time"))
    return tests


def _unknown_words(connection: duckdb.DuckDBPyConnection, name: str) -> list[str]:
    known = ", ".join(map(literal, EVENT_TYPES))
    query = f"""SELECT DISTINCT coalesce(event_type, '') FROM batch
        WHERE fault IS NULL AND coalesce(event_type, '') NOT IN ({known}) ORDER BY 1 LIMIT 5"""
    words = [word for (word,) in connection.execute(query).fetchall()]
    if not words:
        return []
    listed = ", ".join(repr(word[:40]) for word in words)
    return [f"{name}: event types {listed} are unknown; list them under event_type.values, or drop them by a filter."]


def _unknown_items(
    connection: duckdb.DuckDBPyConnection, shop: Shop, samples: Mapping[str, pa.Table], key: bytes
) -> list[str]:
    """Tell of rows whose items the catalogue lacks, when they are more than the gate of their table lets pass."""
    catalogue = _catalogue(connection, shop, key)
    if catalogue is None:
        return []
    connection.register("catalogue", catalogue)
    problems = []
    for name, batch in samples.items():
        connection.register("batch", batch)
        query = """SELECT count(*), min(line) FROM batch
            WHERE fault IS NULL AND item_id IS NOT NULL AND item_id NOT IN (SELECT item_id FROM catalogue)"""
        [(count, line)] = connection.execute(query).fetchall()
        connection.unregister("batch")
        if count > (EVENTS.max_quarantine_share or 0) * batch.num_rows:
            problems.append(
                f"{name}: {count} of the first {batch.num_rows} rows name an item that no items source has "
                f"(first in line {line}); add the missing items, or map the events once more with kind: items."
            )
    connection.unregister("catalogue")
    return problems


def _catalogue(connection: duckdb.DuckDBPyConnection, shop: Shop, key: bytes) -> pa.Table | None:
    """Read the codes of all items; None where events bring their own, a table holds them, or they are many."""
    declared = {name: source for name, source in shop.sources.items() if source.kind == "items"}
    of_events = {path for source in shop.sources.values() if source.kind == "events" for path in source.path}
    if not declared or any(source.is_table or set(source.path) & of_events for source in declared.values()):
        return None
    parts: list[pa.Table] = []
    try:
        for name in declared:
            for file in resolve_files(shop, name):
                batch = read_batch(connection, shop, name, file, key, limit=CATALOGUE_ROWS)
                parts.append(batch.rows.select(["item_id"]))
                if sum(part.num_rows for part in parts) >= CATALOGUE_ROWS:
                    return None
    except (ShopError, SourceError):
        return None  # told already, by the look at every file
    return pa.concat_tables(parts).filter(pc.is_valid(pc.field("item_id")))
