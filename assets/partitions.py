"""Days as Dagster partitions: the shop's calendar, and the days that a run is about."""

from collections.abc import Sequence
from datetime import date, timedelta

import dagster as dg

from data.ingest import calendar_days
from data.workspace import Workspace


def daily_partitions(workspace: Workspace) -> dg.DailyPartitionsDefinition:
    """One partition per UTC day of the shop's calendar; a calendar without an end goes up to today."""
    start, end = calendar_days(workspace)
    is_open = workspace.shop.calendar is not None and workspace.shop.calendar.end is None
    return dg.DailyPartitionsDefinition(
        start_date=start.isoformat(),
        end_date=None if is_open else (end + timedelta(days=1)).isoformat(),
        end_offset=1 if is_open else 0,
    )


def days_of(context: dg.AssetExecutionContext) -> Sequence[date]:
    """The days of the run's partition, or of its range of partitions."""
    return [date.fromisoformat(key) for key in context.partition_keys]
