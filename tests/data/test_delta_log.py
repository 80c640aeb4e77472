"""The log of a table: read once for as long as nothing is published, never older than the last commit, bounded."""

import shutil

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from data import delta_log
from data.contracts.schema import Column, Table
from data.lake import Lake

WHOLE = Table(
    key="t.whole", doc="d", privacy="internal", columns=(Column(name="x", type="bigint", doc="x"),), history_days=30
)


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path))


@pytest.fixture
def read(monkeypatch):
    """Addresses of the tables whose logs were read, in order."""
    found = []

    class Counted(DeltaTable):
        def __init__(self, uri, **options):
            found.append(uri)
            super().__init__(uri, **options)

    monkeypatch.setattr(delta_log, "DeltaTable", Counted)
    return found


def publish(lake, x, fingerprint="f"):
    return lake.publish(WHOLE, pa.table({"x": [x]}), fingerprint=fingerprint)


def ask(lake):
    return lake.published("t.whole"), lake.files("t.whole"), lake.columns("t.whole"), lake.standing("t.whole")


def test_a_log_is_read_again_only_after_a_commit(lake, read):
    publish(lake, 1)
    read.clear()
    first = ask(lake)
    assert [ask(lake) for _ in range(5)] == [first] * 5 and len(read) <= 1
    publish(lake, 2)
    read.clear()
    assert ask(lake) != first and len(read) <= 1


def test_what_another_writer_publishes_is_seen_at_once(lake, tmp_path):
    other = Lake(str(tmp_path))
    assert lake.published("t.whole") is None
    for x in range(4):
        expected = publish(other, x, fingerprint=str(x))
        assert lake.published("t.whole") == expected and lake.files("t.whole") == other.files("t.whole")


def test_a_table_that_is_taken_away_and_made_again_is_read_again(lake, tmp_path):
    publish(lake, 1)
    lake.published("t.whole")
    shutil.rmtree(tmp_path / "t")
    assert lake.published("t.whole") is None and lake.files("t.whole") == []
    expected = publish(Lake(str(tmp_path)), 2, fingerprint="again")
    assert expected.version == 0 and lake.published("t.whole") == expected


def test_a_snapshot_that_somebody_holds_does_not_move(lake):
    publish(lake, 1)
    held = lake.open("t.whole")
    publish(lake, 2)
    assert (held.version(), lake.open("t.whole").version()) == (0, 1)


def test_of_an_object_store_no_snapshot_is_kept(tmp_path, read):
    Lake(str(tmp_path)).publish(WHOLE, pa.table({"x": [1]}), fingerprint="f")
    read.clear()
    far = delta_log.Snapshots({})
    uri = f"file://{tmp_path}/t/whole"
    assert [far.newest(uri).version() for _ in range(3)] == [0, 0, 0] and read == [uri] * 3


def test_data_commits_are_all_there_newest_first_and_read_as_far_back_as_is_asked(lake, monkeypatch):
    for x in range(12):
        publish(lake, x, fingerprint=str(x))
        if x % 2:
            lake.vacuum(WHOLE)
    table, limits = lake.open("t.whole"), []
    history = DeltaTable.history
    monkeypatch.setattr(DeltaTable, "history", lambda self, limit=None: limits.append(limit) or history(self, limit))
    found = [(commit["version"], commit["portrait"]) for commit in delta_log.data_commits(table)]
    expected = [(c["version"], c["portrait"]) for c in history(table) if "portrait" in c]
    assert found == expected and len(found) == 12
    limits.clear()
    assert next(delta_log.data_commits(table))["version"] == lake.published("t.whole").version
    assert set(limits) == {delta_log.FIRST_LOOK}
