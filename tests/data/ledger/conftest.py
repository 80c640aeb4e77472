"""Every test of a ledger runs in both places: an SQLite file and a real PostgreSQL database."""

import secrets
from pathlib import Path

import pytest

from data.ledger import Store
from tests.support.ledgers import Place, PostgresqlPlace, SqlitePlace
from tests.support.postgres import Postgres


@pytest.fixture(scope="session")
def ledgers(postgres: Postgres) -> str:
    """Name of a database for ledgers; it goes with the server."""
    name = f"ledgers_{secrets.token_hex(4)}"
    postgres.execute(f"create database {name}")
    return name


@pytest.fixture
def base(postgres: Postgres, ledgers: str) -> PostgresqlPlace:
    """The database, without a ledger in it."""
    found = PostgresqlPlace(postgres, ledgers)
    found.drop()
    return found


@pytest.fixture
def file(tmp_path: Path) -> SqlitePlace:
    """A file that is not there yet."""
    return SqlitePlace(tmp_path / "ledger.sqlite")


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Place:
    """Either of them."""
    found: Place = request.getfixturevalue("file" if request.param == "sqlite" else "base")
    return found


@pytest.fixture
def store(place: Place) -> Store:
    """The store of that place."""
    return place.store
