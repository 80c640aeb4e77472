"""What days look up in tables that have none: a day depends on the rows that its own rows name, not on the others.

The catalogue grows daily and the list of customers too. If a day depended on them as a whole, every new product would
make the whole history again.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date

import duckdb
import pyarrow as pa

from data.build import Slice, attach
from data.contracts.schema import Frozen, Table
from data.engine import Session
from data.fingerprint import digest
from data.workspace import Workspace


class Lookup(Frozen):
    """A whole table as an input of days: a day is stale if something changed that its rows find in it by their key."""

    table: Table
    """The table."""
    key: str
    """Column of inputs by day that names its rows; an input without that column looks nothing up."""
    facts: str
    """SELECT of the key, each at most once, and of everything else that a day takes from the table; a row that it
    leaves out is one that no day takes anything from."""


def facts_of(
    workspace: Workspace, by_day: Sequence[Table], lookups: Sequence[Lookup], days: Collection[date]
) -> Mapping[date, str]:
    """What the rows of each day find: it changes when a fact about one of their keys comes, changes or goes.

    One scan of the key's column of those days for each lookup.

    Args:
        workspace: the shop.
        by_day: inputs partitioned by day, whose rows look up.
        lookups: what they look up.
        days: days to say it of.

    Returns:
        Day -> digest, for each of `days`.

    Raises:
        ValueError: if no input has the key of a lookup.
    """
    if not days:
        return {}
    keys = {one.key for one in lookups}
    sliced = [Slice(table=t, days=tuple(sorted(days))) for t in by_day if keys.intersection(t.names)]
    with workspace.engine.session() as session:
        attach(session, workspace.lake, [*sliced, *(one.table for one in lookups)])
        sums = [_sums(session, by_day, one) for one in lookups]
    return {day: digest([found.get(day) for found in sums]) for day in days}


def _sums(session: Session, by_day: Sequence[Table], lookup: Lookup) -> dict[date, str]:
    """Sum of the digests of the facts that each row of a day finds; a day that finds none is left out."""
    naming = [table.key for table in by_day if lookup.key in table.names]
    if not naming:
        raise ValueError(f"{lookup.table.key}: no input by day has the column {lookup.key}; name the key that one has.")
    session.register("facts_found", _digests(session.query(lookup.facts), lookup.key))
    named = " union all ".join(f'select day, "{lookup.key}" as key from {key}' for key in naming)
    found = session.query(
        f"select n.day, cast(sum(f.digest) as varchar) as total from ({named}) as n "
        f"join facts_found as f on n.key = f.key group by n.day order by n.day"
    )
    return dict(zip(found.column("day").to_pylist(), found.column("total").to_pylist(), strict=True))


def _digests(facts: pa.Table, key: str) -> pa.Table:
    """(n, 2) the key of each row as `key`, and `digest` (decimal, of 64 bits) of all of it, whatever the engine."""
    with duckdb.connect() as connection:
        connection.register("facts", facts)
        found = f'select "{key}" as key, cast(hash(facts) as decimal(20, 0)) as digest from facts'
        return connection.sql(found).to_arrow_table()
