"""What was set aside, for the owner of the data: counts by reason, and rows with what is at fault, masked.

Two views: what the last published version set aside, and what a batch that waits behind its gate would set aside. No
raw id, no pseudonym and no unmasked value leaves this module.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import pyarrow as pa

from data import core
from data.build import is_current
from data.contracts.core import EVENTS, ITEMS, USERS
from data.contracts.identity import IDENTITIES
from data.contracts.promotions import PROMOTIONS
from data.contracts.reasons import QUARANTINES, declared_for
from data.contracts.schema import Frozen, Table
from data.days import stale_days
from data.engine import Session
from data.fingerprint import digest
from data.identity import judge, what_decides
from data.ingest import NO_DAY
from data.promotions import promotions_sql
from data.shop.config import Shop
from data.shop.errors import ShopError
from data.workspace import Workspace

CLEAN = {"events": EVENTS, "items": ITEMS, "users": USERS, "identities": IDENTITIES, "promotions": PROMOTIONS}
"""Kind of source -> contract of the clean rows."""

SEEN = "seen.quarantine"
"""All rows that are set aside, under one key of a session."""


class Wanted(Frozen):
    """Which rows are asked for; None: any."""

    reason: str | None = None
    """Reason."""
    source: str | None = None
    """Source of the shop file."""
    day: date | None = None
    """UTC day; items and users have none, promotions that of their beginning."""

    def sql(self) -> str:
        """The condition on a row of `SEEN`."""
        parts = [f"{name} = '{value}'" for name, value in self.model_dump(exclude_none=True).items()]
        return " and ".join(parts) or "true"


ANY = Wanted()
"""Every row."""


def wanted(shop: Shop, reason: str | None = None, source: str | None = None, day: date | None = None) -> Wanted:
    """Check what is asked for.

    Args:
        shop: the shop.
        reason: one that rows of this shop can have, or None.
        source: one of its sources, or None.
        day: a UTC day, or None.

    Returns:
        The wish.

    Raises:
        ShopError: if the shop has no such source, or no row can have the reason.
    """
    if source is not None and source not in shop.sources:
        raise ShopError(f"{shop.location}: there is no source '{source}'; name one of {', '.join(shop.sources)}.")
    known = sorted({name for kind in QUARANTINES for name in reasons_of(shop, kind)})
    if reason is not None and reason not in known:
        raise ShopError(f"{shop.location}: no row can have the reason '{reason}'; name one of {', '.join(known)}.")
    return Wanted(reason=reason, source=source, day=day)


def reasons_of(shop: Shop, kind: str) -> list[str]:
    """Every reason that a row of one kind of source can have in this shop: the declared ones, then its filters'."""
    filters = [rule.reason for source in shop.sources.values() if source.kind == kind for rule in source.filters]
    return list(dict.fromkeys([*(reason.name for reason in declared_for(kind)), *filters]))


def totals(workspace: Workspace, kind: str) -> dict[str, int]:
    """Rows that the published version sets aside, by reason.

    Args:
        workspace: the shop.
        kind: one of `QUARANTINES`.

    Returns:
        Every reason that such rows can have -> rows, 0 where there is none, so that no series ever stops.
    """
    contract = QUARANTINES[kind]
    with workspace.engine.session() as session:
        session.attach(contract, workspace.lake)
        found = session.query(f"select reason, count(*) as n from {contract.key} group by reason order by reason")
    counts = dict(zip(found.column("reason").to_pylist(), found.column("n").to_pylist(), strict=True))
    return dict.fromkeys(reasons_of(workspace.shop, kind), 0) | counts


def counts(workspace: Workspace, wish: Wanted = ANY, *, waiting: bool = False) -> list[dict[str, Any]]:
    """How many rows are set aside, by table, reason and source.

    Args:
        workspace: the shop.
        wish: which rows.
        waiting: judge what has landed but is not published, instead of what the published version set aside.

    Returns:
        Rows `table, reason, source, n, first_day, last_day, share`, most first; days are None for rows without one,
        `share` is of all rows that the source has landed (on `wish.day`, where that is given).
    """
    sql = f"""
        select "table", reason, source, count(*) as n,
            min(case when day <> date '{NO_DAY}' then day end) as first_day,
            max(case when day <> date '{NO_DAY}' then day end) as last_day
        from {SEEN} where {wish.sql()} group by "table", reason, source order by n desc, "table", reason, source
    """
    with _aside(workspace, waiting) as session:
        found: list[dict[str, Any]] = session.query(sql).to_pylist()
        landed = {source: _landed(workspace, session, source, wish.day) for source in {row["source"] for row in found}}
    return [{**row, "share": row["n"] / max(landed[row["source"]], row["n"])} for row in found]


def rows(workspace: Workspace, wish: Wanted = ANY, limit: int = 20, *, waiting: bool = False) -> list[dict[str, Any]]:
    """Rows that are set aside, by day, file and line.

    Args:
        workspace: the shop.
        wish: which rows.
        limit: at most so many.
        waiting: see `counts`.

    Returns:
        Rows `table, reason, source, file, file_sha256, line, day, column_name, masked_value`.
    """
    columns = "\"table\", reason, source, file, file_sha256, line, nullif(day, date '1970-01-01') as day"
    sql = f"""
        select {columns}, column_name, masked_value
        from {SEEN} where {wish.sql()} order by day, source, file, line, reason limit {int(limit)}
    """
    with _aside(workspace, waiting) as session:
        found: list[dict[str, Any]] = session.query(sql).to_pylist()
    return found


def _landed(workspace: Workspace, session: Session, source: str, day: date | None) -> int:
    """Rows of the raw table of a source; of one day if that is given, unless the table has no days."""
    if source not in workspace.shop.sources:
        return 0
    contract = workspace.raw(source)
    if day is None or contract.partition_by is None:
        published = workspace.lake.published(contract.key)
        return published.rows if published else 0
    session.attach(contract, workspace.lake, days=[day])
    return int(session.query(f"select count(*) as n from {contract.key}").column("n")[0].as_py())


@contextmanager
def _aside(workspace: Workspace, waiting: bool) -> Iterator[Session]:
    """A session that knows `SEEN`."""
    with workspace.engine.session() as session:
        parts = []
        for kind, contract in QUARANTINES.items():
            if waiting:
                _judge(workspace, session, kind, contract)
            else:
                session.attach(contract, workspace.lake)
            day = "day" if contract.partition_by else "cast(null as date)"
            parts.append(
                f"select '{contract.key}' as \"table\", reason, source, file, file_sha256, line, {day} as day, "
                f"column_name, masked_value from {contract.key}"
            )
        session.define(SEEN, " union all ".join(parts))
        yield session


def _judge(workspace: Workspace, session: Session, kind: str, contract: Table) -> None:
    """Show what the next batch would set aside under the contract's key: nothing where nothing waits."""
    sources = core.inputs_of(workspace.shop, kind)
    if kind == "identities":
        version, config = what_decides(workspace.shop)
        is_waiting = workspace.shop.has_identities and not is_current(
            workspace, [contract, IDENTITIES], sources, code_version=version, config=config
        )
        for table in sources:
            session.attach(table, workspace.lake)
        session.register(
            contract.key, judge(workspace.shop, session)[1] if is_waiting else contract.arrow_schema().empty_table()
        )
        return
    if contract.partition_by:
        if kind == "events":
            sql, by_day = core.events_sql(workspace), core.days_of_events(workspace.shop)
        else:
            sql, by_day = promotions_sql(), sources
        waits = stale_days(workspace, [contract, CLEAN[kind]], by_day, core.LOOKUPS, code_version=digest(sql))
        for table in (*by_day, ITEMS):
            session.attach(table, workspace.lake, days=waits if table.partition_by else None)
        is_waiting = True  # of the attached days all rows are
        versions = {"day": pa.array(waits, pa.date32()), "input_version": pa.array([""] * len(waits), pa.string())}
        session.register("input_versions", pa.table(versions))
    else:
        sql = core.rows_sql(workspace.shop, kind)
        is_waiting = not is_current(workspace, [contract, CLEAN[kind]], sources, code_version=digest(sql))
        for table in sources:
            session.attach(table, workspace.lake)
    session.define(f"landed.{kind}", f"select * from ({core.resolved_sql(workspace.shop, kind)}) where {is_waiting}")
    session.materialise(f"{kind}_checked", sql["checked"])
    session.define(contract.key, sql[contract.key])
