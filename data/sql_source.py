"""One source of a shop that is a table or a query of a database: opening it, and asking how far it goes.

Reading its rows is `sql_pull`; what becomes of them is `ingest_tables`. Everything here happens in one transaction
that may only read, and sees one state of the database.
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from data.databases import declared_url, postgresql_engine, reason, shown
from data.shop.config import Shop
from data.shop.errors import SourceError
from data.shop.source import Source

Value = int | float | str
"""Of a watermark: PostgreSQL's as its own text, SQLite's as it is stored."""

_ENDLESS = ("infinity", "-infinity", "NaN", "Infinity", "-Infinity")
_FORMS = ("TimeZone = 'UTC'", "DateStyle = 'ISO, YMD'", "IntervalStyle = 'iso_8601'", "extra_float_digits = 1")


@dataclass(frozen=True)
class Standing:
    """How far a table goes."""

    newest: Value | None
    """Greatest value of the watermark; None for a table without rows."""
    is_ahead: bool
    """Whether it lies beyond the value that was asked about, or nothing was asked and there are rows."""
    is_behind: bool
    """Whether it lies before that value."""


class OpenTable:
    """A table or query on an open connection; made by `open_table`."""

    def __init__(self, connection: sa.Connection, declared: Source, name: str, place: str) -> None:
        """Keep the connection.

        Args:
            connection: In a transaction that may only read.
            declared: The source.
            name: How files of it are named.
            place: How messages name it.
        """
        self.connection, self.declared, self.name, self.place = connection, declared, name, place
        self.is_postgresql = connection.dialect.name == "postgresql"

    @cached_property
    def relation(self) -> sa.FromClause:
        """What stands behind FROM."""
        if self.declared.table is not None:
            schema, _, name = self.declared.table.rpartition(".")
            return sa.table(name, schema=schema or None)
        # A colon would name a parameter; the line end ends a comment of the query's last line.
        text = (self.declared.query or "").strip().rstrip(";").replace("\\", "\\\\").replace(":", "\\:")
        return sa.text(f"{text}\n").columns().subquery("pulled")

    @cached_property
    def columns(self) -> list[str]:
        """Its columns, in order."""
        return list(self.connection.execute(sa.select(sa.text("*")).select_from(self.relation).limit(0)).keys())

    def text(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """A value as PostgreSQL writes it: exact numbers, ISO times with offset; SQLite's values stay as they are."""
        return sa.cast(column, sa.Text) if self.is_postgresql else column

    @property
    def watermark(self) -> sa.ColumnElement[Any]:
        """The watermark column.

        Raises:
            SourceError: The table lacks it.
        """
        name = self.declared.watermark
        assert name is not None, "asked only of sources with a watermark"
        if name not in self.columns:
            raise SourceError(self.place, f"has no column '{name}'", "correct `watermark` in the shop file")
        return sa.column(name)

    def beyond(self, held: Value | None) -> sa.Select[Any]:
        """Select nothing yet from the rows at the held value and after it."""
        found = sa.select().select_from(self.relation)
        return found if held is None else found.where(self.watermark.op(">=")(sa.text(":held")))

    def bound(self, held: Value | None) -> dict[str, Value]:
        """The parameter of `beyond`: PostgreSQL gives a text the type of what it is compared with."""
        return {} if held is None else {"held": str(held) if self.is_postgresql else held}

    def standing(self, held: Value | None) -> Standing:
        """Ask how far the table goes; with an index on the watermark this reads next to nothing.

        Args:
            held: Value up to which rows are published; None: none are.

        Raises:
            SourceError: The newest value is endless.
        """
        top = sa.func.max(self.watermark)
        compared = [top.op(sign)(sa.text(":held")) for sign in (">", "<")] if held is not None else []
        row = self.connection.execute(
            sa.select(self.text(top), *compared).select_from(self.relation), self.bound(held)
        ).one()
        newest, (ahead, behind) = row[0], row[1:] if compared else (row[0] is not None, False)
        if str(newest) in _ENDLESS:
            what = f"has {newest} as its newest {self.declared.watermark}, behind which nothing could follow"
            raise SourceError(self.place, what, "correct that row")
        return Standing(newest, bool(ahead), bool(behind) or (newest is None and held is not None))

    def has_unmarked(self) -> bool:
        """Whether a row has no value in the watermark column."""
        found = sa.select(sa.literal(1)).select_from(self.relation).where(self.watermark.is_(None)).limit(1)
        return self.connection.execute(found).first() is not None

    def count_up_to(self, held: Value) -> int:
        """Number of rows up to a value of the watermark, itself included."""
        return self._count("<=", held)

    def count_at(self, held: Value) -> int:
        """Number of rows at one value of the watermark."""
        return self._count("=", held)

    def _count(self, sign: str, held: Value) -> int:
        where = self.watermark.op(sign)(sa.text(":held"))
        found = sa.select(sa.func.count()).select_from(self.relation).where(where)
        return int(self.connection.execute(found, self.bound(held)).scalar_one())

    def time_span(self, held: Value | None) -> tuple[str, str] | None:
        """First and last time of the rows beyond a value; None where the database has no real times, or no row."""
        assert self.declared.time is not None, "asked only of sources with times"
        time: sa.ColumnElement[Any] = sa.column(self.declared.time.column)
        if not self.is_postgresql or self.declared.time.format != "iso":
            return None
        kind = sa.cast(sa.func.pg_typeof(time), sa.Text)
        [(first, last, known)] = self.connection.execute(
            self.beyond(held).add_columns(
                self.text(sa.func.min(time)), self.text(sa.func.max(time)), sa.func.min(kind)
            ),
            self.bound(held),
        ).fetchall()
        is_time = known in ("date", "timestamp without time zone", "timestamp with time zone")
        return (first, last) if is_time and first is not None else None


@contextmanager
def open_table(shop: Shop, source: str, environment: Mapping[str, str] = os.environ) -> Iterator[OpenTable]:
    """Open a source that is a table, for reading alone.

    Args:
        shop: The declaration.
        source: Its name.
        environment: Where `${NAME}` is looked up.

    Yields:
        The table, in one transaction.

    Raises:
        SourceError: The database cannot be reached, or refuses a query.
        ShopError: See `declared_url`.
    """
    declared = shop.sources[source]
    url = declared_url(declared.database or "", f"sources.{source}.database", shop, environment)
    what = f"table {declared.table}" if declared.table else "query"
    place = f"{source} ({what} at {shown(url)})"
    engine = _engine(url, place)
    try:
        with engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                for form in _FORMS:
                    connection.exec_driver_sql(f"SET LOCAL {form}")
            else:
                connection.exec_driver_sql("BEGIN")
            name = (declared.table or source).rpartition(".")[2]
            yield OpenTable(connection, declared, name, place)
    except sa.exc.OperationalError as error:
        remedy = f"check that the database runs, and what sources.{source} of {shop.location.name} says"
        raise SourceError(place, f"cannot be read ({reason(error, url)})", remedy) from None
    except sa.exc.SQLAlchemyError as error:
        remedy = f"correct sources.{source} of {shop.location.name}, or the rights of the user"
        raise SourceError(place, f"cannot be read ({reason(error, url)})", remedy) from None
    finally:
        engine.dispose()


def _engine(url: sa.URL, place: str) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        return postgresql_engine(url)
    path = url.database or ""
    if not Path(path).is_file():
        raise SourceError(place, "there is no such database file", "correct `database` in the shop file")
    # By its own means SQLite would create a file that is not there, and write to one that is.
    address = f"file:{quote(path)}?mode=ro"
    return sa.create_engine(
        "sqlite://", creator=lambda: sqlite3.connect(address, uri=True), hide_parameters=True, poolclass=sa.NullPool
    )
