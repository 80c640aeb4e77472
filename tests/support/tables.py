"""The corner shop with its tills in a database."""

import csv
import io
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from data.contracts.raw import raw_table
from data.ingest_tables import ingest_table
from data.workspace import Workspace
from tests.support.postgres import Postgres
from tests.support.shops import GOOD, HEADER, YAML, workspace_of, write_shop

VARIABLE = "SHOP_DATABASE"
RAW = raw_table("tills", "events")
FROM = ("file", "file_sha256", "line")
"""Columns that say where a row stood."""
MORE = (
    "6,bob,a,buy,3,1.5,2024-02-05 10:00:00,y1",
    "7,ann,b,buy,1,2.5,2024-02-06 11:00:00,y2",
    "8,cia,c,look,,,2024-02-07 12:00:00,y3",
)
"""Rows that come later."""
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


def shop_of(folder: Path, yaml: str | None = None) -> Workspace:
    """The corner shop that reads the database, new."""
    return workspace_of(write_shop(folder / "shop", yaml=yaml or shop_yaml()), folder / "var")


def raw_rows(workspace: Workspace, but: Sequence[str] = FROM) -> list[dict[str, Any]]:
    """Rows of the raw table, without some columns."""
    kept = ", ".join(name for name in RAW.names if name not in but)
    with workspace.engine.session() as session:
        session.attach(RAW, workspace.lake)
        return session.query(f"select {kept} from {RAW.key} order by all").to_pylist()


def land(workspace: Workspace) -> tuple[list[str], list[str], bool]:
    """One landing: what it told, its problems, whether anything was new."""
    told: list[str] = []
    outcome, problems = ingest_table(workspace, "tills", told.append)
    return told, problems, not outcome.is_reused


def ids(workspace: Workspace) -> list[str]:
    """Ids of the events of the raw table."""
    return sorted(row["event_id"] for row in raw_rows(workspace))
