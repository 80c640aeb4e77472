"""The landing sensor on real files: every new file is launched once, for its days, whatever happens around it."""

import json
import logging
import os
import shutil
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from data.connectors import resolve_files
from data.contracts import TABLES
from data.contracts.core import EVENTS, EVENTS_QUARANTINE
from data.workspace import Workspace
from orchestration import sensors
from orchestration.definitions import build_defs
from orchestration.sensors import landed_files
from tests.support.runs import FIRST, LAST, WHOLE, days, execute, land, rows
from tests.support.shops import CATALOGUE, GOOD, workspace_of, write_shop

NEW = ("20,ann,a,buy,1,0.5,2024-02-05 10:00:00,y1", "21,bob,b,buy,1,2.5,2024-02-07 10:00:00,y2")


class Sensor:
    """The sensor of the definitions, ticking as the daemon lets it tick: the cursor goes from tick to tick."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursor: str | None = None
        self.restart()

    def restart(self) -> None:
        self.defs = build_defs(self.workspace)
        self.sensor = self.defs.resolve_sensor_def("landing")

    def tick(self) -> list[dg.RunRequest]:
        resources = {"workspace": self.workspace}
        context = dg.build_sensor_context(self.instance, cursor=self.cursor, resources=resources)
        done = self.sensor.evaluate_tick(context)
        self.cursor = done.cursor
        return list(done.run_requests or [])

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        return execute(self.defs, self.instance, "daily", request.tags)


def versions(workspace: Workspace, key: str) -> dict[date, str]:
    with workspace.engine.session() as session:
        session.attach(TABLES[key], workspace.lake)
        found = session.query(f"select distinct day, input_version from {key} order by day").to_pylist()
    return {row["day"]: row["input_version"] for row in found}


@pytest.fixture
def sensor(tmp_path):
    return Sensor(workspace_of(write_shop(tmp_path / "shop"), tmp_path / "var"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A shop whose first files have been landed; copied by `landed`, never changed."""
    folder = tmp_path_factory.mktemp("made")
    workspace = workspace_of(write_shop(folder / "shop"), folder / "var")
    assert execute(build_defs(workspace), dg.DagsterInstance.ephemeral(), "daily", WHOLE).success
    return folder


@pytest.fixture
def landed(made, tmp_path):
    shutil.copytree(made, tmp_path / "copy")
    return Sensor(workspace_of(tmp_path / "copy" / "shop" / "shop.yaml", tmp_path / "copy" / "var"))


def test_nothing_landed_launches_nothing(sensor):
    assert [sensor.tick(), sensor.tick()] == [[], []]


def test_a_new_file_is_launched_once_for_exactly_its_days_also_after_a_restart(sensor):
    land(sensor.workspace, "new.csv", NEW)
    assert sensor.tick() == []
    (request,) = sensor.tick()
    assert {key: request.tags[key] for key in (FIRST, LAST)} == days("2024-02-05", "2024-02-07")
    assert request.tags["portrait/file"] == "new.csv" and request.run_key.startswith("tills:")
    assert sensor.tick() == []
    sensor.restart()
    assert [sensor.tick(), sensor.tick(), sensor.tick()] == [[], [], []]


def test_a_file_that_is_still_being_written_waits(sensor):
    path = land(sensor.workspace, "slow.csv", NEW[:1])
    assert sensor.tick() == []
    with path.open("a", encoding="utf-8") as file:
        file.write(NEW[1] + "\n")
    assert sensor.tick() == []
    os.utime(path, ns=(1, 1))
    assert sensor.tick() == []
    (request,) = sensor.tick()
    assert request.tags[LAST] == "2024-02-07"


def test_a_file_that_changes_while_it_is_looked_into_waits_and_is_launched_with_its_last_bytes(sensor, monkeypatch):
    path = land(sensor.workspace, "slow.csv", NEW[:1])
    sensor.tick()
    whole = sensors.days_of_file

    def interrupted(workspace, source, file):
        days = whole(workspace, source, file)
        land(workspace, "slow.csv", NEW)
        return days

    monkeypatch.setattr(sensors, "days_of_file", interrupted)
    assert sensor.tick() == []
    monkeypatch.setattr(sensors, "days_of_file", whole)
    assert sensor.tick() == []
    (request,) = sensor.tick()
    assert request.tags[LAST] == "2024-02-07" and path.exists()


def test_a_file_that_is_replaced_is_launched_again(sensor):
    land(sensor.workspace, "same-name.csv", NEW[:1])
    sensor.tick()
    (before,) = sensor.tick()
    land(sensor.workspace, "same-name.csv", NEW)
    assert sensor.tick() == []
    (after,) = sensor.tick()
    assert before.run_key != after.run_key


def test_a_lost_cursor_asks_under_the_same_run_key_and_after_the_run_not_at_all(landed):
    land(landed.workspace, "new.csv", NEW)
    landed.tick()
    (before,) = landed.tick()
    landed.cursor = None
    assert landed.tick() == []
    (again,) = landed.tick()
    assert again.run_key == before.run_key
    assert landed.run(before).success
    landed.cursor = None
    assert [landed.tick(), landed.tick(), landed.tick()] == [[], [], []]


DAMAGED = {
    "garbage": "}{ not json",
    "another shape": json.dumps([{"path": "tills/new.csv"}]),
    "wrong types": json.dumps({"tills/new.csv": {"size": "many", "changed_ns": []}}),
    "a claim without an identity": json.dumps({"tills/new.csv": {"size": 1, "changed_ns": 1, "identity": True}}),
    "of an older program": json.dumps({"tills/new.csv": 1700000000.0}),
}


@pytest.mark.parametrize("cursor", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_cursor_costs_one_tick_and_nothing_else(sensor, cursor):
    land(sensor.workspace, "new.csv", NEW)
    sensor.cursor = cursor
    assert sensor.tick() == []
    assert len(sensor.tick()) == 1
    assert sensor.tick() == []


def test_the_same_bytes_under_another_name_are_launched_once(landed):
    land(landed.workspace, "one.csv", NEW)
    land(landed.workspace, "two.csv", NEW)
    landed.tick()
    (request,) = landed.tick()
    assert landed.run(request).success
    land(landed.workspace, "three.csv", NEW)
    shutil.copy(landed.workspace.shop.location.parent / "tills.csv", landed.workspace.landing / "tills" / "first.csv")
    assert [landed.tick(), landed.tick(), landed.tick()] == [[], [], []]


def test_items_and_users_are_launched_for_every_landed_day(landed):
    land(landed.workspace, "more.csv", (CATALOGUE.strip(), "e,Egg,Food,Dairy,Farm,0.3"), source="catalogue")
    land(landed.workspace, "more.csv", ("customer,town", "cia,Kiel"), source="members")
    landed.tick()
    requests = landed.tick()
    assert {r.run_key.split(":")[0] for r in requests} == {"catalogue", "members"}
    assert {(r.tags[FIRST], r.tags[LAST]) for r in requests} == {("2024-01-02", "2024-01-04")}
    assert all(landed.run(r).success for r in requests)
    assert len(rows(landed.workspace, "core.items")) == 5
    assert len(rows(landed.workspace, "core.users")) == 3
    assert [landed.tick(), landed.tick()] == [[], []]


BROKEN = {
    "packing.csv.gz": b"\x1f\x8b\x08\x00 cut short",
    "columns.csv": b"a,b\n1,2\n",
    "empty.csv": b"",
    "table.parquet": b"PAR1 is not enough",
}


def test_broken_files_are_launched_once_each_say_why_and_hold_nothing_back(landed):
    for name, content in BROKEN.items():
        path = landed.workspace.landing / "tills" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    landed.tick()
    broken = landed.tick()
    assert {r.tags["portrait/file"] for r in broken} == set(BROKEN)
    assert {(r.tags[FIRST], r.tags[LAST]) for r in broken} == {("2024-01-01", "2024-01-01")}
    result = landed.run(broken[0])
    said = "\n".join(e.user_message for e in landed.instance.all_logs(result.run_id) if e.level >= logging.ERROR)
    assert all(name in said for name in BROKEN)
    land(landed.workspace, "good.csv", NEW)
    assert landed.tick() == []
    (good,) = landed.tick()
    assert good.tags["portrait/file"] == "good.csv"
    assert landed.run(good).success
    assert len(rows(landed.workspace, "core.events")) == len(GOOD) + len(NEW)
    assert landed.tick() == []


def test_rows_of_days_outside_the_calendar_are_launched_and_set_aside(landed):
    name = "Käse & co, 'Mai' (1) #2.csv"
    many = [f"3{i},ann,a,buy,1,0.5,2024-02-05 10:00:{i:02d},y1" for i in range(40)]
    land(landed.workspace, name, (*many, "90,ann,a,buy,1,0.5,2031-01-01 10:00:00,z", "91,ann,a,buy,1,0.5,soon,z"))
    landed.tick()
    (request,) = landed.tick()
    assert {key: request.tags[key] for key in (FIRST, LAST)} == days("2024-02-05")
    assert request.tags["portrait/file"] == name
    assert landed.run(request).success
    assert {r["reason"] for r in rows(landed.workspace, "core.events_quarantine")} == {
        "time_in_future",
        "unparsable_time",
    }


def test_the_sensor_sees_the_files_that_a_run_reads_and_no_others(sensor):
    for name in (
        "a.csv",
        "b.csv.gz",
        ".hidden.csv",
        "_SUCCESS",
        "c.csv.tmp",
        "d.csv.part",
        "notes.pdf",
        "deep/e.JSONL",
    ):
        land(sensor.workspace, name, NEW)
    landing = sensor.workspace.landing
    read = {f.path for f in resolve_files(sensor.workspace.shop, "tills", landing) if f.path.startswith(str(landing))}
    assert {str(path) for _, path, _ in landed_files(sensor.workspace)} == read
    assert {Path(p).name for p in read} == {"a.csv", "b.csv.gz", "e.JSONL"}


def test_a_declared_file_that_is_missing_does_not_hold_the_landing_folder_back(sensor):
    (sensor.workspace.shop.location.parent / "tills.csv").unlink()
    land(sensor.workspace, "new.csv", NEW)
    sensor.tick()
    assert len(sensor.tick()) == 1


def test_many_files_are_spread_over_ticks_and_each_is_launched_once(sensor, monkeypatch):
    monkeypatch.setattr(sensors, "MAX_RUNS_PER_TICK", 2)
    for i in range(5):
        land(sensor.workspace, f"{i}.csv", (f"5{i},ann,a,buy,1,0.5,2024-02-1{i} 10:00:00,y",))
    found = [sensor.tick() for _ in range(5)]
    assert [len(f) for f in found] == [0, 2, 2, 1, 0]
    assert len({r.run_key for f in found for r in f}) == 5


def test_a_tick_reads_no_more_than_it_has_time_for(sensor, monkeypatch):
    monkeypatch.setattr(sensors, "MAX_BYTES_PER_TICK", 10)
    for i in range(3):
        land(sensor.workspace, f"{i}.csv", (f"5{i},ann,a,buy,1,0.5,2024-02-1{i} 10:00:00,y",))
    assert [len(sensor.tick()) for _ in range(5)] == [0, 1, 1, 1, 0]


def test_the_launched_run_writes_the_days_of_the_file_and_no_others(landed):
    workspace = landed.workspace
    before = {
        key: (versions(workspace, key), workspace.lake.day_versions(key)) for key in (EVENTS.key, "features.daily")
    }
    table = workspace.lake.published(EVENTS.key).version
    old = rows(workspace, EVENTS.key)
    late = ("30,ann,d,buy,1,12.0,2024-01-03 18:00:00,l1",)
    land(workspace, "late.csv", (*late, NEW[0]))
    landed.tick()
    (request,) = landed.tick()
    assert (request.tags[FIRST], request.tags[LAST]) == ("2024-01-03", "2024-02-05")
    assert landed.run(request).success
    touched = {date(2024, 1, 3), date(2024, 2, 5)}
    for key, (made_from, files) in before.items():
        after = versions(workspace, key), workspace.lake.day_versions(key)
        for old_side, new_side in zip((made_from, files), after, strict=True):
            assert set(new_side) == set(old_side) | touched
            assert {d for d in new_side if new_side[d] != old_side.get(d)} == touched
    assert workspace.lake.published(EVENTS.key).version == table + 1
    history = workspace.lake.open(EVENTS.key).history(1)[0]
    assert history["operationParameters"]["predicate"].count("2024-") == 2
    ids = {r["event_id"] for r in rows(workspace, EVENTS.key)} - {r["event_id"] for r in old}
    assert ids == {"30", "20"}


def test_the_same_events_again_change_nothing_but_the_duplicates_in_quarantine(landed):
    workspace = landed.workspace
    before = {key: rows(workspace, key) for key in (EVENTS.key, "features.daily")}
    assert rows(workspace, EVENTS_QUARANTINE.key) == []
    land(workspace, "again.csv", tuple(reversed(GOOD)))
    landed.tick()
    (request,) = landed.tick()
    assert landed.run(request).success
    assert {key: rows(workspace, key) for key in before} == before
    aside = rows(workspace, EVENTS_QUARANTINE.key)
    assert len(aside) == len(GOOD) and {r["reason"] for r in aside} == {"duplicate"}


def test_a_link_to_nothing_holds_nothing_back(sensor):
    land(sensor.workspace, "good.csv", NEW).with_name("gone.csv").symlink_to("nowhere.csv")
    sensor.tick()
    (request,) = sensor.tick()
    assert request.tags["portrait/file"] == "good.csv"
