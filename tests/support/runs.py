"""Landing files and running the definitions of a shop in this process, on an instance of its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from data.contracts import TABLES
from data.workspace import Workspace
from tests.support.shops import HEADER

FIRST, LAST = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def days(first: str, last: str | None = None) -> dict[str, str]:
    """Tags of a run about a range of days."""
    return {FIRST: first, LAST: last or first}


WHOLE = days("2024-01-01", "2024-01-09")
"""All days of the corner shop, and some without any event; each one costs Dagster some records of every table."""


def land(workspace: Workspace, name: str, lines: Sequence[str], source: str = "tills") -> Path:
    """Write a file into the landing folder; lines of the tills get their header."""
    path = workspace.landing / source / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([HEADER, *lines, ""] if source == "tills" else [*lines, ""]), encoding="utf-8")
    return path


def rows(workspace: Workspace, key: str, but: Sequence[str] = ("input_version",)) -> list[dict[str, Any]]:
    """All rows of a published table, in order, without what only says what they were made from."""
    kept = ", ".join(f'"{name}"' for name in TABLES[key].names if name not in but)
    with workspace.engine.session() as session:
        session.attach(TABLES[key], workspace.lake)
        return session.query(f"select {kept} from {key} order by all").to_pylist()


def execute(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    job: str = "__ASSET_JOB",
    tags: Mapping[str, str] | None = None,
    only: Sequence[dg.AssetKey] | None = None,
) -> dg.ExecuteInProcessResult:
    """Execute a job, or some assets of it, without raising what a step raises."""
    found = defs.resolve_implicit_global_asset_job_def() if job == "__ASSET_JOB" else defs.resolve_job_def(job)
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return found.execute_in_process(quiet, instance=instance, tags=tags, asset_selection=only, raise_on_error=False)
