"""Jobs and schedules: what a person or the clock launches as one run."""

import dagster as dg

from data.maintenance import vacuum
from data.workspace import Workspace

DAYS = dg.AssetSelection.assets(["features", "daily"])

MAIN = dg.define_asset_job(
    "main",
    selection=dg.AssetSelection.all(),
    description="Everything, from landed files to evaluated recommendations; what is up to date is not made again.",
)

DAILY = dg.define_asset_job(
    "daily",
    selection=dg.AssetSelection.groups("raw", "core") | DAYS,
    description="Land new files and make the days that they touch; automation carries the change on.",
)

REFRESH = dg.define_asset_job(
    "weekly_refresh",
    selection=dg.AssetSelection.groups("features", "profile", "out") - DAYS,
    description="Profiles and recommendations as of the last landed day. Does not train: releases have their slots.",
)


@dg.op(name="vacuum", description="Delete files of versions older than each contract's `history_days`.")
def _vacuum(
    context: dg.OpExecutionContext, workspace: dg.ResourceParam[Workspace], turn: dg.ResourceParam[object]
) -> None:
    for key, files in vacuum(workspace).items():
        context.log.info(f"{key}: {files} files of old versions deleted")


@dg.job(name="maintenance", description="Keep the promise of how long replaced and removed rows stay readable.")
def maintenance() -> None:
    """Delete what is past its time."""
    _vacuum()


JOBS = [MAIN, DAILY, REFRESH]

SCHEDULES = [
    dg.ScheduleDefinition(
        name="weekly_refresh",
        job=REFRESH,
        cron_schedule="0 3 * * 1",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Mondays at 03:00 UTC: profiles and recommendations follow time even where no event came.",
    ),
    dg.ScheduleDefinition(
        name="weekly_maintenance",
        job=maintenance,
        cron_schedule="0 1 * * 0",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Sundays at 01:00 UTC: files of old versions go.",
    ),
]
