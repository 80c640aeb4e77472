"""SHA-256 of remote files, remembered: a file is fetched again only to be hashed if its server says that it changed."""

import sqlite3
from contextlib import closing
from pathlib import Path

_TABLE = "create table if not exists digests (path text primary key, mark text not null, sha256 text not null)"
_WAIT_SECONDS = 30
"""The sensor and a run may write at the same time."""


class Digests:
    """A cache on disk, one row a file; if it is lost, the files are hashed again and nothing else happens."""

    def __init__(self, file: Path) -> None:
        """Keep the place.

        Args:
            file: SQLite file; it and its folder are made on first use.
        """
        self.file = file

    def get(self, path: str, mark: str) -> str | None:
        """The digest of a file, if it was computed while the file had this mark.

        Args:
            path: URL of the file.
            mark: what changes whenever the bytes do.

        Returns:
            64 hexadecimal characters, or None.
        """
        with closing(self._open()) as connection:
            query = "select sha256 from digests where path = ? and mark = ?"
            found = connection.execute(query, (path, mark)).fetchone()
        return str(found[0]) if found else None

    def put(self, path: str, mark: str, sha256: str) -> None:
        """Remember a digest in place of what was known about the path."""
        with closing(self._open()) as connection, connection:
            connection.execute("insert or replace into digests values (?, ?, ?)", (path, mark, sha256))

    def _open(self) -> sqlite3.Connection:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.file, timeout=_WAIT_SECONDS)
        connection.execute(_TABLE)
        return connection
