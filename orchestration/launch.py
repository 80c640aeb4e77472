"""A run in this process: alone on its shop, for the right days, on the instance that the UI shows."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TextIO

import dagster as dg
from dagster import DagsterEvent, DagsterInstance, DagsterRunStatus, RunsFilter

from data.connectors import resolve_files
from data.fingerprint import digest
from data.ingest import calendar_days, landed_days, new_files
from data.ingest_tables import Waiting, waiting_rows
from data.quality_report import write_quality_report
from data.shop.errors import ShopError, SourceError
from data.workspace import Workspace
from orchestration.definitions import build_defs
from orchestration.jobs import MAIN
from orchestration.landing import day_range
from orchestration.progress import console_logger, is_expected, sentence_of
from orchestration.sensors import HOME_TAG, days_of_file

PID_TAG = "portrait/pid"
STATE_TAG = "portrait/state"
UNFINISHED = [
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True)
class Failed:
    """One asset that failed, or the run as a whole."""

    asset: str
    """Contract key, or `the run`."""
    sentence: str
    """What it said; a traceback where the error was not an expected one."""
    is_expected: bool
    """Whether `sentence` is one: a gate, a file or the ledger said no."""


@dataclass(frozen=True)
class Ran:
    """What became of a run."""

    run_id: str
    """Its id in the UI."""
    made: tuple[str, ...]
    """Tables that were made, in order."""
    up_to_date: tuple[str, ...]
    """Tables that were found up to date."""
    failed: tuple[Failed, ...]
    """Empty if the run succeeded."""
    seconds: float
    """Wall time of the run itself."""


def report_dead(instance: DagsterInstance, workspace: Workspace) -> list[str]:
    """Report runs of this launcher that died without a word as failed, so that they hold up no queue.

    Args:
        instance: where runs are recorded.
        workspace: the shop. Its lock must be held: then whoever started an unfinished run is gone, even if
            the system has given the number of that process to another one.

    Returns:
        Ids of the runs.
    """
    filters = RunsFilter(statuses=UNFINISHED, tags={HOME_TAG: str(workspace.home)})
    dead = [run for run in instance.get_runs(filters) if run.tags.get(PID_TAG) != str(os.getpid())]
    for run in dead:
        instance.report_run_failed(run, f"Process {run.tags.get(PID_TAG)} that ran it is gone.")
    return [run.run_id for run in dead]


def state_of(workspace: Workspace, defs: dg.Definitions) -> str:
    """Digest of what decides which days are stale, but for new files: place, shop file, files taken back, code.

    Args:
        workspace: the shop.
        defs: its definitions.

    Returns:
        32 hexadecimal characters.
    """
    graph = defs.resolve_asset_graph()
    versions = {key.to_user_string(): graph.get(key).code_version for key in graph.materializable_asset_keys}
    place = [str(workspace.home), workspace.settings.lake or ""]
    tables = [workspace.raw(name).key for name in workspace.shop.sources]
    taken_back = {key: workspace.lake.standing(key) for key in tables}
    return digest(place, workspace.shop.location.read_text(encoding="utf-8"), versions, taken_back)


def is_complete(instance: DagsterInstance, state: str) -> bool:
    """Whether the very last run left nothing stale behind: it succeeded over all days, in the same state.

    Args:
        instance: where runs are recorded.
        state: see `state_of`.
    """
    latest = instance.get_runs(limit=1)
    return bool(latest) and latest[0].status is DagsterRunStatus.SUCCESS and latest[0].tags.get(STATE_TAG) == state


def days_to_run(
    workspace: Workspace, first: date | None = None, last: date | None = None, *, complete: bool = False
) -> tuple[date, date]:
    """The partitions that a run covers.

    Args:
        workspace: the shop.
        first: first day; None: the calendar's.
        last: last day; None: the last one in the calendar that any file has, landed already or not yet.
        complete: see `is_complete`. Then, unless a day is named, only days of new event files are covered: every
            partition of a run costs Dagster some records, up to date or not. New items or users touch every day,
            new promotions none.

    Returns:
        First and last day; a shop without timestamps has one constant day.

    Raises:
        ShopError: if a day lies outside the calendar, or the last before the first.
        SourceError: if a source has no file.
    """
    start, end = calendar_days(workspace)
    for day in (first, last):
        if day is not None and not start <= day <= end:
            raise ShopError(
                f"{workspace.shop.location}: day {day} lies outside the calendar, {start} to {end}; "
                "name a day inside, or widen the calendar."
            )
    if first and last and last < first:
        raise ShopError(f"{workspace.shop.location}: day {last} comes before {first}; swap --from and --to.")
    kinds, days = _files(workspace, only_new=complete)
    final = day_range({*landed_days(workspace), *days}, start, end)[1]
    if complete and first is None and last is None and kinds <= {"events", "promotions"}:
        return day_range(days or {final}, start, end)
    return first or start, last or max(first or start, final)


def _files(workspace: Workspace, *, only_new: bool) -> tuple[set[str], set[date]]:
    """Kinds of the sources that have files, or new files, and the days that stand in those of events.

    All files are looked at unless the shop file is known to be the one that they were landed with: another time zone
    gives a landed file other days.
    """
    kinds: set[str] = set()
    days: set[date] = set()
    for name, source in workspace.shop.sources.items():
        if source.is_table:
            waiting = _rows_of_table(workspace, name)
            if waiting is not None:
                kinds.add(source.kind)
                # All earlier days: rows may have come after the last run looked, while it read.
                days |= {calendar_days(workspace)[0], waiting.days[1]} if source.kind == "events" else set()
            continue
        if only_new:
            files = new_files(workspace, name)
        else:
            files = resolve_files(workspace.shop, name, workspace.landing, digests=workspace.digests)
        for file in files:
            kinds.add(source.kind)
            days |= days_of_file(workspace, name, file)
    return kinds, days


def _rows_of_table(workspace: Workspace, source: str) -> Waiting | None:
    """What waits in a table; None for a database that cannot be asked: its asset will say so, and others go on."""
    try:
        return waiting_rows(workspace, source)
    except SourceError:
        return None


def execute(
    workspace: Workspace,
    instance: DagsterInstance,
    out: TextIO,
    first: date | None = None,
    last: date | None = None,
    only: Sequence[dg.AssetKey] | None = None,
) -> Ran:
    """Execute the main job in this process. The shop's lock must be held.

    Args:
        workspace: the shop.
        instance: where the run is recorded.
        out: where progress goes, line by line.
        first: first day; see `days_to_run`.
        last: last day.
        only: make these assets only.

    Returns:
        What became of it; a failed run is an answer, not an exception. The page about quality is written either way.

    Raises:
        ShopError, SourceError: see `days_to_run`.
    """
    started = time.monotonic()
    defs = dg.Definitions.merge(build_defs(workspace), dg.Definitions(loggers={"console": console_logger(out)}))
    state = state_of(workspace, defs)
    days = days_to_run(workspace, first, last, complete=is_complete(instance, state))
    out.write(f"Shop {workspace.shop.name}, {days[0]} to {days[1]}\n")
    whole = {} if first or last or only else {STATE_TAG: state}
    result = defs.resolve_job_def(MAIN.name).execute_in_process(
        instance=instance,
        run_config={"loggers": {"console": {}}},
        asset_selection=only,
        raise_on_error=False,
        tags={
            "dagster/asset_partition_range_start": days[0].isoformat(),
            "dagster/asset_partition_range_end": days[1].isoformat(),
            PID_TAG: str(os.getpid()),
            HOME_TAG: str(workspace.home),
            **whole,
        },
    )
    write_quality_report(workspace, result.run_id)
    return _ran(result, time.monotonic() - started)


def _ran(result: dg.ExecuteInProcessResult, seconds: float) -> Ran:
    tables: dict[str, bool] = {}
    for event in result.all_events:
        if event.is_step_materialization:
            materialization = event.step_materialization_data.materialization
            reused = materialization.metadata.get("reused")
            tables[".".join(materialization.asset_key.path)] = bool(reused and reused.value)
    failed = [_failed(event) for event in result.all_events if event.is_step_failure]
    if not result.success and not failed:
        failed = [_failed(event) for event in result.all_events if event.is_failure]
    return Ran(
        run_id=result.run_id,
        made=tuple(key for key, reused in tables.items() if not reused),
        up_to_date=tuple(key for key, reused in tables.items() if reused),
        failed=tuple(failed),
        seconds=seconds,
    )


def _failed(event: DagsterEvent) -> Failed:
    asset = event.step_key.replace("__", ".", 1) if event.step_key else "the run"
    return Failed(asset=asset, sentence=sentence_of(event), is_expected=is_expected(event))
