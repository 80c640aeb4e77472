"""Sensors: new files in the landing folder, and the daemon's look at automation conditions."""

import os
from collections.abc import Iterator
from datetime import date

import dagster as dg
import duckdb

from data.connectors import SourceFile, resolve_files
from data.ingest import calendar_days, held_digests
from data.shop.errors import SourceError
from data.shop.mapping import days_in_file
from data.workspace import Workspace
from orchestration.jobs import DAILY
from orchestration.landing import Look, day_range, is_complete, read_cursor, run_key, write_cursor

MAX_RUNS_PER_TICK = 20


def landed_files(workspace: Workspace) -> Iterator[tuple[str, SourceFile, Look]]:
    """Every file in the landing folder with its source and what it looks like now."""
    for source in workspace.shop.sources:
        if not (workspace.landing / source).is_dir():
            continue
        for file in resolve_files(workspace.shop, source, workspace.landing):
            if not file.path.startswith(str(workspace.landing)):
                continue
            try:
                stat = os.stat(file.path)
            except FileNotFoundError:
                continue
            yield source, file, Look(size=stat.st_size, changed_ns=stat.st_mtime_ns)


def days_of_file(workspace: Workspace, source: str, file: SourceFile) -> set[date]:
    """Days that an event file touches; none for other kinds, or where the file cannot be read (the run will say why)."""
    if workspace.shop.sources[source].kind != "events":
        return set()
    try:
        with duckdb.connect() as connection:
            return days_in_file(connection, workspace.shop, source, file)
    except SourceError:
        return set()


@dg.sensor(
    job=DAILY,
    name="landing",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Launches one run for each new, complete file under landing/<source>/.",
)
def landing(context: dg.SensorEvaluationContext, workspace: dg.ResourceParam[Workspace]) -> dg.SensorResult:
    """Look at the landing folder once."""
    before = read_cursor(context.cursor)
    looks: dict[str, Look] = {}
    requests: list[dg.RunRequest] = []
    held: dict[str, set[str]] = {}
    for source, file, now in landed_files(workspace):
        looks[file.path] = now
        seen = before.get(file.path)
        if not is_complete(now, seen) or len(requests) >= MAX_RUNS_PER_TICK:
            continue
        digest = seen.sha256 if seen and seen.sha256 else file.sha256
        looks[file.path] = now.model_copy(update={"sha256": digest})
        if source not in held:
            held[source] = held_digests(workspace, source)
        if digest in held[source] or (seen and seen.sha256):
            continue
        first, last = day_range(days_of_file(workspace, source, file), *calendar_days(workspace))
        requests.append(
            dg.RunRequest(
                run_key=run_key(source, file),
                tags={
                    "dagster/asset_partition_range_start": first.isoformat(),
                    "dagster/asset_partition_range_end": last.isoformat(),
                    "portrait/file": file.name,
                },
            )
        )
    return dg.SensorResult(run_requests=requests, cursor=write_cursor(looks))


AUTOMATION = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
)

SENSORS = [landing, AUTOMATION]
