"""From raw to core: the SQL models of the core layer, with their parameters, on a session.

Reasons that `data.contracts.reasons` calls bookkeeping and the reasons of the shop's own filters are no faults: they do
not count towards the quarantine share.
"""

import json
from collections.abc import Mapping
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from data.build import Made
from data.contracts import TABLES, identity, promotions
from data.contracts.core import (
    CORRECTIONS,
    EVENT_TYPES,
    EVENTS,
    EVENTS_QUARANTINE,
    ITEMS,
    ITEMS_QUARANTINE,
    USERS,
    USERS_QUARANTINE,
)
from data.contracts.identity import IDENTITIES, IDENTITY_DAYS
from data.contracts.profile import ONLINE
from data.contracts.raw import raw_table
from data.contracts.reasons import BOOKKEEPING
from data.contracts.schema import Table
from data.engine import Session
from data.ingest import NO_DAY, calendar_days, today
from data.lookups import Lookup
from data.models import model
from data.policies import Rule, interpolates, number_rules, text_rules
from data.shop.config import Shop
from data.workspace import Workspace

TIMED = ("events", "identities")
"""Kinds of source whose rows may have a time."""

LOOKUPS = (Lookup(table=ITEMS, key="item_id", facts=f"select item_id from {ITEMS.key}"),)
"""What a day of core.events takes from the catalogue: which of its items are known."""


def sources_of(shop: Shop, kind: str) -> list[Table]:
    """Raw contracts of all sources of one kind."""
    return [raw_table(name, source.kind) for name, source in shop.sources.items() if source.kind == kind]


def inputs_of(shop: Shop, kind: str) -> list[Table]:
    """Raw contracts of all sources of one kind, and what says who the persons in them are."""
    joined = {"events": [IDENTITY_DAYS], "users": [IDENTITIES]}.get(kind, []) if shop.has_identities else []
    return [*sources_of(shop, kind), *joined]


def days_of_events(shop: Shop) -> list[Table]:
    """Tables partitioned by day of which a day of core.events is made."""
    return [*inputs_of(shop, "events"), CORRECTIONS]


def contracts_of(shop: Shop) -> list[Table]:
    """Contracts of all tables that a shop can have: its raw tables, and everything made from them."""
    raw = [raw_table(name, source.kind) for name, source in shop.sources.items()]
    absent = (
        *(() if shop.has_identities else identity.TABLES),
        *(() if shop.has_promotions else promotions.TABLES),
        *(() if shop.online_learning else (ONLINE,)),
    )
    return [*raw, *(table for table in TABLES.values() if table not in absent)]


def landed_sql(shop: Shop, kind: str) -> str:
    """The union of all raw tables of one kind, which models know as `landed.<kind>`.

    Returns:
        SQL; for events and identities each row says in `is_timed` whether its source has times at all.
    """
    parts = []
    for table in sources_of(shop, kind):
        is_timed = str(shop.sources[table.name].time is not None).lower()
        timed = f", {is_timed} as is_timed" if kind in TIMED else ""
        columns = ", ".join(f'"{name}"' for name in table.names)
        parts.append(f"select {columns}{timed} from {table.key}")
    if not parts:
        nothing = ", ".join(f"cast(null as {t}) as {c}" for c, t in landed_columns(kind).items())
        return f"select {nothing} where false"
    return " union all ".join(parts)


def resolved_sql(shop: Shop, kind: str) -> str:
    """As `landed_sql`; events of joined identifiers are the person's, before anything else is made of them."""
    landed = landed_sql(shop, kind)
    if kind != "events" or not shop.has_identities:
        return landed
    return model("core/events_resolved", landed=landed, columns=tuple(landed_columns(kind)))


def judged_sql(workspace: Workspace, rows: str) -> str:
    """The query that judges event rows, which core.events and core.corrections share.

    Args:
        workspace: the shop.
        rows: name of what holds the rows, with all rows of any user, id and day that it holds one of.
    """
    start, _ = calendar_days(workspace)
    return model(
        "core/events_judged",
        rows=rows,
        event_types=", ".join(f"'{t}'" for t in EVENT_TYPES),
        calendar_start=start.isoformat(),
        no_day=NO_DAY.isoformat(),
        **_rules(workspace),
    )


def _settled_sql(workspace: Workspace, judged: str, imputed: str) -> str:
    return model("core/events_settled", judged=judged, imputed=imputed, **_rules(workspace))


def _rules(workspace: Workspace) -> dict[str, list[Rule]]:
    return {"numbers": number_rules(workspace.shop, "r"), "texts": text_rules(workspace.shop, "r")}


def corrections_sql(workspace: Workspace) -> dict[str, str]:
    """Rendered models of the corrections, by the name under which the next one reads each."""
    numbers = number_rules(workspace.shop, "r")
    return {
        "events_touched": model("core/events_touched", numbers=numbers),
        "events_judged": judged_sql(workspace, "events_touched"),
        "events_imputed": model("core/events_imputed", numbers=numbers),
        "events_settled": _settled_sql(workspace, "select * from events_judged", "events_imputed"),
        "events_cancelled": model("core/events_cancelled"),
        CORRECTIONS.key: model("core/corrections"),
    }


def needs_corrections(shop: Shop) -> bool:
    """Whether a row can be a return or have a value interpolated; otherwise no day says anything about another."""
    if interpolates(shop):
        return True
    for source in shop.sources.values():
        kind = source.event_type
        if source.returns or (kind and (kind.constant == "return" or (kind.column and "return" not in kind.values))):
            return True
        if kind and "return" in kind.values.values():
            return True
    return False


def corrected_days(workspace: Workspace) -> set[date]:
    """Days with events that other days may correct, or that count for somebody else by an edge between identifiers.

    They are made again when that changes, whatever a run is about.
    """
    joined = [IDENTITY_DAYS] if workspace.shop.has_identities else []
    return {day for table in (CORRECTIONS, *joined) for day in workspace.lake.day_versions(table.key)}


def events_sql(workspace: Workspace) -> dict[str, str]:
    """Rendered models of the events: `checked`, and one per table that reads it as `events_checked`."""
    rules = _rules(workspace)
    settled = _settled_sql(workspace, judged_sql(workspace, "landed.events"), CORRECTIONS.key)
    filled = [rule.name for rule in rules["texts"]]
    return {
        "checked": model("core/events_checked", settled=settled, filled=filled, **rules),
        EVENTS_QUARANTINE.key: model("core/events_quarantine"),
        EVENTS.key: model("core/events"),
    }


def landed_columns(kind: str) -> dict[str, str]:
    """Columns of `landed.<kind>` and their SQL types."""
    return raw_table("landed", kind).sql_types() | ({"is_timed": "BOOLEAN"} if kind in TIMED else {})


def rows_sql(shop: Shop, kind: str) -> dict[str, str]:
    """Rendered models of items or users: `checked`, and one per table that reads it."""
    own = {"items": ("c.item_id", "cast(null as varchar)"), "users": ("c.user_id", "c.user_id")}[kind]
    quarantine = model("core/rows_quarantine", checked=f"{kind}_checked", row_id=own[0], user_id=own[1])
    asking = [name for name, source in shop.sources.items() if source.kind == "users" and "consent" in source.columns]
    return {
        "checked": model(f"core/{kind}_checked", is_resolved=shop.has_identities, asking=asking),
        f"core.{kind}_quarantine": quarantine,
        f"core.{kind}": model(f"core/{kind}"),
    }


def make_events(workspace: Workspace, session: Session) -> Mapping[str, Made]:
    """Judge the attached days of all event sources.

    Args:
        workspace: the shop.
        session: with the tables of `days_of_events`, `core.items` and `input_versions` attached.

    Returns:
        The clean events and the quarantine.
    """
    sql = events_sql(workspace)
    session.define("landed.events", resolved_sql(workspace.shop, "events"))
    made = _split(workspace.shop, session, sql, "events_checked", EVENTS, EVENTS_QUARANTINE)
    clean = made[EVENTS.key]
    timely = {"lag_days": _lag_days(workspace, clean.data), "max_lag_days": workspace.shop.max_lag_days}
    return {**made, EVENTS.key: clean.model_copy(update=timely)}


def make_corrections(workspace: Workspace, session: Session) -> Made:
    """Find what days say about events of other days, within each user.

    Args:
        workspace: the shop.
        session: with the tables of `inputs_of` events, and `core.items`, attached.

    Returns:
        The corrections, and as notes how much was returned and how much of that found no purchase.
    """
    sql = corrections_sql(workspace)
    session.define("landed.events", resolved_sql(workspace.shop, "events"))
    for name, query in sql.items():
        if name != CORRECTIONS.key:
            session.materialise(name, query)
    [found] = session.query(
        "select count(*) as n_returns, count(*) filter (where cancelled < units) as n_returns_without_purchase "
        "from events_cancelled where is_return = 1"
    ).to_pylist()
    return Made(data=session.query(sql[CORRECTIONS.key]), notes={name: str(n) for name, n in found.items()})


def _lag_days(workspace: Workspace, batch: pa.Table) -> float:
    """Days from the newest day, published or in the batch, to the calendar's end or today, whichever is earlier."""
    days = set(workspace.lake.day_versions(EVENTS.key)) | set(batch.column("day").unique().to_pylist())
    _, end = calendar_days(workspace)
    return (min(end, today()) - max(days)).days if days else 0


def make_rows(workspace: Workspace, session: Session, kind: str) -> Mapping[str, Made]:
    """Judge all rows of the sources of `items` or `users`.

    Args:
        workspace: the shop.
        session: with the raw tables attached; for users, where identifiers are joined, also `core.identities`.
        kind: `items` or `users`.

    Returns:
        The clean rows and the quarantine.
    """
    clean, aside = {"items": (ITEMS, ITEMS_QUARANTINE), "users": (USERS, USERS_QUARANTINE)}[kind]
    session.define(f"landed.{kind}", landed_sql(workspace.shop, kind))
    return _split(workspace.shop, session, rows_sql(workspace.shop, kind), f"{kind}_checked", clean, aside)


def _split(
    shop: Shop, session: Session, sql: Mapping[str, str], checked: str, clean: Table, aside: Table
) -> dict[str, Made]:
    session.materialise(checked, sql["checked"])
    rows = session.query(sql[clean.key])
    set_aside = session.query(sql[aside.key])
    reasons = reasons_of(set_aside)
    again = session.query(f"select count(*) as n from {checked} where reason = 'repeated'").column("n")[0].as_py()
    repeated = {"n_repeated": str(again)} if again else {}
    faults = sum(n for reason, n in reasons.items() if reason not in wished(shop).union(BOOKKEEPING))
    return {
        clean.key: Made(data=rows, quarantined=faults, remark=f" (set aside: {reasons})" if reasons else ""),
        aside.key: Made(data=set_aside, notes={f"n_{reason}": str(n) for reason, n in reasons.items()} | repeated),
    }


def wished(shop: Shop) -> set[str]:
    """Reasons of the shop's own filters."""
    return {rule.reason for source in shop.sources.values() for rule in source.filters}


def reasons_of(set_aside: pa.Table) -> dict[str, int]:
    """Rows that were set aside, counted by reason."""
    found = pc.value_counts(set_aside.column("reason").combine_chunks())
    return dict(sorted((x["values"], x["counts"]) for x in json.loads(json.dumps(found.to_pylist()))))
