"""The landing sensor and objects on S3: one listing a tick, each object hashed and launched once."""

import pytest

from orchestration import sensors
from orchestration.landing import read_cursor
from orchestration.sensors import look_once
from tests.support.runs import FIRST, LAST, days, land
from tests.support.s3 import BUCKET, forget_clients
from tests.support.shops import GOOD, HEADER, YAML, workspace_of, write_shop

NEW = "20,ann,a,buy,1,0.5,2024-02-05 10:00:00,y1\n21,bob,b,buy,1,2.5,2024-02-07 10:00:00,y2\n"


class Ticks:
    """The sensor as the daemon lets it tick: the cursor goes from tick to tick."""

    def __init__(self, workspace):
        self.workspace, self.cursor, self.said = workspace, None, []

    def tick(self):
        done = look_once(self.workspace, self.cursor, self.said.append)
        self.cursor = done.cursor
        return list(done.run_requests)


@pytest.fixture
def ticks(s3, tmp_path):
    yaml = YAML.replace("path: tills.csv", f"path: s3://{BUCKET}/in/*.csv")
    return Ticks(workspace_of(write_shop(tmp_path / "shop", yaml=yaml), tmp_path / "var"))


def test_an_object_is_launched_once_for_its_days_and_a_tick_costs_one_listing(s3, ticks):
    s3.put("in/new.csv", f"{HEADER}\n{NEW}")
    s3.forget()
    assert ticks.tick() == []
    assert s3.asked and all(asked.startswith("LIST") for asked in s3.asked) and len(s3.asked) == 1
    (request,) = ticks.tick()
    assert {key: request.tags[key] for key in (FIRST, LAST)} == days("2024-02-05", "2024-02-07")
    assert request.run_key.startswith("tills:") and request.tags["portrait/file"] == "new.csv"
    s3.forget()
    assert [ticks.tick(), ticks.tick()] == [[], []]
    assert s3.count("^LIST") == len(s3.asked) == 2


def test_a_lost_cursor_asks_under_the_same_key_without_fetching_for_the_digest_again(s3, ticks):
    s3.put("in/new.csv", f"{HEADER}\n{NEW}")
    ticks.tick()
    (before,) = ticks.tick()
    ticks.cursor = None
    forget_clients()
    s3.forget()
    assert ticks.tick() == []
    (again,) = ticks.tick()
    assert again.run_key == before.run_key
    assert s3.count("^GET .*new.csv") == 1  # for its days


def test_an_object_of_the_same_size_that_is_replaced_is_launched_again(s3, ticks):
    s3.put("in/new.csv", f"{HEADER}\n{NEW}")
    ticks.tick()
    (before,) = ticks.tick()
    s3.put("in/new.csv", f"{HEADER}\n{NEW}".replace("2.5", "3.5"))
    assert ticks.tick() == []
    (after,) = ticks.tick()
    assert before.run_key != after.run_key


def test_a_server_that_is_gone_holds_nothing_back_and_nothing_is_forgotten(s3, ticks, monkeypatch):
    s3.put("in/new.csv", f"{HEADER}\n{NEW}")
    ticks.tick()
    assert len(ticks.tick()) == 1
    before = read_cursor(ticks.cursor)
    land(ticks.workspace, "near.csv", GOOD)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    forget_clients()
    assert ticks.tick() == []
    (near,) = ticks.tick()
    assert near.tags["portrait/file"] == "near.csv"
    assert len(ticks.said) == 2 and all("cannot be reached" in said for said in ticks.said)
    assert before.items() <= read_cursor(ticks.cursor).items()
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    forget_clients()
    assert ticks.tick() == []


def test_a_line_that_breaks_is_tried_again_at_the_next_tick(s3, ticks):
    s3.put("in/new.csv", f"{HEADER}\n{NEW}")
    ticks.tick()
    s3.break_off("/new.csv")
    assert ticks.tick() == [] and "new.csv: cannot be reached" in ticks.said[-1]
    s3.break_off(None)
    assert len(ticks.tick()) == 1


def test_a_tick_fetches_no_more_than_it_has_time_for(s3, ticks, monkeypatch):
    monkeypatch.setattr(sensors, "S3_BYTES_PER_TICK", 10)
    for i in range(3):
        s3.put(f"in/{i}.csv", f"{HEADER}\n5{i},ann,a,buy,1,0.5,2024-02-1{i} 10:00:00,y\n")
    assert [len(ticks.tick()) for _ in range(5)] == [0, 1, 1, 1, 0]
