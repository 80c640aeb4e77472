"""A run in this process: the right days, alone on its shop, with an answer whatever happens."""

import io
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import dagster as dg
import pytest

from data.settings import REPOSITORY
from data.shop.errors import ShopError, SourceError
from orchestration.definitions import build_defs
from orchestration.launch import (
    HOME_TAG,
    PID_TAG,
    STATE_TAG,
    days_to_run,
    execute,
    is_complete,
    report_dead,
    state_of,
)
from orchestration.progress import is_expected, sentence_of
from orchestration.turn import Busy, alone
from tests.support.holding import holding
from tests.support.shops import HEADER, YAML, workspace_of, write_shop

CORE = [dg.AssetKey(["raw", name]) for name in ("tills", "catalogue", "members")] + [
    dg.AssetKey(["core", name])
    for name in ("events", "events_quarantine", "items", "items_quarantine", "users", "users_quarantine")
]


@pytest.fixture
def workspace(tmp_path):
    return workspace_of(write_shop(tmp_path / "shop"), tmp_path / "var")


def land(workspace, name, lines, source="tills"):
    folder = workspace.landing / source
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join([HEADER, *lines, ""]), encoding="utf-8")


def test_a_run_makes_the_tables_and_a_second_one_finds_them_up_to_date(workspace):
    instance, out = dg.DagsterInstance.ephemeral(), io.StringIO()
    first = execute(workspace, instance, out, only=CORE)
    assert not first.failed
    assert set(first.made) == {".".join(key.path) for key in CORE} and first.up_to_date == ()
    lines = out.getvalue().splitlines()
    assert lines[0] == "Shop corner, 2024-01-01 to 2024-01-04"
    assert any(line.endswith("core.events: published (5 rows, version 0, 3 days rewritten)") for line in lines)
    assert all(" s  " in line for line in lines[1:]) and "STEP_" not in out.getvalue()
    second = execute(workspace, instance, io.StringIO(), only=CORE)
    assert second.made == () and set(second.up_to_date) == set(first.made)


def test_a_refused_batch_is_an_answer_with_the_gate_s_sentence(workspace):
    land(workspace, "bad.csv", [f"n{i},ann,a,buy,-1,0.5,2024-01-02 11:00:{i:02d},z" for i in range(10)])
    out = io.StringIO()
    ran = execute(workspace, dg.DagsterInstance.ephemeral(), out, only=CORE)
    [failed] = ran.failed
    assert failed.asset == "core.events" and failed.is_expected
    assert "quarantine_share" in failed.sentence and "negative_quantity" in failed.sentence
    assert "Traceback" not in failed.sentence and "core.events_quarantine" not in ran.made
    assert "failed: core.events" in out.getvalue()


def test_days_reach_from_the_calendar_s_start_to_the_last_day_of_any_file(workspace):
    assert days_to_run(workspace) == (date(2024, 1, 1), date(2024, 1, 4))
    execute(workspace, dg.DagsterInstance.ephemeral(), io.StringIO(), only=CORE)
    assert days_to_run(workspace) == (date(2024, 1, 1), date(2024, 1, 4))
    land(workspace, "late.csv", ["9,ann,a,buy,1,1.0,2024-02-10 10:00:00,y", "8,ann,a,buy,1,1.0,2031-02-10 10:00:00,y"])
    assert days_to_run(workspace) == (date(2024, 1, 1), date(2024, 2, 10))


def test_named_days_are_taken_and_wrong_ones_refused(workspace):
    day = date(2024, 3, 5)
    assert days_to_run(workspace, day, day) == (day, day)
    assert days_to_run(workspace, last=day) == (date(2024, 1, 1), day)
    assert days_to_run(workspace, first=day) == (day, day)
    for first, last, said in [
        (date(2023, 12, 31), None, "2023-12-31 lies outside the calendar, 2024-01-01 to 2024-03-31"),
        (date(2024, 2, 2), date(2024, 2, 1), "2024-02-01 comes before 2024-02-02"),
    ]:
        with pytest.raises(ShopError, match=said):
            days_to_run(workspace, first, last)


def test_one_named_day_is_made_again_and_no_other(workspace):
    instance = dg.DagsterInstance.ephemeral()
    execute(workspace, instance, io.StringIO(), only=CORE)
    before = workspace.lake.day_versions("core.events")
    land(workspace, "late.csv", [f"2{d},ann,d,buy,1,12.0,2024-01-0{d} 10:00:00,y" for d in (3, 4)])
    day, other = date(2024, 1, 3), date(2024, 1, 4)
    execute(workspace, instance, io.StringIO(), day, day, CORE)
    made = workspace.lake.day_versions("core.events")
    assert made[day] != before[day] and made[other] == before[other]
    execute(workspace, instance, io.StringIO(), only=CORE)  # what was left is still stale, and not forgotten
    now = workspace.lake.day_versions("core.events")
    assert now[day] == made[day] and now[other] != before[other]


def test_a_shop_without_timestamps_has_one_constant_day(tmp_path):
    yaml = YAML.replace("    time: at\n", "").replace("calendar: {start: 2024-01-01, end: 2024-03-31}\n", "")
    yaml = yaml.replace("evaluation: {test_start: 2024-03-01, test_days: 28}\n", "")
    workspace = workspace_of(write_shop(tmp_path / "shop", yaml=yaml), tmp_path / "var")
    first, last = days_to_run(workspace)
    assert first == last
    ran = execute(workspace, dg.DagsterInstance.ephemeral(), io.StringIO(), only=CORE)
    assert not ran.failed and workspace.lake.published("core.events").rows == 5


def test_after_a_complete_run_only_days_of_new_event_files_are_covered(workspace):
    execute(workspace, dg.DagsterInstance.ephemeral(), io.StringIO(), only=CORE)
    assert days_to_run(workspace, complete=True) == (date(2024, 1, 4), date(2024, 1, 4))
    land(workspace, "late.csv", ["9,ann,a,buy,1,1.0,2024-01-03 10:00:00,y"])
    assert days_to_run(workspace, complete=True) == (date(2024, 1, 3), date(2024, 1, 3))
    land(workspace, "undated.csv", ["10,ann,a,buy,1,1.0,soon,y"])
    assert days_to_run(workspace, complete=True) == (date(2024, 1, 3), date(2024, 1, 3))
    folder = workspace.landing / "catalogue"
    folder.mkdir()
    (folder / "more.csv").write_text("sku,name,department,kind,brand,price\ne,Egg,Food,Farm,Hen,1\n")
    assert days_to_run(workspace, complete=True) == (date(2024, 1, 1), date(2024, 1, 4))


@dg.job
def nothing():
    pass


def test_a_run_counts_as_complete_only_if_it_was_the_last_and_succeeded_in_the_same_state(workspace):
    from orchestration.definitions import build_defs

    instance, state = dg.DagsterInstance.ephemeral(), state_of(workspace, build_defs(workspace))
    assert not is_complete(instance, state)
    nothing.execute_in_process(instance=instance, tags={STATE_TAG: state})
    assert is_complete(instance, state)
    shop = workspace.shop.location
    shop.write_text(shop.read_text().replace("time: at", "time: {column: at, timezone: Europe/Berlin}"))
    assert not is_complete(instance, state_of(workspace, build_defs(workspace)))
    nothing.execute_in_process(instance=instance)
    assert not is_complete(instance, state)


def test_another_time_zone_moves_the_last_day_of_a_landed_file(tmp_path):
    shop = write_shop(tmp_path / "shop", ["1,ann,a,buy,1,1.0,2024-01-05 23:30:00,x"])
    workspace = workspace_of(shop, tmp_path / "var")
    execute(workspace, dg.DagsterInstance.ephemeral(), io.StringIO(), only=CORE)
    assert days_to_run(workspace)[1] == date(2024, 1, 5)
    shop.write_text(YAML.replace("time: at", "time: {column: at, timezone: America/New_York}"))
    assert days_to_run(workspace_of(shop, tmp_path / "var"))[1] == date(2024, 1, 6)


RUN = """
import sys, time
import dagster as dg
from orchestration.launch import execute
from orchestration.turn import alone
from tests.support.shops import workspace_of
from pathlib import Path
workspace = workspace_of(Path(sys.argv[1]), Path(sys.argv[2]))
with alone(workspace), dg.DagsterInstance.ephemeral() as instance:
    for failed in execute(workspace, instance, sys.stdout).failed:
        print("FAILED", failed.asset, failed.is_expected, failed.sentence, flush=True)
"""


def test_a_signal_stops_a_run_with_one_sentence(workspace):
    command = [sys.executable, "-c", RUN, str(workspace.shop.location), str(workspace.settings.var)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True) as runner:
        for line in runner.stdout:
            if "core.items: published" in line:
                runner.send_signal(signal.SIGTERM)
            if line.startswith("FAILED"):
                assert " True It was stopped by a signal; what is published stays" in line
                break
        else:
            pytest.fail("the run did not say how it ended")
    assert workspace.lake.published("core.items") is not None


def test_a_missing_source_file_is_an_error_before_anything_runs(workspace):
    (workspace.shop.location.parent / "catalogue.csv").unlink()
    instance = dg.DagsterInstance.ephemeral()
    with pytest.raises(SourceError, match="sources.catalogue.path"):
        execute(workspace, instance, io.StringIO())
    assert instance.get_runs() == []


def test_two_processes_never_work_on_one_shop_and_a_killed_one_holds_nothing(workspace):
    with holding(workspace) as holder:
        with pytest.raises(Busy, match=f"process {holder.pid};"), alone(workspace):
            pass
        holder.send_signal(signal.SIGKILL)
    with alone(workspace):
        assert (workspace.home / "run.lock").read_text() == str(os.getpid())


def test_a_run_of_the_daemon_waits_for_the_command_line_which_sees_it(workspace, tmp_path):
    """A job executed without `alone` is what the daemon and the web page launch."""
    job, instance = build_defs(workspace).resolve_job_def("main"), dg.DagsterInstance.local_temp(str(tmp_path))
    tags = {f"dagster/asset_partition_range_{end}": "2024-01-01" for end in ("start", "end")}
    said, ran = [], []

    def launched():
        ran.append(
            job.execute_in_process(instance=instance, tags=tags, asset_selection=[dg.AssetKey(["raw", "tills"])])
        )

    with holding(workspace) as holder, ThreadPoolExecutor(1) as pool:
        run = pool.submit(launched)
        while not said and not run.done():
            logs = [entry.user_message for one in instance.get_runs() for entry in instance.all_logs(one.run_id)]
            said = [message for message in logs if f"process {holder.pid}; this run waits" in message]
        assert workspace.lake.published("raw.tills") is None
        holder.communicate("go\n")
        run.result()
    assert said and ran[0].success and workspace.lake.published("raw.tills") is not None


def test_runs_that_died_without_a_word_are_reported_and_no_others(workspace):
    instance = dg.DagsterInstance.ephemeral()

    def run(status, **tags):
        return instance.create_run_for_job(nothing, status=status, tags=tags).run_id

    here = {HOME_TAG: str(workspace.home), PID_TAG: "1"}  # a process of that number does exist
    dead = run(dg.DagsterRunStatus.STARTED, **here)
    done = run(dg.DagsterRunStatus.SUCCESS, **here)
    mine = run(dg.DagsterRunStatus.STARTED, **{**here, PID_TAG: str(os.getpid())})
    elsewhere = run(dg.DagsterRunStatus.STARTED, **{**here, HOME_TAG: "/elsewhere"})
    from_ui = run(dg.DagsterRunStatus.STARTED)
    assert report_dead(instance, workspace) == [dead]
    status = {run_id: instance.get_run_by_id(run_id).status.value for run_id in (dead, done, mine, elsewhere, from_ui)}
    assert list(status.values()) == ["FAILURE", "SUCCESS", "STARTED", "STARTED", "STARTED"]
    assert report_dead(instance, workspace) == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (dg.Failure("The gate says: no."), "The gate says: no."),
        (SourceError("a.csv", "is empty", "deliver it again"), "a.csv: is empty; deliver it again."),
        (ZeroDivisionError("division by zero"), None),
    ],
)
def test_expected_errors_are_one_sentence_and_others_keep_their_traceback(error, said):
    @dg.op
    def breaks():
        raise error

    @dg.job
    def broken():
        breaks()

    result = broken.execute_in_process(instance=dg.DagsterInstance.ephemeral(), raise_on_error=False)
    [event] = [e for e in result.all_events if e.is_step_failure]
    assert is_expected(event) == (said is not None)
    if said is not None:
        assert sentence_of(event) == said
    else:
        assert "ZeroDivisionError" in sentence_of(event) and "raise error" in sentence_of(event)
