"""A ledger in a SQLite file: the default, for processes of one machine."""

import contextlib
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from data.ledger.store import WAIT_SECONDS, LedgerError, Mode

_SCHEMA = """
CREATE TABLE entry (sequence INTEGER PRIMARY KEY, body TEXT NOT NULL, head TEXT NOT NULL) STRICT;
CREATE TABLE release (sequence INTEGER PRIMARY KEY REFERENCES entry, content BLOB NOT NULL) STRICT;
CREATE TRIGGER entry_update BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER entry_delete BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER release_update BEFORE UPDATE ON release BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER release_delete BEFORE DELETE ON release BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
"""

_BACKUP = "restore it from its latest backup"
_REMEDIES = {
    sqlite3.SQLITE_BUSY: "end the process that holds it",
    sqlite3.SQLITE_CANTOPEN: "create its folder, or give this user the right to open it",
    sqlite3.SQLITE_FULL: "make free space on its disk",
    sqlite3.SQLITE_IOERR: "check its disk and the free space there",
    sqlite3.SQLITE_PERM: "give this user the right to write it and its folder",
    sqlite3.SQLITE_READONLY: "give this user the right to write it and its folder",
}
"""By primary result code; everything else is damage."""


class SqliteStore:
    """One file, on a local disk: its locks do not hold on network file systems."""

    def __init__(self, path: Path) -> None:
        """Keep the place.

        Args:
            path: the file; its folder must exist before a ledger is founded.
        """
        self.path = path

    @property
    def place(self) -> str:
        """How messages name it."""
        return str(self.path)

    def is_founded(self) -> bool:
        """Whether the file holds a ledger; see `Store`."""
        if not self.path.exists():
            return False
        with self.transaction("read") as transaction:
            return transaction.is_founded()

    @contextlib.contextmanager
    def transaction(self, mode: Mode) -> Iterator["_SqliteTransaction"]:
        """See `Store`. Only a transaction that writes creates the file."""
        address = f"file:{quote(str(self.path))}?mode={'rwc' if mode == 'write' else 'rw'}"
        try:
            with contextlib.closing(
                sqlite3.connect(address, uri=True, timeout=WAIT_SECONDS, isolation_level=None)
            ) as db:
                if mode == "write":
                    _log_ahead(db)
                    db.execute("PRAGMA synchronous = FULL")  # in WAL mode NORMAL may lose the last commits with power
                db.execute("BEGIN IMMEDIATE" if mode == "write" else "BEGIN DEFERRED")
                try:
                    yield _SqliteTransaction(db)
                except BaseException:
                    if db.in_transaction:  # SQLite rolls back by itself when the disk is full
                        db.execute("ROLLBACK")
                    raise
                db.execute("COMMIT")
        except sqlite3.Error as error:
            remedy = _REMEDIES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, _BACKUP)
            raise LedgerError(f"ledger {self.place} cannot be used ({error}); {remedy}") from error


def _log_ahead(db: sqlite3.Connection) -> None:
    """Switch a new file to a write-ahead log; SQLite itself waits for no other process that does so too."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(0.02)


class _SqliteTransaction:
    """See `Transaction`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def is_founded(self) -> bool:
        return self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'entry'").fetchone() is not None

    def found(self) -> None:
        for statement in _SCHEMA.strip().splitlines():
            self._db.execute(statement)

    def entries(self) -> Iterable[tuple[int, str, str]]:
        return self._db.execute("SELECT sequence, body, head FROM entry ORDER BY sequence")

    def append(self, sequence: int, body: str, head: str) -> None:
        self._db.execute("INSERT INTO entry VALUES (?, ?, ?)", (sequence, body, head))

    def releases(self) -> Iterable[tuple[int, bytes]]:
        return self._db.execute("SELECT sequence, content FROM release ORDER BY sequence")

    def released(self, sequence: int) -> bytes | None:
        found = self._db.execute("SELECT content FROM release WHERE sequence = ?", (sequence,)).fetchone()
        return bytes(found[0]) if found else None

    def keep(self, sequence: int, content: bytes) -> None:
        self._db.execute("INSERT INTO release VALUES (?, ?)", (sequence, content))
