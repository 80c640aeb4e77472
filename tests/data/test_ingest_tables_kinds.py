"""What each kind of database says in its own way: types, watermarks, a server that is down, secrets in its messages."""

import pytest

from data.ingest_tables import waiting_rows
from data.shop.errors import ShopError, SourceError
from data.sql_pull import pull_whole
from data.sql_source import open_table
from tests.support.shops import GOOD
from tests.support.tables import (
    VARIABLE,
    PostgresDatabase,
    SqliteDatabase,
    create_orders,
    ids,
    insert,
    land,
    raw_rows,
    shop_of,
    shop_yaml,
)


def test_the_database_is_only_read(shop_database, tmp_path):
    create_orders(shop_database)
    workspace = shop_of(tmp_path)
    with pytest.raises(SourceError, match="cannot be read .*read-?only"), open_table(workspace.shop, "tills") as table:
        table.connection.exec_driver_sql("delete from orders")
    assert land(workspace)[0] == ["tills: orders@000001 5, 5 rows"]


def test_times_types_and_texts_of_postgresql(postgres, database, tmp_path, monkeypatch):
    found = PostgresDatabase(postgres, database)
    monkeypatch.setenv(VARIABLE, found.url)
    found.execute(
        f"alter database {database} set timezone = 'America/New_York'",
        f"alter database {database} set datestyle = 'German, DMY'",
        "create schema till",
        'create table till."Orders" (seq timestamptz, id uuid, customer bigint, sku char(4), what boolean, '
        "qty double precision, paid numeric(20,10), at timestamptz, basket date)",
        "insert into till.\"Orders\" values ('2024-01-02 10:00:00.5+02', '00000000-0000-0000-0000-00000000000a', 17, "
        "'a', true, 0.1::float8 + 0.2, 123456789.0123456789, '2024-06-01 00:30:00+02', '2024-01-02')",
    )
    origin = "database: ${SHOP_DATABASE}\n    table: till.Orders\n    watermark: seq"
    yaml = shop_yaml(origin).replace("values: {buy: purchase, look: view}", "values: {true: purchase}")
    yaml = yaml.replace("values: {true:", "values: {'true':").replace("end: 2024-03-31", "end: 2024-12-31")
    workspace = shop_of(tmp_path, yaml)
    assert land(workspace)[0] == ["tills: Orders@000001 2024-01-02 08:00:00.5+00, 1 rows"]
    [row] = raw_rows(workspace)
    assert str(row["occurred_at_utc"]) == "2024-05-31 22:30:00" and str(row["day"]) == "2024-05-31"
    assert row["occurred_at_text"] == "2024-05-31 22:30:00+00"
    assert (row["item_id"], row["event_type"], row["session_id"]) == ("a", "purchase", "2024-01-02")
    assert (row["quantity"], row["value"]) == ("0.30000000000000004", "123456789.0123456789")
    assert land(workspace) == ([], [], False)
    found.execute(
        "insert into till.\"Orders\" select '2024-01-02 08:00:00.500001+00', id, 18, sku, what, qty, paid, at, basket "
        'from till."Orders"'
    )
    waiting = waiting_rows(workspace, "tills")
    assert waiting.newest == "2024-01-02 08:00:00.500001+00" and {str(d) for d in waiting.days} == {"2024-05-31"}
    assert land(workspace)[2]
    found.execute("update till.\"Orders\" set seq = 'infinity' where customer = 18")
    assert "has infinity as its newest seq" in land(workspace)[1][0]


def test_numeric_watermarks_of_another_scale_are_ties(postgres, database, tmp_path, monkeypatch):
    found = PostgresDatabase(postgres, database)
    monkeypatch.setenv(VARIABLE, found.url)
    create_orders(found, ())
    found.execute("alter table orders alter column seq type numeric")
    insert(found, [("1.0", GOOD[0]), ("1.00", GOOD[1])])
    workspace = shop_of(tmp_path)
    land(workspace)
    assert land(workspace) == ([], [], False)
    insert(found, [("1.000", GOOD[2])])
    land(workspace)
    assert ids(workspace) == ["1", "2", "3"]


def test_numbers_and_bytes_of_sqlite(tmp_path, monkeypatch):
    found = SqliteDatabase(tmp_path / "shop.db")
    monkeypatch.setenv(VARIABLE, str(found.path))  # a path alone will do
    found.execute(
        "create table orders (seq, id, customer, sku, what, qty real, paid, at, basket)",
        "insert into orders values (1, x'00ff', 17, 'a', 'buy', 2, 0.1 + 0.2, '2024-01-02', 7)",
    )
    workspace = shop_of(tmp_path)
    land(workspace)
    [row] = raw_rows(workspace)
    assert row["event_id"] == "\\x00ff" and (row["quantity"], row["value"]) == ("2.0", "0.30000000000000004")
    assert row["session_id"] == "7"


def test_a_database_that_is_down(shop_database, tmp_path, monkeypatch):
    create_orders(shop_database)
    workspace = shop_of(tmp_path)
    land(workspace)
    if shop_database.kind == "sqlite":
        monkeypatch.setenv(VARIABLE, f"sqlite:///{tmp_path / 'gone.db'}")
        said = ("tills (table orders at sqlite:///", "gone.db", "there is no such database file")
    else:
        port = shop_database.server.port
        monkeypatch.setenv(VARIABLE, shop_database.url.replace(f":{port}/", ":1/"))
        said = ("tills (table orders at", "127.0.0.1:1/", "cannot be read (", "check that the database runs")
    _, [problem], is_new = land(workspace)
    assert not is_new and all(part in problem for part in said) and "\n" not in problem
    assert ids(workspace) == ["1", "2", "3", "4", "5"]
    with pytest.raises(SourceError):
        waiting_rows(workspace, "tills")
    with pytest.raises(ShopError):
        land(shop_of(tmp_path / "new"))
    assert not (tmp_path / "gone.db").exists()


def test_no_password_is_ever_repeated(postgres, database, tmp_path, monkeypatch):
    found = PostgresDatabase(postgres, database)
    create_orders(found)
    workspace = shop_of(tmp_path)
    wrong = [
        postgres.url(database, password="opensesame"),
        postgres.url(database, password="open%40sesame"),
        postgres.url(database, password="open@sesame"),
        f"postgresql://shopkeeper@127.0.0.1:{postgres.port}/{database}?password=opensesame",
        f"mysql://shopkeeper:opensesame@127.0.0.1:{postgres.port}/{database}",
        "postgresql://shopkeeper:opensesame@127.0.0.1:port/none",
        "postgresql://shopkeeper:opensesame@host.invalid/none",
    ]
    for url in wrong:
        monkeypatch.setenv(VARIABLE, url)
        with pytest.raises((ShopError, SourceError)) as caught:
            land(workspace)
        assert "sesame" not in str(caught.value), url
        assert "\n" not in str(caught.value)


def test_the_digest_of_a_row_leads_nowhere_without_the_key(shop_database, tmp_path):
    create_orders(shop_database)
    workspace = shop_of(tmp_path)
    found = set()
    for key in (b"a" * 32, b"b" * 32, b"a" * 32):
        with open_table(workspace.shop, "tills") as table:
            found.add(pull_whole(table, key, tmp_path).file.sha256)
    assert len(found) == 2
