"""The sensor of tables: one cheap question a tick to each database, and one run when its watermark moved.

Tables without a watermark are left to runs by hand or by schedule: only reading them whole tells whether they changed.
"""

import dagster as dg
from dagster import RunsFilter

from data.ingest import calendar_days, today
from data.ingest_tables import waiting_rows
from data.settings import Settings
from data.shop.errors import ShopError, SourceError
from data.workspace import Workspace
from orchestration.jobs import DAILY
from orchestration.landing import day_range, run_key

TABLE_TAG = "portrait/table"
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def ask_once(workspace: Workspace, instance: dg.DagsterInstance) -> tuple[list[dg.RunRequest], list[str]]:
    """One tick: request a run for every table whose watermark moved and that no unfinished run is about.

    Args:
        workspace: the shop.
        instance: where runs are recorded.

    Returns:
        Requests, and one sentence per table that could not be asked.
    """
    requests, problems = [], []
    for source, declared in sorted(workspace.shop.sources.items()):
        if declared.watermark is None or _is_under_way(instance, source):
            continue
        try:
            waiting = waiting_rows(workspace, source)
        except (ShopError, SourceError) as error:
            problems.append(str(error))
            continue
        if waiting is None:
            continue
        # Rows that come while the run waits are read by it too, and are mostly of today.
        first, last = day_range({*waiting.days, today()}, *calendar_days(workspace))
        requests.append(
            dg.RunRequest(
                run_key=run_key(source, waiting.identity),
                tags={
                    "dagster/asset_partition_range_start": first.isoformat(),
                    "dagster/asset_partition_range_end": last.isoformat(),
                    TABLE_TAG: source,
                },
            )
        )
    return requests, problems


def _is_under_way(instance: dg.DagsterInstance, source: str) -> bool:
    filters = RunsFilter(tags={TABLE_TAG: source}, statuses=UNFINISHED)
    return bool(instance.get_runs(filters, limit=1))


def build_sensor(settings: Settings) -> dg.SensorDefinition:
    """The sensor, asking as often as the settings say."""

    @dg.sensor(
        job=DAILY,
        name="tables",
        minimum_interval_seconds=settings.tick_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Launches one run when the watermark of a table moved; a database that is down is only logged.",
    )
    def tables(context: dg.SensorEvaluationContext, workspace: dg.ResourceParam[Workspace]) -> dg.SensorResult:
        requests, problems = ask_once(workspace, context.instance)
        for problem in problems:
            context.log.warning(problem)
        return dg.SensorResult(run_requests=requests)

    return tables
