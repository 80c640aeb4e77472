"""Jobs and schedules: what a person or the clock launches as one run."""

import dagster as dg

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

JOBS = [MAIN, DAILY, REFRESH]

SCHEDULES = [
    dg.ScheduleDefinition(
        name="weekly_refresh",
        job=REFRESH,
        cron_schedule="0 3 * * 1",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Mondays at 03:00 UTC: profiles and recommendations follow time even where no event came.",
    )
]
