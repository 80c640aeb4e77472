"""Sensors: new files in the landing folder, and the daemon's look at automation conditions."""

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import duckdb

from data.connectors import SourceFile
from data.contracts.raw import raw_table
from data.ingest import NO_DAY, calendar_days, held_digests
from data.settings import Settings
from data.shop.errors import SourceError
from data.shop.mapping import days_in_file
from data.shop.source import format_of
from data.workspace import Workspace
from orchestration.jobs import DAILY
from orchestration.landing import Look, day_range, identity_of, is_same, read_cursor, run_key, write_cursor

MAX_RUNS_PER_TICK = 20
MAX_BYTES_PER_TICK = 2 << 30
"""A tick that reads too long is cut off and would start over for ever; what is left waits for the next one."""


def look_at(path: Path) -> Look | None:
    """What a file looks like now; None if it has gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Look(size=found.st_size, changed_ns=found.st_mtime_ns)


def landed_files(workspace: Workspace) -> Iterator[tuple[str, Path, Look]]:
    """Every file that a run would read from the landing folder, with its source and what it looks like now.

    Only this folder is listed: a declared path that is missing or far away must not hold the files here back.
    """
    for source in sorted(workspace.shop.sources):
        for folder, _, names in sorted(os.walk(workspace.landing / source)):
            for name in sorted(names):
                if name.startswith((".", "_")) or name.endswith((".tmp", ".part")) or format_of(name) is None:
                    continue
                path = Path(folder) / name
                look = look_at(path)
                if look is not None:
                    yield source, path, look


def days_of_file(workspace: Workspace, source: str, file: SourceFile) -> set[date]:
    """Days whose tables may change when a file enters.

    Returns:
        For events, the days that stand in the file, or none if it cannot be read: its run will say why. Items and
        users are read by every day, so for them it is every landed day.
    """
    sources = workspace.shop.sources
    if sources[source].kind != "events":
        tables = [raw_table(name, s.kind) for name, s in sources.items() if s.kind == "events"]
        return {day for table in tables for day in workspace.lake.day_versions(table.key)} - {NO_DAY}
    try:
        with duckdb.connect(config={"threads": workspace.settings.threads}) as connection:
            return days_in_file(connection, workspace.shop, source, file)
    except (SourceError, duckdb.Error):
        return set()


def request(workspace: Workspace, source: str, file: SourceFile, identity: str) -> dg.RunRequest:
    """The run for one new file: it covers the days that the file touches."""
    first, last = day_range(days_of_file(workspace, source, file), *calendar_days(workspace))
    return dg.RunRequest(
        run_key=run_key(source, identity),
        tags={
            "dagster/asset_partition_range_start": first.isoformat(),
            "dagster/asset_partition_range_end": last.isoformat(),
            "portrait/file": file.name,
        },
    )


def look_once(workspace: Workspace, cursor: str | None) -> dg.SensorResult:
    """One tick: request a run for every file that is complete, unknown to its raw table, and not launched before.

    Args:
        workspace: the shop.
        cursor: of the last tick, in whatever state.

    Returns:
        Requests and the next cursor.
    """
    before = read_cursor(cursor)
    looks: dict[str, Look] = {}
    requests: dict[str, dg.RunRequest] = {}
    held: dict[str, set[str]] = {}
    n_bytes = 0
    for source, path, now in landed_files(workspace):
        name = str(path.relative_to(workspace.landing))
        seen = before.get(name)
        looks[name] = now
        if seen is None or not is_same(now, seen):
            continue
        if seen.identity is not None:
            looks[name] = seen
            continue
        if n_bytes > MAX_BYTES_PER_TICK or len(requests) >= MAX_RUNS_PER_TICK:
            continue
        n_bytes += now.size
        file = SourceFile(str(path), now.size)
        identity = identity_of(name, now, _sha256(file))
        if source not in held:
            held[source] = held_digests(workspace, source)
        key = run_key(source, identity)
        found = None if identity in held[source] or key in requests else request(workspace, source, file, identity)
        after = look_at(path)
        if after is None or not is_same(after, now):
            continue
        looks[name] = now.model_copy(update={"identity": identity})
        if found is not None:
            requests[key] = found
    return dg.SensorResult(run_requests=list(requests.values()), cursor=write_cursor(looks))


def _sha256(file: SourceFile) -> str | None:
    """Digest of the bytes; None if they cannot be read, which the run will report."""
    try:
        return file.sha256
    except SourceError:
        return None


def build_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """The sensors, looking as often as the settings say."""

    @dg.sensor(
        job=DAILY,
        name="landing",
        minimum_interval_seconds=settings.tick_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Launches one run for each new, complete file under landing/<source>/.",
    )
    def landing(context: dg.SensorEvaluationContext, workspace: dg.ResourceParam[Workspace]) -> dg.SensorResult:
        return look_once(workspace, context.cursor)

    automation = dg.AutomationConditionSensorDefinition(
        "automation",
        target=dg.AssetSelection.all(),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=settings.tick_seconds,
        description="Carries a change downstream, as assets/automation.py says.",
    )
    return [landing, automation]
