"""Rules for every test: nothing is written outside a temporary folder; absent services skip, or fail in CI."""

import os
import tempfile

import pytest

os.environ["PORTRAIT_VAR"] = tempfile.mkdtemp(prefix="portrait-tests-")
os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"
os.environ.pop("PORTRAIT_SHOP", None)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Under `REQUIRE_ALL=1` a skip is a failure: continuous integration must run everything."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("REQUIRE_ALL") == "1" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"REQUIRE_ALL=1 and this test was skipped: {report.longrepr}"
