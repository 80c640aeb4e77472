"""From core to features: which days and instants the feature models run for, and their SQL."""

from datetime import date, datetime, time, timedelta

from data.contracts.core import ITEMS, USERS
from data.contracts.features import DAILY
from data.facet_sql import daily_sql, item_facts
from data.ingest import NO_DAY
from data.lookups import Lookup
from data.workspace import Workspace

WITHHELD = "select user_id from core.users where not consent"
"""Who withheld consent."""

CONSENTING = (
    f"select e.* from core.events as e where not exists (select 1 from ({WITHHELD}) as u where u.user_id = e.user_id)"
)
"""Events of everybody but those who withheld consent; models know it as `consenting.events`."""

LOOKUPS = (
    Lookup(table=ITEMS, key="item_id", facts=item_facts()),
    Lookup(table=USERS, key="user_id", facts=WITHHELD),
)
"""What a day of features.daily takes from the catalogue and from the customers."""


def daily_model() -> str:
    """The model of `features.daily`: the facet declaration as SQL, with the version of the inputs of each day."""
    return (
        f"select d.*, v.input_version from ({daily_sql(events='consenting.events')}) as d "
        "join input_versions as v on d.day = v.day order by d.day, d.user_id, d.facet, d.key"
    )


def as_of(workspace: Workspace) -> datetime | None:
    """The end of the last day that the shop has landed, naive UTC; None before the first.

    Which days a shop was open and landed data is a public fact of its operation, not of any one customer.
    """
    days = [d for d in workspace.lake.day_versions(DAILY.key) if d != NO_DAY]
    return end_of(max(days)) if days else None


def end_of(day: date) -> datetime:
    """The midnight that ends a day."""
    return datetime.combine(day + timedelta(days=1), time.min)


def checkpoint_at(instant: datetime) -> datetime:
    """The start of the month of the last whole day before an instant."""
    return datetime.combine((instant - timedelta(days=1)).date().replace(day=1), time.min)


def days_between(workspace: Workspace, start: datetime | None, end: datetime) -> tuple[date, ...]:
    """Days of `features.daily` that begin at or after `start` (or from the first) and before `end`."""
    days = workspace.lake.day_versions(DAILY.key)
    return tuple(d for d in days if d < end.date() and (start is None or d >= start.date()))
