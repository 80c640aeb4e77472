"""A real database of each kind for the tests of tables as sources."""

import pytest

from tests.support.tables import VARIABLE, PostgresDatabase, SqliteDatabase


@pytest.fixture(params=["sqlite", "postgresql"])
def shop_database(request, tmp_path, monkeypatch):
    """An empty database of each kind, its URL in the environment."""
    if request.param == "sqlite":
        found = SqliteDatabase(tmp_path / "shop.db")
    else:
        server = request.getfixturevalue("postgres")
        found = PostgresDatabase(server, request.getfixturevalue("database"))
    monkeypatch.setenv(VARIABLE, found.url)
    monkeypatch.setenv("PORTRAIT_KEY", "ab" * 32)
    return found
