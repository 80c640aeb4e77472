"""Sensors: new files in the landing folder and on S3, new rows of tables, and the daemon's look at automation."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import dagster as dg
import duckdb

from data.connectors import S3_SCHEMES, SourceFile, s3_files
from data.ingest import calendar_days, known_digests, landed_days
from data.quality_report import write_quality_report
from data.settings import Settings
from data.shop.errors import ShopError, SourceError
from data.shop.mapping import days_in_file
from data.shop.source import format_of
from data.workspace import Workspace
from orchestration import tables
from orchestration.jobs import DAILY
from orchestration.landing import Look, day_range, identity_of, is_same, read_cursor, run_key, write_cursor

HOME_TAG = "portrait/home"
"""Tag of runs of `portrait run`, which look after themselves."""

MAX_RUNS_PER_TICK = 20
MAX_BYTES_PER_TICK = 2 << 30
"""A tick that reads too long is cut off and would start over for ever; what is left waits for the next one."""
S3_BYTES_PER_TICK = 256 << 20
"""The same for files on S3, which are fetched to be hashed, and once more for their days."""


@dataclass(frozen=True)
class Arrival:
    """One file that a run would read, as this tick sees it."""

    source: str
    """Name of its source."""
    name: str
    """What the cursor calls it."""
    file: SourceFile
    """The file."""
    look: Look
    """What it looks like."""

    @property
    def is_near(self) -> bool:
        """Whether it is in the landing folder, not on S3."""
        return self.look.mark is None

    @property
    def limit(self) -> int:
        """Bytes of its kind after which a tick reads no more."""
        return MAX_BYTES_PER_TICK if self.is_near else S3_BYTES_PER_TICK

    def stands(self) -> bool:
        """Whether it has not moved while it was looked into; on S3 the next listing tells."""
        now = look_at(Path(self.file.path)) if self.is_near else self.look
        return now is not None and is_same(now, self.look)


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
    for source, declared in sorted(workspace.shop.sources.items()):
        if declared.is_table:
            continue
        for folder, _, names in sorted(os.walk(workspace.landing / source)):
            for name in sorted(names):
                if name.startswith((".", "_")) or name.endswith((".tmp", ".part")) or format_of(name) is None:
                    continue
                path = Path(folder) / name
                look = look_at(path)
                if look is not None:
                    yield source, path, look


def near_arrivals(workspace: Workspace) -> Iterator[Arrival]:
    """Every file of the landing folder that a run would read."""
    for source, path, now in landed_files(workspace):
        yield Arrival(source, str(path.relative_to(workspace.landing)), SourceFile(str(path), now.size), now)


def s3_arrivals(
    workspace: Workspace, before: Mapping[str, Look], log: Callable[[str], None]
) -> tuple[list[Arrival], dict[str, Look]]:
    """Every object that a run would read from S3, from one listing for each declared path.

    A server that does not answer must not hold anything back: it is asked once in a tick, and what was known about
    its files is kept.

    Args:
        workspace: the shop.
        before: the looks of the last tick.
        log: receives a sentence about what cannot be listed.

    Returns:
        The objects, and the looks to keep of the sources that were not listed.
    """
    found: list[Arrival] = []
    kept: dict[str, Look] = {}
    is_up = True
    for source in sorted(workspace.shop.sources):
        files: list[SourceFile] = []
        is_listed = False
        if is_up:
            try:
                files, is_listed = s3_files(workspace.shop, source, workspace.digests), True
            except (SourceError, ShopError) as error:
                log(f"{source}: {error}")
                is_up = False
        if not is_listed:
            heads = tuple(f"{source}:{scheme}" for scheme in S3_SCHEMES)
            kept |= {name: look for name, look in before.items() if name.startswith(heads)}
        found += [
            Arrival(source, f"{source}:{file.path}", file, Look(size=file.size, changed_ns=0, mark=file.mark))
            for file in files
            if file.mark
        ]
    return found, kept


def days_of_file(workspace: Workspace, source: str, file: SourceFile) -> set[date]:
    """Days whose tables may change when a file enters.

    Returns:
        For events, the days that stand in the file, or none if it cannot be read: its run will say why. Any day
        may look up an item or a customer, so for them it is every landed day; those that do are made. None for
        promotions.
    """
    sources = workspace.shop.sources
    if sources[source].kind == "promotions":
        return set()
    if sources[source].kind != "events":
        return landed_days(workspace)
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


def look_once(
    workspace: Workspace, cursor: str | None, log: Callable[[str], None] = lambda sentence: None
) -> dg.SensorResult:
    """One tick: request a run for every file that is complete, unknown to its raw table, and not launched before.

    Args:
        workspace: the shop.
        cursor: of the last tick, in whatever state.
        log: receives a sentence about what cannot be listed.

    Returns:
        Requests and the next cursor.
    """
    before = read_cursor(cursor)
    far, looks = s3_arrivals(workspace, before, log)
    requests: dict[str, dg.RunRequest] = {}
    held: dict[str, set[str]] = {}
    n_bytes = {True: 0, False: 0}
    for one in [*near_arrivals(workspace), *far]:
        source, seen = one.source, before.get(one.name)
        looks[one.name] = one.look
        if seen is None or not is_same(one.look, seen):
            continue
        if seen.identity is not None:
            looks[one.name] = seen
            continue
        if n_bytes[one.is_near] > one.limit or len(requests) >= MAX_RUNS_PER_TICK:
            continue
        n_bytes[one.is_near] += one.look.size
        sha256 = _sha256(one.file, log)
        if sha256 is None and not one.is_near:
            continue  # the line may be better at the next tick
        identity = identity_of(one.name, one.look, sha256)
        if source not in held:
            held[source] = known_digests(workspace, source)
        key = run_key(source, identity)
        found = None if identity in held[source] or key in requests else request(workspace, source, one.file, identity)
        if not one.stands():
            continue
        looks[one.name] = one.look.model_copy(update={"identity": identity})
        if found is not None:
            requests[key] = found
    return dg.SensorResult(run_requests=list(requests.values()), cursor=write_cursor(looks))


def _sha256(file: SourceFile, log: Callable[[str], None]) -> str | None:
    """Digest of the bytes; None if they cannot be read, which the run will report."""
    try:
        return file.sha256
    except SourceError as error:
        log(str(error))
        return None


def build_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """The sensors, looking as often as the settings say."""

    @dg.sensor(
        job=DAILY,
        name="landing",
        minimum_interval_seconds=settings.tick_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Launches one run for each new, complete file under landing/<source>/ and on S3.",
    )
    def landing(context: dg.SensorEvaluationContext, workspace: dg.ResourceParam[Workspace]) -> dg.SensorResult:
        return look_once(workspace, context.cursor, context.log.warning)

    automation = dg.AutomationConditionSensorDefinition(
        "automation",
        target=dg.AssetSelection.all(),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=settings.tick_seconds,
        description="Carries a change downstream, as assets/automation.py says.",
    )
    return [landing, tables.build_sensor(settings), automation, *_reporting(settings)]


def _reporting(settings: Settings) -> list[dg.SensorDefinition]:
    """Sensors that write the page about quality after each run of the daemon; `portrait run` writes its own."""

    def wrote(context: dg.RunStatusSensorContext, workspace: Workspace) -> dg.SkipReason:
        run = context.dagster_run
        if HOME_TAG in run.tags:
            return dg.SkipReason(f"Run {run.run_id[:8]} has written its page itself.")
        return dg.SkipReason(f"Written: {write_quality_report(workspace, run.run_id)}.")

    def made(status: dg.DagsterRunStatus) -> dg.SensorDefinition:
        @dg.run_status_sensor(
            run_status=status,
            name=f"quality_page_after_{status.value.lower()}",
            minimum_interval_seconds=settings.tick_seconds,
            default_status=dg.DefaultSensorStatus.RUNNING,
            description="Writes the page about quality after a run.",
        )
        def after(context: dg.RunStatusSensorContext, workspace: dg.ResourceParam[Workspace]) -> dg.SkipReason:
            return wrote(context, workspace)

        return after

    return [made(dg.DagsterRunStatus.SUCCESS), made(dg.DagsterRunStatus.FAILURE)]
