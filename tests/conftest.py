"""Rules for every test: nothing is written outside a temporary folder; absent services skip, or fail in CI."""

import os
import sys
import tempfile
import threading
from contextlib import contextmanager

import pytest
from absl import logging as absl_logging
from dagster._core.storage.event_log.in_memory import InMemoryEventLogStorage

from tests.support.postgres import database, postgres  # noqa: F401  (fixtures)

os.environ["PORTRAIT_VAR"] = tempfile.mkdtemp(prefix="portrait-tests-")
os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"
# Each process of the tests has a core; torch's threads would wait for those of the other one, and burn as much again.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("PORTRAIT_SHOP", None)
# When logging is configured anew, absl closes the stream that it was imported under, unless it is one of the process's
# own. Under the runner of the command line that would be pytest's.
absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__


_opened_connection = InMemoryEventLogStorage._connect


@contextmanager
def _held_connection(self):
    if threading.current_thread() is not threading.main_thread():  # SQLite's connections stay in their thread
        with _opened_connection(self) as connection:
            yield connection
        return
    with self._db_lock, self._held_conn.begin():
        yield self._held_conn


# Dagster's log in memory opens a connection for every event beside the one that it holds, and asks before every check
# whether its table is there: a tenth of what a run of a small shop costs.
InMemoryEventLogStorage._connect = _held_connection
InMemoryEventLogStorage.has_table = lambda self, table_name: True


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Under `REQUIRE_ALL=1` a skip is a failure: continuous integration must run everything but what needs a GPU."""
    outcome = yield
    report = outcome.get_result()
    is_excused = hasattr(report, "wasxfail") or item.get_closest_marker("cuda") is not None
    if report.skipped and os.environ.get("REQUIRE_ALL") == "1" and not is_excused:
        report.outcome = "failed"
        report.longrepr = f"REQUIRE_ALL=1 and this test was skipped: {report.longrepr}"


@pytest.fixture(scope="session")
def s3_server():
    """One S3 server for all tests of this process."""
    from tests.support.s3 import served

    with served() as server:
        yield server


@pytest.fixture
def s3(s3_server, monkeypatch):
    """An S3 server with an empty bucket, which the environment names; nothing else of AWS is in the environment."""
    from tests.support.s3 import forget_clients

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    forget_clients()
    s3_server.empty()
    yield s3_server
    forget_clients()
