"""A pull is mapped, proved and published in parts, and nobody can tell."""

from types import SimpleNamespace

import pyarrow as pa
import pytest

import data.ingest_tables as ingest_tables
import data.sql_pull as sql_pull
from data.gate import Refused
from data.row_file import RowFile
from tests.support.shops import GOOD
from tests.support.tables import (
    MORE,
    RAW,
    WHOLE,
    WITH_WATERMARK,
    create_orders,
    insert,
    land,
    raw_rows,
    shop_of,
    shop_yaml,
)


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
