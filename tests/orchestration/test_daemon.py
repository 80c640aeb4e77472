"""The real daemon, web server and code location on the corner shop: a file lands, and everything follows, once."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import dagster as dg
import pytest

from data.settings import REPOSITORY, Settings
from data.workspace import Workspace, open_workspace
from orchestration.definitions import build_defs
from orchestration.home import prepare_home
from tests.data.test_alerts import receiving
from tests.support.runs import FIRST, LAST, WHOLE, days, execute, land, rows
from tests.support.shops import HEADER, YAML, workspace_of, write_shop

TICK_SECONDS = 5
"""The daemon looks at sensors no more often."""
PATIENCE_SECONDS = 180
NEW = ["20,ann,d,buy,1,12.0,2024-02-05 10:00:00,y1"]
BAD = [f"3{i},ann,a,buy,-1,1.0,2024-02-05 11:00:0{i},y2" for i in range(5)]
LAUNCH = """
mutation ($job: String!, $tags: [ExecutionTag!]!, $assets: [AssetKeyInput!]) {
  launchPipelineExecution(executionParams: {
    selector: {
      repositoryLocationName: "portrait", repositoryName: "__repository__", jobName: $job, assetSelection: $assets
    }
    runConfigData: "{}", mode: "default", executionMetadata: {tags: $tags}
  }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}
"""
SET_CURSOR = """
mutation ($cursor: String) {
  setSensorCursor(cursor: $cursor, sensorSelector: {
    repositoryLocationName: "portrait", repositoryName: "__repository__", sensorName: "landing"
  }) { __typename }
}
"""


def wait(what: str, found: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not found():
        if time.monotonic() > end:
            pytest.fail(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.5)


class Server:
    """`dg dev` in a process group of its own, on a free port."""

    def __init__(self, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [str(Path(sys.executable).parent / "dg"), "dev", "--workspace", "workspace.yaml"]
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(self.port)],
                cwd=REPOSITORY,
                stdout=out,
                stderr=out,
                start_new_session=True,
                # Dagster maps SIGTERM onto SIGINT, which a child of a shell job may have inherited as ignored.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def __enter__(self) -> "Server":
        wait("the web server answers", self.is_up)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        # Workers of runs outlive their parent; they are in its process group.
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def is_up(self) -> bool:
        assert self.process.poll() is None, "dg dev ended by itself"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/server_info", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def ask(self, query: str, **variables: object) -> dict:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.load(answer)
        assert "errors" not in found, found
        return found["data"]


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """The corner shop and the environment of its servers."""
    shop_file = write_shop(tmp_path / "shop")
    settings = Settings(shop_file=shop_file, var=tmp_path / "var", threads=1, memory_limit="1GB")
    monkeypatch.setenv("DAGSTER_HOME", str(settings.dagster_home))
    monkeypatch.setenv("PORTRAIT_KEY", "11" * 32)
    monkeypatch.setenv("PORTRAIT_SHOP", str(shop_file))
    monkeypatch.setenv("PORTRAIT_VAR", str(settings.var))
    monkeypatch.setenv("PORTRAIT_THREADS", "1")
    monkeypatch.setenv("PORTRAIT_TICK_SECONDS", str(TICK_SECONDS))
    prepare_home(settings)
    return open_workspace(settings)


class Watch:
    """What the shared instance and the lake say while the servers work."""

    def __init__(self, workspace: Workspace, instance: dg.DagsterInstance) -> None:
        self.workspace, self.instance = workspace, instance

    def of_file(self, name: str) -> list[dg.DagsterRun]:
        return self.instance.get_runs(dg.RunsFilter(tags={"portrait/file": name}))

    def is_done(self, name: str) -> bool:
        return any(run.is_finished for run in self.of_file(name))

    def profiled_until(self) -> datetime | None:
        found = rows(self.workspace, "profile.profiles")
        return max(row["as_of_utc"] for row in found) if found else None

    def of_profiles(self) -> list[dg.DagsterRun]:
        key = dg.AssetKey(["profile", "profiles"])
        return [run for run in self.instance.get_runs() if key in (run.asset_selection or ())]


def launch(server: Server, job: str, tags: dict[str, str], assets: Sequence[dict] | None = None) -> str:
    """Launch a job, or some assets of it, as the web page does; returns the run's id."""
    tagged = [{"key": key, "value": value} for key, value in tags.items()]
    said = server.ask(LAUNCH, job=job, tags=tagged, assets=assets)
    return said["launchPipelineExecution"]["run"]["runId"]


def page_of(workspace: Workspace) -> str:
    """The page about quality, which a sensor writes; empty before the first."""
    path = workspace.reports / "quality.html"
    return path.read_text(encoding="utf-8") if path.exists() else ""


DAY_ASSETS = [["raw", "tills"], ["core", "events"], ["core", "events_quarantine"], ["features", "daily"]]


@pytest.mark.slow
def test_one_day_is_made_again_from_the_web_page_alone(shop, tmp_path):
    shop.shop.location.write_text(YAML.replace("path: tills.csv", "path: 'tills*.csv'"))
    defs = build_defs(open_workspace(shop.settings))
    with dg.DagsterInstance.get() as instance:
        assert execute(defs, instance, "daily", WHOLE).success
        before = shop.lake.day_versions("core.events")
        late = ["20,ann,d,buy,1,12.0,2024-01-03 10:00:00,y1", "21,ann,d,buy,1,12.0,2024-01-04 10:00:00,y2"]
        (shop.shop.location.parent / "tills_late.csv").write_text("\n".join([HEADER, *late, ""]))
        with Server(tmp_path / "log") as server:
            day = {"dagster/partition": "2024-01-03"}
            run_id = launch(server, "__ASSET_JOB", day, [{"path": path} for path in DAY_ASSETS])
            wait("the launched run ends", lambda: instance.get_run_by_id(run_id).is_finished)
            assert instance.get_run_by_id(run_id).is_success
            wait("the sensor writes the page", lambda: run_id[:8] in page_of(shop))
    now = shop.lake.day_versions("core.events")
    assert [str(d) for d in now if now[d] != before.get(d)] == ["2024-01-03"]
    assert {row["event_id"] for row in rows(shop, "core.events")} == {"1", "2", "3", "4", "5", "20"}


@pytest.mark.slow
def test_a_landed_file_goes_all_the_way_once_and_a_bad_one_stops_at_its_gate(shop, tmp_path, monkeypatch):
    with dg.DagsterInstance.get() as instance:
        watch = Watch(shop, instance)
        assert execute(build_defs(shop), instance, "daily", WHOLE).success
        land(shop, "new.csv", NEW)
        with Server(tmp_path / "log") as server:
            wait("the run of the landed file ends", lambda: watch.is_done("new.csv"))
            wait("automation makes the profiles", lambda: watch.profiled_until() == datetime(2024, 2, 6))
            wait("the run of the profiles ends", lambda: all(run.is_finished for run in watch.of_profiles()))
            server.ask(SET_CURSOR, cursor="}{ damaged")
        (run,) = watch.of_file("new.csv")
        assert run.is_success and {key: run.tags[key] for key in (FIRST, LAST)} == days("2024-02-05")
        assert all(run.is_success for run in watch.of_profiles())
        profiles, n_runs = rows(shop, "profile.profiles", but=()), len(watch.of_profiles())

        with receiving() as (receiver, url):
            monkeypatch.setenv("PORTRAIT_ALERT_WEBHOOK", url)
            with Server(tmp_path / "log"):
                land(shop, "bad.csv", BAD)
                wait("the run of the bad file ends", lambda: watch.is_done("bad.csv"))
                wait("the page says so", lambda: "has a refused batch" in page_of(shop))
                time.sleep(4 * TICK_SECONDS)
        (bad,) = watch.of_file("bad.csv")
        assert bad.is_failure
        assert [(got["run_id"], got["table"]) for _, _, got in receiver.got] == [(bad.run_id, "core.events")]
        assert len(watch.of_file("new.csv")) == 1, "launched again after the restart"
        assert len(watch.of_profiles()) == n_runs, "launched after a failed gate"
        assert rows(shop, "profile.profiles", but=()) == profiles

    twin = workspace_of(write_shop(tmp_path / "twin"), tmp_path / "twin-var")
    defs, instance = build_defs(twin), dg.DagsterInstance.ephemeral()
    assert execute(defs, instance, "daily", WHOLE).success
    land(twin, "new.csv", NEW)
    assert execute(defs, instance, "daily", days("2024-02-05")).success
    for key in ("core.events", "core.events_quarantine", "core.items", "core.users", "features.daily"):
        assert rows(twin, key) == rows(shop, key), key
