"""The corner shop with its tills in a database."""

import csv
import io
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from tests.support.postgres import Postgres
from tests.support.shops import GOOD, HEADER, YAML

VARIABLE = "SHOP_DATABASE"
WITH_WATERMARK = "database: ${SHOP_DATABASE}\n    table: orders\n    watermark: seq"
WHOLE = "database: ${SHOP_DATABASE}\n    table: orders"
COLUMNS = "seq {int}, id text, customer text, sku text, what text, qty {number}, paid {number}, at {time}, basket text"
KINDS = {
    "sqlite": {"int": "integer", "number": "numeric", "time": "text"},
    "postgresql": {"int": "bigint", "number": "numeric(12,2)", "time": "timestamp"},
}


class Database(Protocol):
    """A real database of one test."""

    kind: str
    url: str

    def execute(self, *statements: str) -> None:
        """Run statements and commit them."""


class SqliteDatabase:
    """A file."""

    kind = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path, self.url = path, f"sqlite:///{path}"
        sqlite3.connect(path).close()

    def execute(self, *statements: str) -> None:
        connection = sqlite3.connect(self.path)
        with connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()


class PostgresDatabase:
    """A database of the session's server."""

    kind = "postgresql"

    def __init__(self, server: Postgres, name: str) -> None:
        self.server, self.name, self.url = server, name, server.url(name)

    def execute(self, *statements: str) -> None:
        self.server.execute(*statements, database=self.name)


def shop_yaml(origin: str = WITH_WATERMARK) -> str:
    """The corner shop whose tills are a table."""
    return YAML.replace("path: tills.csv", origin)


def create_orders(database: Database, lines: Sequence[str] = GOOD) -> None:
    """Make the table and fill it, the watermark counting the lines."""
    database.execute(f"create table orders ({COLUMNS.format(**KINDS[database.kind])})")
    insert(database, enumerate(lines, 1))


def insert(database: Database, lines: Iterable[tuple[object, str]]) -> None:
    """Add lines of a tills file, each with its watermark; an empty field is NULL."""
    names = ", ".join(["seq", *HEADER.split(",")])
    for at, line in lines:
        [fields] = csv.reader(io.StringIO(line))
        values = ["null" if f == "" else "'" + f.replace("'", "''") + "'" for f in fields]
        seq = "null" if at is None else f"'{at}'" if isinstance(at, str) else str(at)
        database.execute(f"insert into orders ({names}) values ({', '.join([seq, *values])})")
