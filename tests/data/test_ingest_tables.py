"""Tables as sources, on SQLite and on a real PostgreSQL: every row is landed once, whatever happens in between."""

import random

import pytest

import data.ingest_tables as ingest_tables
import data.sql_marks as sql_marks
import data.sql_pull as sql_pull
from data.ingest import ingest
from data.ingest_tables import mark_of, waiting_rows
from data.shop.errors import ShopError
from tests.support.shops import GOOD, HEADER, workspace_of, write_shop
from tests.support.tables import (
    FROM,
    MORE,
    RAW,
    WHOLE,
    create_orders,
    ids,
    insert,
    land,
    raw_rows,
    shop_of,
    shop_yaml,
)


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
