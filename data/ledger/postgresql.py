"""Ledgers in a PostgreSQL database, for a shop that several machines work on.

All ledgers of a database share two tables, told apart by the name of the shop. Whoever writes holds an advisory lock of
that name until its transaction ends, so that a second writer reads what the first one wrote; the primary key is the
second belt. Nothing beyond SELECT and INSERT is needed once the tables exist; the triggers refuse more to everybody.
"""

import contextlib
from collections.abc import Iterable, Iterator

import sqlalchemy as sa

from data.databases import postgresql_engine, reason, shown
from data.ledger.store import WAIT_SECONDS, LedgerError, Mode

ENTRY, RELEASE = "portrait_ledger_entry", "portrait_ledger_release"

_IDLE_SECONDS = 90
"""A writer that says nothing for so long is taken for dead: a lost network must not hold the lock for hours."""

_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")

_REFUSE = "portrait_ledger_refuse"
_SCHEMA = (
    f"CREATE TABLE {ENTRY} (ledger text NOT NULL, sequence bigint NOT NULL, body text NOT NULL, head text NOT NULL,"
    " PRIMARY KEY (ledger, sequence))",
    f"CREATE TABLE {RELEASE} (ledger text NOT NULL, sequence bigint NOT NULL, content bytea NOT NULL,"
    f" PRIMARY KEY (ledger, sequence), FOREIGN KEY (ledger, sequence) REFERENCES {ENTRY})",
    f"CREATE FUNCTION {_REFUSE}() RETURNS trigger LANGUAGE plpgsql AS"
    " $$BEGIN RAISE EXCEPTION 'the ledger is append-only'; END$$",
    *(
        f"CREATE TRIGGER {table}_{name} BEFORE {what} ON {table} FOR EACH {each} EXECUTE FUNCTION {_REFUSE}()"
        for table in (ENTRY, RELEASE)
        for name, what, each in (("change", "UPDATE OR DELETE", "ROW"), ("truncate", "TRUNCATE", "STATEMENT"))
    ),
)

_REMEDIES = {
    "42501": "grant this user SELECT and INSERT on its tables, or CREATE for the first release",
    "25006": "name the server that may be written, not its copy",
    "53": "make room on the server",
    "55P03": "end the process that holds it",
    "XX": "restore it from its latest backup",
}
"""By SQLSTATE or its class."""
_REMEDY = "check that the database runs and what privacy.ledger of the shop file names, then run again"


class PostgresqlStore:
    """One shop's ledger in a database."""

    def __init__(self, url: sa.URL, name: str) -> None:
        """Keep the place.

        Args:
            url: of the database, driver psycopg.
            name: of the ledger, unique in the database: the shop's.
        """
        self._url = url
        self._name = name
        self._engine = postgresql_engine(url)

    @property
    def place(self) -> str:
        """How messages name it, without the password."""
        return f"'{self._name}' at {shown(self._url)}"

    def is_founded(self) -> bool:
        """Whether the database holds this ledger; see `Store`."""
        with self.transaction("read") as transaction:
            return transaction.is_founded()

    @contextlib.contextmanager
    def transaction(self, mode: Mode) -> Iterator["_PostgresqlTransaction"]:
        """See `Store`."""
        try:
            with self._engine.connect() as connection:
                if mode == "read":
                    connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                with connection.begin():
                    if mode == "write":
                        self._lock(connection)
                    yield _PostgresqlTransaction(connection, self._name)
        except sa.exc.SQLAlchemyError as error:
            state = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
            remedy = _REMEDIES.get(state, _REMEDIES.get(state[:2], _REMEDY))
            # From None: what the driver raised may hold the password.
            said = reason(error, self._url).rstrip(".")
            raise LedgerError(f"ledger {self.place} cannot be used ({said}); {remedy}") from None

    def _lock(self, connection: sa.Connection) -> None:
        """Wait for earlier writers. Every statement after this one sees what they committed (READ COMMITTED)."""
        for setting in (
            f"lock_timeout = '{WAIT_SECONDS}s'",
            f"idle_in_transaction_session_timeout = '{_IDLE_SECONDS}s'",
            "synchronous_commit = on",
        ):
            connection.exec_driver_sql(f"SET LOCAL {setting}")
        connection.execute(_LOCK, {"name": f"portrait ledger {self._name}"})


class _PostgresqlTransaction:
    """See `Transaction`."""

    def __init__(self, connection: sa.Connection, name: str) -> None:
        self._connection = connection
        self._name = name

    def is_founded(self) -> bool:
        return self._has_tables() and bool(
            self._rows(f"SELECT 1 FROM {ENTRY} WHERE ledger = :ledger LIMIT 1").fetchall()
        )

    def found(self) -> None:
        self._connection.execute(_LOCK, {"name": "portrait ledgers"})  # another shop may make the tables right now
        if not self._has_tables():
            for statement in _SCHEMA:
                self._connection.exec_driver_sql(statement)

    def entries(self) -> Iterable[tuple[int, str, str]]:
        found = self._rows(f"SELECT sequence, body, head FROM {ENTRY} WHERE ledger = :ledger ORDER BY sequence")
        return ((row.sequence, row.body, row.head) for row in found)

    def append(self, sequence: int, body: str, head: str) -> None:
        self._rows(
            f"INSERT INTO {ENTRY} VALUES (:ledger, :sequence, :body, :head)", sequence=sequence, body=body, head=head
        )

    def releases(self) -> Iterable[tuple[int, bytes]]:
        found = self._rows(f"SELECT sequence, content FROM {RELEASE} WHERE ledger = :ledger ORDER BY sequence")
        return ((row.sequence, bytes(row.content)) for row in found)

    def released(self, sequence: int) -> bytes | None:
        query = f"SELECT content FROM {RELEASE} WHERE ledger = :ledger AND sequence = :sequence"
        found = self._rows(query, sequence=sequence).first()
        return bytes(found.content) if found else None

    def keep(self, sequence: int, content: bytes) -> None:
        self._rows(f"INSERT INTO {RELEASE} VALUES (:ledger, :sequence, :content)", sequence=sequence, content=content)

    def _has_tables(self) -> bool:
        query = sa.text("SELECT to_regclass(:name)")
        return self._connection.execute(query, {"name": ENTRY}).scalar() is not None

    def _rows(self, statement: str, **values: object) -> sa.CursorResult[tuple[object, ...]]:
        return self._connection.execute(sa.text(statement), {"ledger": self._name, **values})
