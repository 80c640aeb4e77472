"""Ledgers for tests in both places, with what somebody can do to them who has the place but not the key."""

import contextlib
import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from data.databases import parse_url
from data.ledger import Ledger, Reservation, Row, Store
from data.ledger.postgresql import ENTRY, RELEASE, PostgresqlStore
from data.ledger.sqlite import SqliteStore
from ml.privacy.events import DiscreteGaussianEvent
from tests.support.postgres import Postgres

KEY = bytes(range(32))
NAME = "corner"
EVENT = DiscreteGaussianEvent(sensitivity=2**20, scale=2.0**22, bound=2, randomness="opendp").model_dump(mode="json")
"""Of mu 0.25."""


def plain(events: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """A composition that costs no time: mu, called epsilon."""
    mu = math.sqrt(sum((event["sensitivity"] / event["scale"]) ** 2 for event in events))
    return {"epsilon": mu, "epsilon_zcdp": 2 * mu, "delta": 1e-6, "mu": mu}


def document(*names: str) -> dict[str, Any]:
    """Row 0 with these slots, each of mu 0.25."""
    slots = [{"name": name, "mechanism": "discrete_gaussian", "share": 0.0625} for name in names]
    plan = {"epsilon": 1.0, "delta": 1e-6, "declared_users": 2500, "slots": slots}
    limits = {"epsilon": 1.0, "delta": 1e-6, "unit": "all rows of one user"}
    return {"plan": plan, **limits, "slots": dict.fromkeys(names, EVENT)}


DOCUMENT = document("popularity", "ranker")


def opened(store: Store, **changes: Any) -> Ledger:
    options = {"key": KEY, "plan": DOCUMENT, "compose": plain, **changes}
    return Ledger.open(store, **options)


def reserve(ledger: Ledger, slot: str = "popularity", **changes: Any) -> Reservation | Row:
    options = {
        "asset": f"model/{slot}",
        "run_id": "run-1",
        "input_version": "events@7",
        "code_version": "abc",
        "is_published": False,
        **changes,
    }
    return ledger.reserve(slot=slot, **options)


def granted(ledger: Ledger, slot: str = "popularity", **changes: Any) -> Reservation:
    reservation = reserve(ledger, slot, **changes)
    assert isinstance(reservation, Reservation)
    return reservation


def release(ledger: Ledger, slot: str = "popularity", content: bytes = b"noisy") -> Row:
    reservation = granted(ledger, slot)
    return ledger.commit(reservation, reservation.event, content)


class Place(Protocol):
    """Where the ledger of one test lies."""

    kind: str
    address: str
    """What another process finds it by."""

    @property
    def store(self) -> Store:
        """The store of the product."""

    def execute(self, *statements: str) -> None:
        """Run statements; {entry} and {release} stand for the tables."""

    def edit(self, *statements: str) -> None:
        """Run statements with the triggers out of the way."""

    def entries(self) -> list[dict[str, Any]]:
        """Bodies of all entries, unverified."""

    def copy(self) -> Any:
        """A backup."""

    def restore(self, backup: Any) -> None:
        """Put a backup in place of what is there."""

    def remove(self) -> None:
        """Leave nothing."""


class SqlitePlace:
    """A file."""

    kind = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path, self.address = path, str(path)

    @property
    def store(self) -> SqliteStore:
        return SqliteStore(self.path)

    def execute(self, *statements: str) -> None:
        with contextlib.closing(sqlite3.connect(self.path)) as db, db:
            for statement in statements:
                db.execute(statement.format(entry="entry", release="release"))

    def edit(self, *statements: str) -> None:
        with contextlib.closing(sqlite3.connect(self.path)) as db:
            triggers = [n for (n,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
        self.execute(*(f"DROP TRIGGER {name}" for name in triggers), *statements)

    def entries(self) -> list[dict[str, Any]]:
        with contextlib.closing(sqlite3.connect(self.path)) as db:
            return [json.loads(body) for (body,) in db.execute("SELECT body FROM entry ORDER BY sequence")]

    def copy(self) -> bytes:
        return self.path.read_bytes()

    def restore(self, backup: bytes) -> None:
        self.remove()
        self.path.write_bytes(backup)

    def remove(self) -> None:
        for file in self.path.parent.glob(f"{self.path.name}*"):
            file.unlink()


class PostgresqlPlace:
    """A database."""

    kind = "postgresql"

    def __init__(self, server: Postgres, database: str) -> None:
        self.server, self.database, self.address = server, database, server.url(database)

    @property
    def store(self) -> PostgresqlStore:
        return PostgresqlStore(parse_url(self.address), NAME)

    def execute(self, *statements: str) -> None:
        named = (statement.format(entry=ENTRY, release=RELEASE) for statement in statements)
        self.server.execute(*named, database=self.database)

    def edit(self, *statements: str) -> None:
        self.execute("SET session_replication_role = replica", *statements)

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body, _ in self.copy()[0]]

    def copy(self) -> tuple[list[tuple], list[tuple]]:
        entries = self.server.rows(f"SELECT sequence, body, head FROM {ENTRY} ORDER BY sequence", self.database)
        found = self.server.rows(f"SELECT sequence, encode(content, 'hex') FROM {RELEASE}", self.database)
        return entries, found

    def restore(self, backup: tuple[list[tuple], list[tuple]]) -> None:
        quoted = [(sequence, body.replace("'", "''"), head) for sequence, body, head in backup[0]]
        entries = [f"('{NAME}', {sequence}, '{body}', '{head}')" for sequence, body, head in quoted]
        releases = [f"('{NAME}', {sequence}, decode('{content}', 'hex'))" for sequence, content in backup[1]]
        self.remove()
        for table, values in ((ENTRY, entries), (RELEASE, releases)):
            self.server.execute(*(f"INSERT INTO {table} VALUES {one}" for one in values), database=self.database)

    def remove(self) -> None:
        self.edit("DELETE FROM {release}", "DELETE FROM {entry}")

    def drop(self) -> None:
        """Leave no table either."""
        self.execute(f"DROP TABLE IF EXISTS {RELEASE}, {ENTRY}", f"DROP FUNCTION IF EXISTS {ENTRY[:-6]}_refuse")


def store_at(kind: str, address: str) -> Store:
    """The store of a place, in another process."""
    return SqliteStore(Path(address)) if kind == "sqlite" else PostgresqlStore(parse_url(address), NAME)
