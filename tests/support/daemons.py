"""The daemon of a proof: it loads `tests/support/corrupting.py`, looks often, and executes what it launches itself."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from data.settings import REPOSITORY

PATIENCE_SECONDS = 300
INSTANCE = """\
telemetry: {enabled: false}
python_logs: {python_log_level: ERROR}
run_coordinator:
  module: dagster._core.run_coordinator
  class: QueuedRunCoordinator
  config: {max_concurrent_runs: 1, dequeue_interval_seconds: 1}
run_launcher:
  module: dagster._core.launcher.sync_in_memory_run_launcher
  class: SyncInMemoryRunLauncher
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
event_log_storage:
  module: orchestration.event_log
  class: EventLog
  config:
    home: {env: DAGSTER_HOME}
"""
"""Runs are executed by the daemon's own process, so that libraries are loaded once and not for each of all the runs."""
DAEMON = """
from dagster._daemon import asset_daemon, controller, sensor
asset_daemon.MIN_INTERVAL_LOOP_SECONDS, sensor.MIN_INTERVAL_LOOP_TIME = 1, 0.5
controller.RELOAD_WORKSPACE_INTERVAL = 3600
from dagster._daemon.cli import create_dagster_daemon_cli
create_dagster_daemon_cli()(["run", "-m", "tests.support.corrupting", "-d", "."])
"""
"""The daemon, looking every second and not every five, and not starting a new code server every minute."""


@contextmanager
def daemon(log: Path) -> Iterator[None]:
    """The daemon and its code server, in a process group of their own."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", DAEMON],
            cwd=REPOSITORY,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        yield
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def wait(what: str, found: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Ask again and again; the test fails if the answer stays no."""
    end = time.monotonic() + seconds
    while not found():
        if time.monotonic() > end:
            pytest.fail(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.2)
