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
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from data.contracts import TABLES
from data.settings import REPOSITORY, Settings
from data.workspace import open_workspace
from orchestration.definitions import build_defs
from orchestration.home import prepare_home
from tests.support.runs import FIRST, LAST, WHOLE, days, execute, land, rows
from tests.support.shops import workspace_of, write_shop

KEY = "11" * 32
TICK_SECONDS = 2
PATIENCE_SECONDS = 180
LAUNCH = """
mutation ($job: String!, $tags: [ExecutionTag!]!) {
  launchPipelineExecution(executionParams: {
    selector: {repositoryLocationName: "portrait", repositoryName: "__repository__", jobName: $job}
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

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [str(Path(sys.executable).parent / "dg"), "dev", "--workspace", "workspace.yaml"]
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(self.port)],
                cwd=REPOSITORY,
                env=environment,
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
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            pass
        finally:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
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


@pytest.mark.slow
def test_a_landed_file_goes_all_the_way_once_and_a_bad_one_stops_at_its_gate(tmp_path, monkeypatch):
    for name in ("DAGSTER_HOME", "PORTRAIT_KEY"):
        monkeypatch.setenv(name, {"DAGSTER_HOME": str(tmp_path / "home"), "PORTRAIT_KEY": KEY}[name])
    shop_file = write_shop(tmp_path / "shop")
    settings = Settings(shop_file=shop_file, var=tmp_path / "var", threads=1, memory_limit="1GB")
    workspace = open_workspace(settings)
    home = prepare_home(settings)
    environment = {
        **os.environ,
        "PORTRAIT_SHOP": str(shop_file),
        "PORTRAIT_VAR": str(settings.var),
        "PORTRAIT_THREADS": "1",
        "PORTRAIT_TICK_SECONDS": str(TICK_SECONDS),
    }
    profiles = lambda: rows(workspace, "profile.profiles", but=())  # noqa: E731
    with dg.DagsterInstance.from_config(str(home)) as instance:

        def runs(**tags: str) -> list[dg.DagsterRun]:
            return instance.get_runs(dg.RunsFilter(tags={k.replace("_", "/", 1): v for k, v in tags.items()}))

        def is_idle() -> bool:
            return all(run.is_finished for run in instance.get_runs())

        with Server(environment, tmp_path / "log") as server:
            launched = server.ask(LAUNCH, job="daily", tags=[{"key": k, "value": v} for k, v in WHOLE.items()])
            run_id = launched["launchPipelineExecution"]["run"]["runId"]
            wait("the launched run ends", lambda: instance.get_run_by_id(run_id).is_finished)
            assert instance.get_run_by_id(run_id).is_success
            wait("automation makes the profiles", lambda: workspace.lake.published("profile.profiles") and is_idle())
            before = profiles()
            land(workspace, "new.csv", ["20,ann,d,buy,1,12.0,2024-02-05 10:00:00,y1"])
            wait("the sensor launches the file", lambda: runs(portrait_file="new.csv"))
            wait("automation makes the profiles again", lambda: profiles() != before and is_idle())
            server.ask(SET_CURSOR, cursor="}{ damaged")
        (run,) = runs(portrait_file="new.csv")
        assert run.is_success and {k: run.tags[k] for k in (FIRST, LAST)} == days("2024-02-05")
        after = profiles()

        with Server(environment, tmp_path / "log"):
            land(workspace, "bad.csv", [f"3{i},ann,a,buy,-1,1.0,2024-02-05 11:00:0{i},y2" for i in range(5)])
            wait("the sensor launches the bad file", lambda: runs(portrait_file="bad.csv") and is_idle())
            n_runs = len(instance.get_runs())
            time.sleep(6 * TICK_SECONDS)
        (bad,) = runs(portrait_file="bad.csv")
        assert bad.is_failure
        assert len(runs(portrait_file="new.csv")) == 1
        assert len(instance.get_runs()) == n_runs, "nothing was launched after the gate had failed"
        assert profiles() == after

    twin = workspace_of(write_shop(tmp_path / "twin"), tmp_path / "twin-var")
    assert execute(build_defs(twin), dg.DagsterInstance.ephemeral(), "daily", WHOLE).success
    land(twin, "new.csv", ["20,ann,d,buy,1,12.0,2024-02-05 10:00:00,y1"])
    assert execute(build_defs(twin), dg.DagsterInstance.ephemeral(), "daily", days("2024-02-05")).success
    for key in ("core.events", "core.items", "core.users", "core.events_quarantine", "features.daily"):
        assert rows(twin, key) == rows(workspace, key), key
