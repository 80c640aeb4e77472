"""Tables as sources, on SQLite and on a real PostgreSQL: every row is landed once, whatever happens in between."""

import random
from types import SimpleNamespace

import pyarrow as pa
import pytest

import data.ingest_tables as ingest_tables
import data.sql_marks as sql_marks
import data.sql_pull as sql_pull
from data.contracts.raw import raw_table
from data.gate import Refused
from data.ingest import ingest
from data.ingest_tables import ingest_table, mark_of, waiting_rows
from data.row_file import RowFile
from data.shop.errors import ShopError, SourceError
from data.sql_pull import pull_whole
from data.sql_source import open_table
from tests.support.shops import GOOD, HEADER, workspace_of, write_shop
from tests.support.tables import (
    VARIABLE,
    WHOLE,
    WITH_WATERMARK,
    PostgresDatabase,
    SqliteDatabase,
    create_orders,
    insert,
    shop_yaml,
)

MORE = (
    "6,bob,a,buy,3,1.5,2024-02-05 10:00:00,y1",
    "7,ann,b,buy,1,2.5,2024-02-06 11:00:00,y2",
    "8,cia,c,look,,,2024-02-07 12:00:00,y3",
)
RAW = raw_table("tills", "events")
FROM = ("file", "file_sha256", "line")


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


def shop_of(tmp_path, yaml=None):
    return workspace_of(write_shop(tmp_path / "shop", yaml=yaml or shop_yaml()), tmp_path / "var")


def raw_rows(workspace, but=FROM):
    kept = ", ".join(name for name in RAW.names if name not in but)
    with workspace.engine.session() as session:
        session.attach(RAW, workspace.lake)
        return session.query(f"select {kept} from {RAW.key} order by all").to_pylist()


def land(workspace):
    """One landing; returns (what it told, its problems, whether anything was new)."""
    told = []
    outcome, problems = ingest_table(workspace, "tills", told.append)
    return told, problems, not outcome.is_reused


def ids(workspace):
    return sorted(row["event_id"] for row in raw_rows(workspace))


def test_several_pulls_hold_the_same_rows_as_a_file(shop_database, tmp_path):
    create_orders(shop_database)
    workspace = shop_of(tmp_path / "table")
    told, problems, is_new = land(workspace)
    assert is_new and not problems and told == ["tills: orders@000001 5, 5 rows"]
    assert land(workspace) == ([], [], False)
    insert(shop_database, [(6, MORE[0])])
    assert land(workspace)[0] == ["tills: orders@000002 6, 1 rows"]
    insert(shop_database, [(7, MORE[1]), (8, MORE[2])])
    assert land(workspace)[0] == ["tills: orders@000003 8, 2 rows"]
    files = workspace_of(write_shop(tmp_path / "files", [*GOOD, *MORE]), tmp_path / "var-of-files")
    ingest(files, "tills", print)
    apart = ("quantity", "value", "occurred_at_text")  # 1.0 in a file, 1.00 or 1 in a table
    assert raw_rows(workspace, (*FROM, *apart)) == raw_rows(files, (*FROM, *apart))
    for row, same in zip(raw_rows(workspace), raw_rows(files), strict=True):
        assert [float(row[c] or 0) for c in apart[:2]] == [float(same[c] or 0) for c in apart[:2]]
    values = {value for row in raw_rows(workspace, ()) for value in row.values()}
    assert not values & {"ann", "bob", "cia"} and "ann" not in workspace.lake.published(RAW.key).notes["pull"]
    assert mark_of(workspace, "tills").rows == 8


def test_a_bad_row_is_named_by_its_pull_and_line(shop_database, tmp_path):
    create_orders(shop_database)
    workspace = shop_of(tmp_path)
    land(workspace)
    insert(shop_database, [(9, MORE[0]), (10, MORE[1].replace("ann", ""))])
    land(workspace)
    [found] = [row for row in raw_rows(workspace, ()) if row["event_id"] == "7"]
    assert (found["file"], found["line"]) == ("orders@000002 10", 2) and len(found["file_sha256"]) == 64


def test_rows_at_the_watermark_are_landed_once_also_when_they_come_later(shop_database, tmp_path):
    create_orders(shop_database, ())
    insert(shop_database, [(1, GOOD[0]), (2, GOOD[1]), (2, GOOD[2])])
    workspace = shop_of(tmp_path)
    land(workspace)
    assert waiting_rows(workspace, "tills") is None
    insert(shop_database, [(2, GOOD[3])])
    assert waiting_rows(workspace, "tills") is not None
    assert land(workspace)[0] == ["tills: orders@000002 2, 1 rows"]
    # the same row twice, one copy each time: a table may hold it twice
    insert(shop_database, [(2, GOOD[3])])
    assert land(workspace)[0] == ["tills: orders@000003 2, 1 rows"]
    assert land(workspace) == ([], [], False)
    assert ids(workspace) == ["1", "2", "3", "4", "4"]
    digests = {row["file_sha256"] for row in raw_rows(workspace, ())}
    assert len(digests) == 3


def test_many_rows_at_the_watermark_are_told_by_their_sum(shop_database, tmp_path, monkeypatch):
    monkeypatch.setattr(sql_marks, "MOST_TIES", 2)
    create_orders(shop_database, ())
    insert(shop_database, [(5, line) for line in GOOD])
    workspace = shop_of(tmp_path)
    land(workspace)
    assert mark_of(workspace, "tills").ties.digests is None
    insert(shop_database, [(6, MORE[0])])
    assert land(workspace)[0] == ["tills: orders@000002 6, 1 rows"]
    workspace = shop_of(tmp_path / "second")
    shop_database.execute("delete from orders where seq > 5")
    land(workspace)
    insert(shop_database, [(5, MORE[1])])
    told, [problem], is_new = land(workspace)
    assert not told and not is_new and "changed among its 5 rows with seq 5" in problem
    assert ids(workspace) == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_order_of_pulls_and_ties_the_raw_table_holds_the_table(shop_database, tmp_path, monkeypatch, seed):
    draw = random.Random(seed)
    monkeypatch.setattr(ingest_tables, "ROWS_PER_COMMIT", draw.choice((1, 2, 7)))
    monkeypatch.setattr(sql_pull, "CHUNK_ROWS", draw.choice((1, 3)))
    monkeypatch.setattr(sql_marks, "MOST_TIES", 4)
    create_orders(shop_database, ())
    workspace, held, at = shop_of(tmp_path), [], 1
    for number in range(30):
        at += draw.choice((0, 0, 1, 3))
        held.append(f"e{number}")
        insert(shop_database, [(at, f"e{number},ann,a,buy,1,{number}.5,2024-01-{1 + number:02d} 10:00:00,x")])
        if draw.random() < 0.4:
            _, problems, _ = land(workspace)
            if problems:  # more ties than are remembered, and one more: said, and mended by the next value
                assert "changed among its" in problems[0]
                return
            assert ids(workspace) == sorted(held)
    land(workspace)
    assert ids(workspace) == sorted(held)


def test_a_kill_between_read_and_publish_reads_again(shop_database, tmp_path, monkeypatch):
    create_orders(shop_database)
    workspace = shop_of(tmp_path)
    monkeypatch.setattr(ingest_tables, "ROWS_PER_COMMIT", 2)
    lake, calls = type(workspace.lake), []
    whole = lake.append

    def killed(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        whole(self, *arguments, **options)

    monkeypatch.setattr(lake, "append", killed)
    with pytest.raises(KeyboardInterrupt):
        land(workspace)
    assert mark_of(workspace, "tills").value == 2 if shop_database.kind == "sqlite" else "2"
    assert ids(workspace) == ["1", "2"]
    assert land(workspace)[0] == ["tills: orders@000002 4, 2 rows", "tills: orders@000003 5, 1 rows"]
    assert ids(workspace) == ["1", "2", "3", "4", "5"]


def test_a_watermark_that_went_backwards_is_one_sentence_and_publishes_nothing(shop_database, tmp_path):
    create_orders(shop_database)
    workspace = shop_of(tmp_path)
    land(workspace)
    before = workspace.lake.published(RAW.key)
    shop_database.execute("delete from orders where seq > 3")
    with pytest.raises(ShopError, match="has 3 as its newest seq, but rows up to 5 were published; restore") as caught:
        land(workspace)
    assert "\n" not in str(caught.value) and waiting_rows(workspace, "tills") is None
    shop_database.execute("delete from orders")
    with pytest.raises(ShopError, match="has no row at all as its newest|has no row at all"):
        land(workspace)
    assert workspace.lake.published(RAW.key) == before


def test_rows_without_a_watermark_value_are_told_and_nothing_is_taken(shop_database, tmp_path):
    create_orders(shop_database)
    workspace = shop_of(tmp_path)
    land(workspace)
    insert(shop_database, [(6, MORE[0]), (None, MORE[1])])
    told, [problem], is_new = land(workspace)
    assert not told and not is_new and "rows without a value of seq" in problem and "NOT NULL" in problem
    shop_database.execute("update orders set seq = 7 where seq is null")
    assert land(workspace)[2] and ids(workspace) == ["1", "2", "3", "4", "5", "6", "7"]


def test_a_column_that_is_gone_or_new(shop_database, tmp_path):
    create_orders(shop_database)
    workspace = shop_of(tmp_path)
    land(workspace)
    shop_database.execute("alter table orders add column colour text")
    insert(shop_database, [(6, MORE[0])])
    told, _, _ = land(workspace)
    assert told[0] == "tills: orders has columns that the shop file does not map and that are left out: 'colour'"
    insert(shop_database, [(7, MORE[1])])
    assert len(land(workspace)[0]) == 1  # told once
    assert workspace.lake.published(RAW.key).notes["unmapped_columns"] == '["colour"]'
    shop_database.execute("alter table orders rename column sku to skus")
    told, [problem], is_new = land(workspace)
    assert not is_new and "has no column 'sku'; map 'skus', or give it its old name" in problem
    shop_database.execute("alter table orders rename column skus to sku", "alter table orders rename column seq to s")
    assert "has no column 'seq'; correct `watermark`" in land(workspace)[1][0]


def test_the_first_landing_of_a_table_without_its_columns_fails(shop_database, tmp_path):
    shop_database.execute("create table orders (seq integer, id text)")
    with pytest.raises(ShopError, match="has no column 'customer', 'sku'"):
        land(shop_of(tmp_path))
    shop_database.execute("drop table orders")
    with pytest.raises(ShopError, match="cannot be read .*orders.*; "):
        land(shop_of(tmp_path))


def test_a_changed_mapping_reads_the_whole_table_again(shop_database, tmp_path):
    create_orders(shop_database)
    land(shop_of(tmp_path))
    changed = shop_yaml().replace("item_id: sku,", "item_id: {column: sku, form: upper},")
    workspace = shop_of(tmp_path, changed)
    assert land(workspace)[0] == ["tills: orders@000001 5, 5 rows"]
    assert {row["item_id"] for row in raw_rows(workspace)} == {"A", "B", "C", "D"}
    shop_database.execute("delete from orders where seq = 1")
    again = shop_of(tmp_path, shop_yaml())
    with pytest.raises(ShopError, match="of the 5 rows read before only 4 are left; put them back, or undo"):
        land(again)
    assert len(raw_rows(again)) == 5


def test_a_table_without_a_watermark_is_replaced_when_its_content_changed(shop_database, tmp_path):
    create_orders(shop_database)
    workspace = shop_of(tmp_path, shop_yaml(WHOLE))
    told, _, _ = land(workspace)
    assert told[0].endswith("left out: 'seq'")
    assert told[1].startswith("tills: orders@") and told[1].endswith(", 5 rows")
    version = workspace.lake.published(RAW.key).version
    # the same rows in another order, and a change of a column that nobody maps
    shop_database.execute("delete from orders where id = '1'")
    insert(shop_database, [(77, GOOD[0])])
    assert land(workspace) == ([], [], False) and workspace.lake.published(RAW.key).version == version
    shop_database.execute("update orders set qty = 9 where id = '2'", "delete from orders where id = '3'")
    assert land(workspace)[2] and ids(workspace) == ["1", "2", "4", "5"]
    shop_database.execute("delete from orders")
    _, [problem], is_new = land(workspace)
    assert not is_new and "holds no rows, but its last 4 stay published" in problem
    assert ids(workspace) == ["1", "2", "4", "5"]


def test_a_query_with_colons_percents_and_comments(shop_database, tmp_path):
    create_orders(shop_database)
    query = "select * from orders where at <> 'x: y' and what like 'b%' and ':no' = ':no' -- only what was bought;"
    if shop_database.kind == "postgresql":
        query = query.replace("at <> 'x: y'", "'2024-01-01'::date < at")
    origin = f'database: ${{SHOP_DATABASE}}\n    query: "{query}"\n    watermark: seq'
    workspace = shop_of(tmp_path, shop_yaml(origin))
    assert land(workspace)[0] == ["tills: tills@000001 5, 4 rows"]
    assert land(workspace) == ([], [], False)


def test_a_table_takes_no_files(shop_database, tmp_path):
    create_orders(shop_database)
    workspace = shop_of(tmp_path)
    folder = workspace.landing / "tills"
    folder.mkdir(parents=True)
    (folder / "more.csv").write_text("\n".join([HEADER, *MORE, ""]))
    _, [problem], is_new = land(workspace)
    assert is_new and "more.csv: source 'tills' is a table and takes no files; remove it" in problem


@pytest.mark.parametrize("origin", [WITH_WATERMARK, WHOLE], ids=["watermark", "whole"])
def test_a_pull_holds_a_bounded_number_of_rows(shop_database, tmp_path, monkeypatch, origin):
    create_orders(shop_database, ())
    numbers = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 50000) "
    at = "timestamp '2024-01-02'" if shop_database.kind == "postgresql" else "'2024-01-02 00:00:00'"
    into = "insert into orders (seq, id, customer, sku, what, qty, paid, at, basket) "
    picked = f"select i, 'e' || i, 'c' || (i - i / 7 * 7), 'a', 'buy', 1, 1.5, {at}, 'x' from n"
    shop_database.execute(into + numbers + picked if shop_database.kind == "postgresql" else numbers + into + picked)
    most = 0
    whole = sql_pull._Writer.add

    def counted(self, row, digest):
        nonlocal most
        whole(self, row, digest)
        most = max(most, len(self.chunk))

    monkeypatch.setattr(sql_pull._Writer, "add", counted)
    parts = []

    def listed(path, schema, given):
        return RowFile.write(path, schema, (parts.append(part.num_rows) or part for part in given))

    monkeypatch.setattr(ingest_tables, "RowFile", SimpleNamespace(write=listed))
    workspace = shop_of(tmp_path, shop_yaml(origin))
    land(workspace)
    found = workspace.lake.published(RAW.key)
    assert most < sql_pull.CHUNK_ROWS and (found.rows, found.version) == (50_000, 0)
    assert sum(parts) == 50_000 and max(parts) <= ingest_tables.ROWS_AT_ONCE
    assert len({row["line"] for row in raw_rows(workspace, ())}) == 50_000


@pytest.mark.parametrize("origin", [WITH_WATERMARK, WHOLE], ids=["watermark", "whole"])
def test_parts_say_of_every_row_what_the_whole_says(shop_database, tmp_path, monkeypatch, origin):
    """Copies of an event without an id are told apart within the whole pull, not within a part of it."""
    yaml = shop_yaml(origin).replace("columns: {event_id: id, ", "duplicates: keep\n    columns: {")
    lines = [(n, GOOD[n % 2]) for n in range(1, 10)] + [(10, GOOD[2].replace("ann", ""))]
    create_orders(shop_database, ())
    insert(shop_database, lines)
    found = []
    for rows_at_once in (ingest_tables.ROWS_AT_ONCE, 2):
        monkeypatch.setattr(ingest_tables, "ROWS_AT_ONCE", rows_at_once)
        workspace = shop_of(tmp_path / str(rows_at_once), yaml)
        assert land(workspace)[2]
        found.append(raw_rows(workspace, ()))
    assert found[0] == found[1] and len({row["event_id"] for row in found[0]}) == 10


def test_a_part_that_fails_its_gate_publishes_nothing_of_the_table(shop_database, tmp_path, monkeypatch):
    """The second part alone is bad: what stood before stands, version and all."""
    create_orders(shop_database)
    workspace = shop_of(tmp_path, shop_yaml(WHOLE))
    land(workspace)
    before, rows = workspace.lake.published(RAW.key), raw_rows(workspace, ())
    monkeypatch.setattr(ingest_tables, "ROWS_AT_ONCE", 2)
    whole, calls = ingest_tables.read_rows_in_parts, []

    def spoilt(*arguments):
        for part in whole(*arguments):
            calls.append(part.num_rows)
            bad = pa.nulls(part.num_rows, pa.string())
            yield part if len(calls) != 2 else part.set_column(RAW.names.index("source"), "source", bad)

    monkeypatch.setattr(ingest_tables, "read_rows_in_parts", spoilt)
    insert(shop_database, [(6, MORE[0])])
    with pytest.raises(Refused, match="source_not_null"):
        land(workspace)
    assert calls == [2, 2, 2] and workspace.lake.published(RAW.key) == before and raw_rows(workspace, ()) == rows


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
