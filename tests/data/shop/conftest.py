"""A small shop whose files and declaration each test writes itself."""

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from data.connectors import resolve_files
from data.shop.config import Shop
from data.shop.load import parse_shop
from data.shop.mapping import read_batch

KEY = b"0123456789abcdef0123456789abcdef"

EVENTS = """\
    kind: events
    path: PATH
    event_type: purchase
    time: at
    columns: {user_id: user, item_id: item, quantity: qty, value: paid}
"""

MakeShop = Callable[..., Shop]
ReadAll = Callable[..., pa.Table]


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute("SET threads = 1")
        yield opened


@pytest.fixture
def make_shop(tmp_path: Path) -> MakeShop:
    """Build a shop whose one source `sales` reads `path`."""

    def make(path: str = "sales.csv", source: str = EVENTS, timezone: str = "UTC") -> Shop:
        head = f"name: corner\ncurrency: EUR\ndeclared_users: 100\ntimezone: {timezone}\n"
        text = head + "calendar: {start: 2020-01-01}\n"
        return parse_shop(f"{text}sources:\n  sales:\n{source.replace('PATH', path)}", tmp_path / "shop.yaml")

    return make


@pytest.fixture
def read_all(connection: duckdb.DuckDBPyConnection) -> ReadAll:
    """Read all files of `sales` and leave nothing behind on the connection."""

    def read(shop: Shop, source: str = "sales") -> pa.Table:
        files = resolve_files(shop, source)
        rows = pa.concat_tables([read_batch(connection, shop, source, file, KEY).rows for file in files])
        assert connection.execute("SELECT count(*) FROM duckdb_tables()").fetchall() == [(0,)]
        return rows

    return read
