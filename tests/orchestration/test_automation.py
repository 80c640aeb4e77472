"""Automation carries a change downstream, once, through passed gates; jobs and the schedule hold what they say."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from assets.automation import on_new_data
from data.contracts.core import ITEMS
from orchestration.definitions import build_defs
from tests.support.lakes import age_removals
from tests.support.runs import WHOLE, days, execute, land, rows
from tests.support.shops import workspace_of, write_shop

AFTER_DAILY = {
    "features.checkpoint",
    "features.state",
    "features.recency_frequency_monetary",
    "features.interest",
    "features.sessions",
    "features.price_sensitivity",
    "features.sequence",
    "profile.profiles",
}
DAILY = ("raw.tills", "core.events", "core.events_quarantine", "features.daily")
LANDED = days("2024-01-02", "2024-01-04")
NEW = ("20,ann,a,buy,1,0.5,2024-02-05 10:00:00,y1",)
BAD = [f"3{i},ann,a,buy,-1,0.5,2024-02-06 10:00:0{i},y2" for i in range(5)]


class Daemon:
    """The looks at automation conditions that the daemon takes, and the runs between them."""

    def __init__(self, workspace):
        self.workspace = workspace
        self.defs = build_defs(workspace)
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursor = None

    def tick(self) -> set[str]:
        """What is requested in the layers that need no learning."""
        found = dg.evaluate_automation_conditions(self.defs, self.instance, cursor=self.cursor)
        self.cursor = found.cursor
        keys = self.defs.resolve_asset_graph().get_all_asset_keys()
        requested = {".".join(key.path) for key in keys if found.get_num_requested(key)}
        return {key for key in requested if key.split(".")[0] in ("raw", "core", "features", "profile")}

    def daily(self, tags=LANDED) -> bool:
        """What the daily job does for new events; items and users are left alone, which saves a second."""
        only = [dg.AssetKey(key.split(".")) for key in DAILY]
        return execute(self.defs, self.instance, "daily", tags, only=only).success

    def begin(self, key: str) -> dg.DagsterRun:
        """A run that has begun to make a table and is not done."""
        job, keys = self.defs.resolve_implicit_global_asset_job_def(), {dg.AssetKey(key.split("."))}
        return self.instance.create_run_for_job(
            job.get_subset(asset_selection=keys),
            asset_selection=keys,
            tags=days("2024-02-05"),
            status=dg.DagsterRunStatus.STARTED,
        )

    def make(self, *keys: str) -> bool:
        only = [dg.AssetKey(key.split(".")) for key in keys]
        return execute(self.defs, self.instance, tags=LANDED, only=only).success


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A shop that is made up to its profiles; copied by `daemon`, never changed."""
    folder = tmp_path_factory.mktemp("made")
    daemon = Daemon(workspace_of(write_shop(folder / "shop"), folder / "var"))
    assert execute(daemon.defs, daemon.instance, "daily", WHOLE).success
    assert daemon.make(*AFTER_DAILY)
    return folder


@pytest.fixture
def fresh(made, tmp_path):
    """A daemon that looks at the shop for the first time."""
    shutil.copytree(made, tmp_path / "copy")
    return Daemon(workspace_of(tmp_path / "copy" / "shop" / "shop.yaml", tmp_path / "copy" / "var"))


@pytest.fixture
def daemon(fresh):
    """A daemon that has seen everything being made."""
    assert fresh.tick() == set()
    assert execute(fresh.defs, fresh.instance, "daily", LANDED).success
    assert fresh.tick() == AFTER_DAILY
    assert fresh.tick() == set()
    assert fresh.make(*AFTER_DAILY)
    assert [fresh.tick(), fresh.tick()] == [set(), set()]
    return fresh


def test_the_first_look_asks_for_nothing_in_a_shop_without_data(tmp_path):
    daemon = Daemon(workspace_of(write_shop(tmp_path / "shop"), tmp_path / "var"))
    assert [daemon.tick(), daemon.tick()] == [set(), set()]


def test_a_new_day_asks_for_what_follows_and_what_was_up_to_date_or_failed_its_gate_for_nothing(daemon):
    assert daemon.daily()
    assert daemon.tick() == set()
    land(daemon.workspace, "new.csv", NEW)
    assert daemon.daily(days("2024-02-05"))
    assert daemon.tick() == AFTER_DAILY
    assert daemon.make(*AFTER_DAILY)
    assert daemon.tick() == set()
    kept = {key: rows(daemon.workspace, key) for key in ("core.events", "features.daily", "profile.profiles")}
    land(daemon.workspace, "bad.csv", BAD)
    assert not daemon.daily(days("2024-02-06"))
    assert [daemon.tick(), daemon.tick()] == [set(), set()]
    assert {key: rows(daemon.workspace, key) for key in kept} == kept


def test_a_change_is_neither_forgotten_nor_asked_for_twice_when_it_meets_an_older_one_in_one_tick(daemon):
    land(daemon.workspace, "one.csv", NEW)
    assert daemon.daily(days("2024-02-05"))
    assert daemon.tick() == AFTER_DAILY
    assert daemon.make(*AFTER_DAILY)
    land(daemon.workspace, "two.csv", ["21,bob,a,buy,1,0.5,2024-02-07 10:00:00,y3"])
    assert daemon.daily(days("2024-02-07"))
    assert daemon.tick() == AFTER_DAILY, "the change came after the tables were made"
    land(daemon.workspace, "three.csv", ["22,bob,a,buy,1,0.5,2024-02-08 10:00:00,y4"])
    assert daemon.daily(days("2024-02-08")) and daemon.make(*AFTER_DAILY)
    assert [daemon.tick(), daemon.tick()] == [set(), set()], "the run that was waiting has read it already"


def test_one_run_of_everything_asks_for_nothing_more(daemon):
    land(daemon.workspace, "new.csv", NEW)
    graph = daemon.defs.resolve_asset_graph()
    only = [key for key in graph.materializable_asset_keys if key.path[0] in ("raw", "core", "features", "profile")]
    assert execute(daemon.defs, daemon.instance, tags=days("2024-02-05"), only=only).success
    assert [daemon.tick(), daemon.tick()] == [set(), set()]


def test_nothing_is_asked_for_while_it_or_what_it_reads_is_being_made(daemon):
    land(daemon.workspace, "new.csv", NEW)
    assert daemon.daily(days("2024-02-05"))
    run = daemon.begin("features.daily")
    assert [daemon.tick(), daemon.tick()] == [set(), set()]
    daemon.instance.report_run_failed(run)
    assert daemon.tick() == set(), "a gate that did not come to its end has not passed"
    assert daemon.daily(days("2024-02-05"))
    run = daemon.begin("features.state")
    assert daemon.tick() == {"features.checkpoint"}
    daemon.instance.report_run_failed(run)
    assert daemon.tick() == AFTER_DAILY - {"features.checkpoint"}


def checked(name, deps=(), automation=None, tags=None, refused=lambda: False, version=lambda: "1"):
    """An asset with one blocking check, which a refused batch fails as those of tables do: nothing is published."""
    checks = [dg.AssetCheckSpec("gate", asset=name, blocking=True)]

    @dg.multi_asset(
        name=name,
        specs=[dg.AssetSpec(name, deps=list(deps), automation_condition=automation, tags=tags)],
        check_specs=checks,
    )
    def made():
        result = dg.AssetCheckResult(passed=not refused(), asset_key=name, check_name="gate")
        if refused():
            yield result
            raise dg.Failure("refused")
        yield dg.MaterializeResult(name, data_version=dg.DataVersion(version()), check_results=[result])

    return made


def test_what_a_refused_batch_kept_from_running_does_not_hold_back_what_follows_the_next_good_one():
    batch = {"version": "1", "refused": False}
    landed = checked("landed", refused=lambda: batch["refused"], version=lambda: batch["version"])
    learnt = checked("learnt", ["landed"], tags={"portrait/class": "release"})
    defs = dg.Definitions(assets=[landed, learnt, checked("shown", ["landed", "learnt"], on_new_data())])
    instance, cursor = dg.DagsterInstance.ephemeral(), None

    def asked() -> bool:
        nonlocal cursor
        found = dg.evaluate_automation_conditions(defs, instance, cursor=cursor)
        cursor = found.cursor
        return bool(found.get_num_requested(dg.AssetKey("shown")))

    assert not asked()
    assert execute(defs, instance, only=[dg.AssetKey("landed")]).success
    assert not asked(), "what was never learnt has not passed"
    assert execute(defs, instance).success and not asked()
    batch |= {"version": "2", "refused": True}
    assert not execute(defs, instance).success and not asked()
    batch |= {"refused": False}
    assert execute(defs, instance, only=[dg.AssetKey("landed")]).success
    assert asked(), "nothing that lands makes `learnt` again"
    assert not asked()


def test_nothing_after_a_failed_gate_runs_in_the_same_run(fresh):
    events = dg.AssetKey(["core", "events"])
    before = {key: fresh.workspace.lake.published(key).version for key in ("core.events", *AFTER_DAILY)}
    kept = rows(fresh.workspace, "profile.profiles")
    land(fresh.workspace, "bad.csv", BAD)
    graph = fresh.defs.resolve_asset_graph()
    after = {key for key in graph.materializable_asset_keys if events in graph.get_ancestor_asset_keys(key)}
    only = [*after, *(key for key in graph.materializable_asset_keys if key.path[0] in ("raw", "core"))]
    result = execute(fresh.defs, fresh.instance, "main", days("2024-02-06"), only=only)
    assert {key for key in AFTER_DAILY if dg.AssetKey(key.split(".")) not in after} == set()
    assert [e.step_key for e in result.all_events if e.is_step_failure] == ["core__events"]
    started = {e.step_key for e in result.all_events if e.event_type_value == "STEP_START"}
    raw = {"raw__tills", "raw__catalogue", "raw__members"}
    assert started == raw | {"core__items", "core__users", "core__corrections", "core__events"}
    assert {key: fresh.workspace.lake.published(key).version for key in before} == before
    assert rows(fresh.workspace, "profile.profiles") == kept


def test_the_weekly_refresh_is_due_on_mondays_runs_and_does_not_train(fresh):
    schedule = fresh.defs.resolve_schedule_def("weekly_refresh")
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 3 * * 1", "UTC")
    context = dg.build_schedule_context(fresh.instance, scheduled_execution_time=datetime(2024, 2, 5, 3, tzinfo=UTC))
    (request,) = schedule.evaluate_tick(context).run_requests
    job = fresh.defs.resolve_job_def(schedule.job_name)
    keys = {".".join(key.path) for key in job.asset_layer.executable_asset_keys}
    assert keys >= AFTER_DAILY
    assert {key.split(".")[0] for key in keys} <= {"features", "profile", "out"}
    assert job.partitions_def is None
    only = [dg.AssetKey(key.split(".")) for key in keys if not key.startswith("out.")]
    result = execute(fresh.defs, fresh.instance, schedule.job_name, request.tags, only=only)
    assert result.success
    made = {".".join(e.asset_key.path) for e in result.get_asset_materialization_events() if e.asset_key}
    assert made == AFTER_DAILY


def test_the_command_line_can_give_any_job_a_range_of_days(fresh):
    """`dg launch --job main --partition-range a...b` asks this of every asset of the job, partitioned or not."""
    graph = fresh.defs.resolve_asset_graph()
    policies = {".".join(key.path): graph.get(key).backfill_policy for key in graph.materializable_asset_keys}
    assert {key for key, policy in policies.items() if policy != dg.BackfillPolicy.single_run()} == set()


def test_the_weekly_maintenance_deletes_what_is_past_its_time_and_nothing_that_is_published(fresh):
    schedule = fresh.defs.resolve_schedule_def("weekly_maintenance")
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    lake, kept = fresh.workspace.lake, rows(fresh.workspace, "core.items")
    lake.publish(ITEMS, pa.Table.from_pylist(kept), fingerprint="again")
    before = lake.published("core.items")
    age_removals(lake, "core.items", 31)
    files = set(Path(lake.uri("core.items")).glob("*.parquet"))
    assert fresh.defs.resolve_job_def(schedule.job_name).execute_in_process(instance=fresh.instance).success
    assert len(files) == 2 and set(Path(lake.uri("core.items")).glob("*.parquet")) < files
    assert lake.published("core.items") == before and rows(fresh.workspace, "core.items") == kept
