"""The lake on S3: tables as on a disk, commits that exclude each other, errors in one sentence."""

import threading
from datetime import date, datetime

import pyarrow as pa
import pytest

from data.contracts.schema import Column, Table
from data.engine import DuckDB
from data.lake import Lake
from data.lake_errors import LakeError
from data.settings import load_settings
from tests.support.s3 import BUCKET

COLUMNS = tuple(
    Column(name=name, type=kind, doc="x")
    for name, kind in {
        "day": "date",
        "x": "bigint",
        "word": "text",
        "at": "timestamp",
        "is_so": "boolean",
        "share": "double",
        "words": "texts",
        "vector": "vector",
    }.items()
)
DAILY = Table(key="t.daily", doc="d", privacy="internal", columns=COLUMNS, partition_by="day")
WHOLE = Table(key="t.whole", doc="d", privacy="internal", columns=COLUMNS)
ONE, TWO = date(2024, 1, 1), date(2024, 1, 2)


def rows(*pairs: tuple[date, int]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "day": day,
                "x": x,
                "word": f"Käse '{x}'" if x else None,
                "at": datetime(2024, 1, 1, 10 + x, 0, 0, 123456),
                "is_so": x % 2 == 0,
                "share": x / 3,
                "words": ["a", str(x)] if x else [],
                "vector": [x / 7, 1.0],
            }
            for day, x in pairs
        ],
        schema=DAILY.arrow_schema(),
    )


@pytest.fixture
def lake(s3):
    return Lake(f"s3://{BUCKET}/lake")


@pytest.fixture
def engine(tmp_path):
    return DuckDB(tmp_path / "spill", 2, "1GB")


def read(engine, lake, contract, days=None):
    with engine.session() as session:
        session.attach(contract, lake, days)
        return session.query(f"select * from {contract.key} order by all")


@pytest.mark.parametrize("contract", [DAILY, WHOLE])
def test_every_type_comes_back_as_it_does_from_a_disk(s3, lake, engine, tmp_path, contract):
    near = Lake(str(tmp_path / "lake"))
    for one in (near, lake):
        assert one.published(contract.key) is None
        assert read(engine, one, contract).num_rows == 0
        days = [ONE, TWO] if contract.partition_by else None
        one.publish(contract, rows((ONE, 1), (TWO, 2), (TWO, 0)), fingerprint="a", days=days)
    here, there = read(engine, near, contract), read(engine, lake, contract)
    assert there.equals(here) and there.num_rows == 3
    assert near.published(contract.key).rows == lake.published(contract.key).rows == 3


def test_only_the_days_and_columns_that_are_asked_for_are_fetched(s3, lake, engine):
    lake.publish(DAILY, rows((ONE, 1), (TWO, 2)), fingerprint="a", days=[ONE, TWO])
    s3.forget()
    assert read(engine, lake, DAILY, [TWO]).column("x").to_pylist() == [2]
    assert s3.count("GET .*day=2024-01-02") >= 1 and s3.count("GET .*day=2024-01-01") == 0
    assert read(engine, lake, DAILY, []).num_rows == 0
    with engine.session() as session:
        session.attach(DAILY, lake)
        s3.forget()
        assert session.query(f"select x from {DAILY.key} where day = date '2024-01-01'").num_rows == 1
    assert s3.count("GET .*day=2024-01-02") == 0


def test_a_day_is_replaced_the_others_stay_and_a_contract_may_gain_a_column(lake, engine):
    lake.publish(DAILY, rows((ONE, 1), (TWO, 2)), fingerprint="a", days=[ONE, TWO])
    before = lake.day_versions(DAILY.key)
    wider = DAILY.model_copy(update={"columns": (*COLUMNS, Column(name="z", type="text", doc="z"))})
    lake.publish(wider, rows((TWO, 3)).append_column("z", pa.array(["new"])), fingerprint="b", days=[TWO])
    after = lake.day_versions(DAILY.key)
    assert before[ONE] == after[ONE] and before[TWO] != after[TWO]
    found = read(engine, lake, wider).select(["day", "x", "z"]).to_pylist()
    assert [tuple(row.values()) for row in found] == [(ONE, 1, None), (TWO, 3, "new")]


def test_of_two_writers_at_once_one_is_refused_and_nothing_is_corrupted(s3, lake, engine):
    lake.publish(WHOLE, rows((ONE, 1)), fingerprint="a")
    # Both have made their version 1 before either may write it.
    s3.let_meet(f"PUT /{BUCKET}/lake/t/whole/_delta_log/00000000000000000001.json")
    said: list[LakeError] = []

    def write(x):
        try:
            lake.publish(WHOLE, rows((ONE, x)), fingerprint=str(x))
        except LakeError as error:
            said.append(error)

    writers = [threading.Thread(target=write, args=(x,)) for x in (2, 3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert len(said) == 1 and "another writer changed the table meanwhile" in str(said[0])
    assert "\n" not in str(said[0])
    published = lake.published(WHOLE.key)
    assert published.version == 1 and published.rows == 1
    assert read(engine, lake, WHOLE).column("x").to_pylist() == [int(published.fingerprint)]
    lake.publish(WHOLE, rows((ONE, 4)), fingerprint="4")
    assert read(engine, lake, WHOLE).column("x").to_pylist() == [4]


def test_a_place_that_cannot_be_reached_is_one_sentence(s3, monkeypatch):
    with pytest.raises(LakeError, match=r"^s3://nobody/lake/t/whole: cannot be reached \(.*bucket does not exist\); "):
        Lake("s3://nobody/lake").published(WHOLE.key)
    with pytest.raises(LakeError, match=r"^s3://nobody/lake/t/whole: cannot be reached \("):
        Lake("s3://nobody/lake").publish(WHOLE, rows((ONE, 1)), fingerprint="a")


@pytest.mark.parametrize("url", ["/data/lake", "gs://bucket/x", "s3://", "s3://Bucket_X/a", "s3://bucket//a"])
def test_what_is_no_place_on_s3_is_refused(monkeypatch, url):
    monkeypatch.setenv("PORTRAIT_LAKE", url)
    with pytest.raises(ValueError, match="PORTRAIT_LAKE is '.*'; set it to s3://bucket/prefix, or unset it"):
        load_settings()


def test_each_shop_has_a_folder_of_its_own_and_without_the_setting_nothing_changes(monkeypatch):
    monkeypatch.setenv("PORTRAIT_LAKE", "s3://bucket/some/prefix/")
    assert load_settings().lake_of_shop("corner") == "s3://bucket/some/prefix/corner"
    monkeypatch.delenv("PORTRAIT_LAKE")
    settings = load_settings()
    assert settings.lake_of_shop("corner") == str(settings.of_shop("corner") / "lake")
