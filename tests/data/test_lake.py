"""The lake: whole tables and days are replaced atomically, versions are of content, wrong data never gets in."""

from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from data.contracts.schema import Column, Table
from data.fingerprint import content_digest
from data.lake import Lake
from tests.support.lakes import age_removals

DAY = Column(name="day", type="date", doc="d")
X = Column(name="x", type="bigint", doc="x")
DAILY = Table(key="t.daily", doc="d", privacy="internal", columns=(DAY, X), partition_by="day")
WHOLE = Table(key="t.whole", doc="d", privacy="internal", columns=(X,))
ONE, TWO = date(2024, 1, 1), date(2024, 1, 2)


def rows(*pairs):
    return pa.table({"day": pa.array([d for d, _ in pairs], pa.date32()), "x": [x for _, x in pairs]})


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path))


def read(lake, key):
    import duckdb

    files = lake.files(key)
    return (
        sorted(duckdb.sql(f"select day, x from read_parquet({files!r}, hive_partitioning=true)").fetchall())
        if files
        else []
    )


def test_a_day_is_replaced_and_the_others_stay(lake):
    lake.publish(DAILY, rows((ONE, 1), (TWO, 2)), fingerprint="a", days=[ONE, TWO])
    before = lake.day_versions("t.daily")
    lake.publish(DAILY, rows((TWO, 3)), fingerprint="b", days=[TWO])
    after = lake.day_versions("t.daily")
    assert read(lake, "t.daily") == [(ONE, 1), (TWO, 3)]
    assert before[ONE] == after[ONE] and before[TWO] != after[TWO]
    assert len(lake.files("t.daily", [ONE])) == 1


@pytest.mark.parametrize("name", ["my shop", "Läden"])
def test_a_folder_may_have_any_name(tmp_path, name):
    lake = Lake(str(tmp_path / name))
    lake.publish(DAILY, rows((ONE, 1)), fingerprint="f", days=[ONE])
    assert read(lake, DAILY.key) == [(ONE, 1)]


def test_a_day_can_become_empty(lake):
    lake.publish(DAILY, rows((ONE, 1), (TWO, 2)), fingerprint="a", days=[ONE, TWO])
    lake.publish(DAILY, rows(), fingerprint="b", days=[ONE])
    assert read(lake, "t.daily") == [(TWO, 2)]


def test_rows_of_other_days_are_refused_before_anything_is_written(lake):
    lake.publish(DAILY, rows((ONE, 1)), fingerprint="a", days=[ONE])
    with pytest.raises(ValueError, match="2024-01-02.*other days"):
        lake.publish(DAILY, rows((TWO, 2)), fingerprint="b", days=[ONE])
    assert read(lake, "t.daily") == [(ONE, 1)] and lake.published("t.daily").version == 0


def test_the_same_content_keeps_its_version_of_content(lake):
    first = lake.publish(WHOLE, pa.table({"x": [1, 2, 2]}), fingerprint="a")
    again = lake.publish(WHOLE, pa.table({"x": [2, 1, 2]}), fingerprint="b")
    other = lake.publish(WHOLE, pa.table({"x": [2, 1]}), fingerprint="c")
    assert first.content == again.content != other.content
    assert (again.fingerprint, again.rows, other.rows) == ("b", 3, 2)


def test_digest_tells_null_from_values_and_counts_repeats():
    tables = [pa.table({"x": pa.array(x, pa.int64())}) for x in ([1, 1], [1], [1, None], [None, None], [])]
    assert len({content_digest(t) for t in tables}) == len(tables)


@pytest.mark.parametrize("bad", [pa.table({"y": [1]}), pa.table({"x": [1], "y": [1]}), pa.table({"x": ["a"]})])
def test_columns_and_types_must_fit_the_contract(lake, bad):
    with pytest.raises(ValueError, match="t.whole"):
        lake.publish(WHOLE, bad, fingerprint="a")
    assert lake.published("t.whole") is None


def test_a_contract_may_gain_a_column(lake):
    lake.publish(DAILY, rows((ONE, 1), (TWO, 2)), fingerprint="a", days=[ONE, TWO])
    wider = DAILY.model_copy(update={"columns": (*DAILY.columns, Column(name="z", type="text", doc="z"))})
    lake.publish(wider, rows((TWO, 5)).append_column("z", pa.array(["new"])), fingerprint="b", days=[TWO])
    assert read(lake, "t.daily") == [(ONE, 1), (TWO, 5)] and "z" in lake.columns("t.daily")


def parquet_files(lake, key):
    return len(list(Path(lake.uri(key)).rglob("*.parquet")))


def test_replaced_rows_stay_readable_for_the_days_of_the_contract_and_then_go(lake):
    lake.publish(WHOLE, pa.table({"x": [1]}), fingerprint="a")
    lake.publish(WHOLE, pa.table({"x": [2]}), fingerprint="b")
    before = lake.published("t.whole")
    age_removals(lake, "t.whole", 29)
    assert lake.vacuum(WHOLE) == 0 and parquet_files(lake, "t.whole") == 2
    age_removals(lake, "t.whole", 2)
    assert lake.vacuum(WHOLE) == 1 and parquet_files(lake, "t.whole") == 1
    assert lake.published("t.whole") == before, "a clean-up is no new version and loses no notes"
    for _ in range(4):
        lake.vacuum(WHOLE)
    assert lake.published("t.whole") == before


def test_a_checkpoint_of_the_log_forgets_no_file_that_is_to_go(lake):
    lake.publish(WHOLE, pa.table({"x": [1]}), fingerprint="a")
    lake.publish(WHOLE, pa.table({"x": [2]}), fingerprint="b")
    [kept] = lake.files("t.whole")
    age_removals(lake, "t.whole", 29)
    lake.open("t.whole").create_checkpoint()
    assert lake.vacuum(WHOLE) == 0, "a checkpoint is no reason to delete early"
    assert lake.vacuum(WHOLE.model_copy(update={"history_days": 28})) == 1
    assert [str(path) for path in Path(lake.uri("t.whole")).glob("*.parquet")] == [kept]


def test_a_table_of_before_learns_for_how_long_removed_files_are_known(lake):
    whole = pa.table({"x": [1]})
    write_deltalake(lake.uri("t.whole"), whole, configuration={"delta.logRetentionDuration": "interval 3650 days"})
    lake.publish(WHOLE, pa.table({"x": [2]}), fingerprint="b")
    before = lake.published("t.whole")
    lake.vacuum(WHOLE)
    assert lake.published("t.whole") == before
    properties = lake.open("t.whole").metadata().configuration
    assert properties["delta.deletedFileRetentionDuration"] == "interval 395 days"
    assert properties["delta.logRetentionDuration"] == "interval 3650 days"
    version = lake.open("t.whole").version()
    lake.vacuum(WHOLE)
    assert lake.open("t.whole").version() == version


def test_what_is_kept_for_ever_is_kept(lake):
    kept = WHOLE.model_copy(update={"history_days": None})
    lake.publish(kept, pa.table({"x": [1]}), fingerprint="a")
    lake.publish(kept, pa.table({"x": [2]}), fingerprint="b")
    age_removals(lake, "t.whole", 4000)
    assert lake.vacuum(kept) == 0 and parquet_files(lake, "t.whole") == 2


SHA = Column(name="file_sha256", type="text", doc="f")
RAW = Table(key="t.raw", doc="d", privacy="internal", columns=(DAY, X, SHA), partition_by="day")


def landed(sha, *pairs):
    return rows(*pairs).append_column("file_sha256", pa.array([sha] * len(pairs), pa.string()))


def files_in(lake):
    import duckdb

    query = "select day, x, file_sha256 from read_parquet({!r}, hive_partitioning=true)"
    return sorted(duckdb.sql(query.format(lake.files("t.raw"))).fetchall())


def test_the_rows_of_one_file_leave_and_others_come_in_one_commit_that_says_why(lake):
    three = date(2024, 1, 3)
    lake.append(RAW, pa.concat_tables([landed("a", (ONE, 1), (TWO, 2)), landed("b", (TWO, 3))]), fingerprint="1")
    lake.append(RAW, landed("c", (three, 4)), fingerprint="2", notes={"mapping": "m"})
    before, version = lake.day_versions("t.raw"), lake.published("t.raw").version
    lake.replace_files(RAW, landed("d", (ONE, 5)), ["b"], fact={"why": "b was wrong"})
    found = lake.published("t.raw")
    assert files_in(lake) == [(ONE, 1, "a"), (ONE, 5, "d"), (TWO, 2, "a"), (three, 4, "c")]
    assert found.version == version + 1 and found.notes["mapping"] == "m"
    now = lake.day_versions("t.raw")
    assert [d for d in now if now[d] != before[d]] == [ONE, TWO]


def test_what_stands_is_carried_by_every_later_commit_and_two_writers_lose_neither(lake):
    lake.append(RAW, landed("a", (ONE, 1)), fingerprint="1")
    lake.replace_files(RAW, RAW.arrow_schema().empty_table(), ["a"], fact={"n": 1})
    for number in range(3):
        lake.append(RAW, landed(f"x{number}", (TWO, number)), fingerprint="2", overwrite=number == 1)
    assert lake.standing("t.raw") == [{"n": 1}] and lake.published("t.raw").notes["standing"] == '[{"n": 1}]'
    lake.replace_files(RAW, RAW.arrow_schema().empty_table(), ["a"], fact={"n": 2})
    # a writer that looked before that commit, and writes after it
    lake.append(RAW, landed("y", (TWO, 9)), fingerprint="3", notes={"standing": '[{"n": 1}]'})
    assert lake.standing("t.raw") == [{"n": 1}, {"n": 2}] and lake.standing("t.daily") == []
    lake.append(RAW, landed("z", (TWO, 9)), fingerprint="4")
    assert lake.published("t.raw").notes["standing"] == '[{"n": 1}, {"n": 2}]'
