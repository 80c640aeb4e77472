"""Writing a made-up shop: blocks of users are made one by one and spooled by day, then each day is put in order."""

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data.contracts.schema import Frozen
from data.synth.events import ROW, Block, in_order, make_block
from data.synth.files import catalogue_file, day_files, day_of, table_bytes, utc_texts
from data.synth.plan import EVENT_TYPES, Plan
from data.synth.world import NEVER, Items, Persons, attributes, cookie_ids, customer_ids, make_items, make_persons

BLOCK_CELLS = 1_000_000
"""Users times days that are made at once."""


class Written(Frozen):
    """What was written, and what is true of it; `truth.json` holds it."""

    plan: Plan
    """Every parameter."""
    n_events: int
    """Different events."""
    n_rows: int
    """Delivered events, copies among them."""
    n_late: int
    """Events in the file of a later day."""
    n_of_type: dict[str, int]
    """Different events of each type."""
    n_customers: int
    """Users who were ever logged in."""
    customer: str
    """Id of the first of them, to ask for."""
    n_bots: int
    """Users who are bots."""
    n_files: int
    """Files in the data folder."""


def _silent(_: str) -> None:
    pass


def write_shop(
    plan: Plan, to: Path, users_at_once: int | None = None, tell: Callable[[str], None] = _silent
) -> Written:
    """Write a shop's files under `to`/data and the truth about them under `to`/truth.

    Args:
        plan: The shop.
        to: A folder that is empty or does not exist yet.
        users_at_once: Size of a block; null: about `BLOCK_CELLS` users times days. It changes no byte of the data.
        tell: Receives a line of progress per step.

    Returns:
        What was written.

    Raises:
        FileExistsError: If `to` holds something.
    """
    if to.exists() and any(to.iterdir()):
        raise FileExistsError(f"{to}: is not empty; name a new folder.")
    data, truth = to / "data", to / "truth"
    for folder in (data, truth):
        folder.mkdir(parents=True)
    items = make_items(plan)
    with tempfile.TemporaryDirectory(prefix=".spool-", dir=to) as spool:
        counts = _write_persons(plan, items, to, Path(spool), users_at_once, tell)
        n_files = 3 + _write_days(plan, items, data, Path(spool), tell)
    name, content = catalogue_file(plan, items)
    (data / name).write_bytes(content)
    _write_items(items, truth)
    written = Written(
        plan=plan,
        n_of_type={kind: counts[kind] for kind in EVENT_TYPES},
        n_files=n_files,
        customer=_first_customer(truth),
        **{name: counts[name] for name in ("n_events", "n_rows", "n_late", "n_customers", "n_bots")},
    )
    (truth / "truth.json").write_text(json.dumps(written.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
    return written


_ASKED = ["customer_id", "first_login_at_utc", "is_bot"]


def _first_customer(truth: Path) -> str:
    users = pq.read_table(truth / "users.parquet", columns=_ASKED).slice(0, 1000)
    found = next((row for row in users.to_pylist() if row["first_login_at_utc"] and not row["is_bot"]), None)
    return str(found["customer_id"]) if found else "-"


def _blocks(plan: Plan, users_at_once: int | None) -> Iterator[tuple[int, int]]:
    size = users_at_once or max(BLOCK_CELLS // plan.n_days, 1)
    for first in range(0, plan.n_users, size):
        yield first, min(first + size, plan.n_users)


def _write_persons(
    plan: Plan, items: Items, to: Path, spool: Path, users_at_once: int | None, tell: Callable[[str], None]
) -> Counter[str]:
    """Make the users block by block: their truth and their own files at once, their events into the spool."""
    counts: Counter[str] = Counter()
    per_day = np.zeros((plan.n_days, len(EVENT_TYPES)), np.int64)
    tables = _Tables(to / "truth")
    with tables:
        for first, last in _blocks(plan, users_at_once):
            persons = make_persons(plan, first, last)
            block = make_block(plan, items, persons)
            _spool(plan, spool, block)
            np.add.at(per_day, (day_of(block.events), block.events["kind"]), 1)
            tables.write("users", _users_table(plan, persons))
            tables.write("habits", _habits_table(items, block))
            counts["n_customers"] += _write_customers(plan, persons, to, tables)
            counts += Counter(
                n_events=len(block.events),
                n_rows=len(block.delivered),
                n_late=block.n_late,
                n_bots=int(persons.is_bot.sum()),
            )
            tell(f"{last:,} of {plan.n_users:,} users, {counts['n_events']:,} events")
    days = np.datetime64(plan.start) + np.arange(plan.n_days)
    pq.write_table(
        pa.table({"day": days, **{kind: per_day[:, k] for k, kind in enumerate(EVENT_TYPES)}}),
        to / "truth" / "events_per_day.parquet",
    )
    counts.update(dict(zip(EVENT_TYPES, per_day.sum(axis=0).tolist(), strict=True)))
    return counts


class _Tables:
    """Parquet files that grow block by block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writers: dict[str, pq.ParquetWriter] = {}

    def __enter__(self) -> "_Tables":
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self.writers.values():
            writer.close()

    def write(self, name: str, table: pa.Table) -> None:
        if name not in self.writers:
            self.writers[name] = pq.ParquetWriter(self.folder / f"{name}.parquet", table.schema)
        self.writers[name].write_table(table)


def _spool(plan: Plan, spool: Path, block: Block) -> None:
    order = np.argsort(block.arrival, kind="stable")
    rows, arrival = block.delivered[order], block.arrival[order]
    ends = np.searchsorted(arrival, np.arange(plan.n_days + 1))
    for day in np.unique(arrival):
        with (spool / str(day)).open("ab") as stream:
            rows[ends[day] : ends[day + 1]].tofile(stream)


def _write_days(plan: Plan, items: Items, data: Path, spool: Path, tell: Callable[[str], None]) -> int:
    n_files, told = 0, time.monotonic()
    for day in range(plan.n_days):
        if not (spool / str(day)).exists():
            continue
        rows = in_order(np.fromfile(spool / str(day), ROW))
        os.unlink(spool / str(day))
        for name, content in day_files(plan, items, day, rows):
            (data / name).parent.mkdir(exist_ok=True)
            (data / name).write_bytes(content)
            n_files += 1
        if time.monotonic() > told + 5:
            tell(f"{day + 1:,} of {plan.n_days:,} days written")
            told = time.monotonic()
    return n_files


def _write_customers(plan: Plan, persons: Persons, to: Path, tables: _Tables) -> int:
    """Append who was ever logged in to the customer file, and their cookies to the file of logins."""
    known = persons.login_second < NEVER
    number = persons.number[known]
    customers = {"customer_id": customer_ids(number), **attributes(plan, number)}
    edges = {
        "cookie_id": cookie_ids(plan, number),
        "customer_id": customers["customer_id"],
        "logged_in_at": utc_texts(plan, persons.login_second[known]),
        "authenticated": np.full(len(number), "true"),
    }
    for name, columns in (("customers", customers), ("logins", edges)):
        path = to / "data" / f"{name}.csv"
        is_first = not path.exists()
        with path.open("ab") as stream:
            stream.write(table_bytes(pa.table(columns), is_first))
    tables.write("edges", pa.table({"user": number, **edges}))
    return len(number)


def _vectors(values: NDArray[np.float64]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float32).ravel()), values.shape[1])


def _seconds(plan: Plan, second: NDArray[np.int64]) -> pa.Array:
    """Write seconds after the start as instants in UTC; never is null."""
    is_never = second == NEVER
    return pa.array(np.where(is_never, 0, plan.start_second + second), mask=is_never).cast(pa.timestamp("s"))


def _users_table(plan: Plan, persons: Persons) -> pa.Table:
    return pa.table(
        {
            "user": persons.number,
            "customer_id": customer_ids(persons.number),
            "cookie_id": cookie_ids(plan, persons.number),
            "factors": _vectors(persons.factors),
            "factors_after": _vectors(persons.factors_after),
            "drifts_at_utc": _seconds(plan, persons.drift_second),
            "is_bot": persons.is_bot,
            "sessions_per_day": persons.rate,
            "first_login_at_utc": _seconds(plan, persons.login_second),
        }
    )


def _habits_table(items: Items, block: Block) -> pa.Table:
    habits = block.habits
    return pa.table(
        {
            "user": habits["user"].astype(np.int64),
            "item_id": items.item_id[habits["item"].astype(np.int64)],
            "is_after_drift": habits["is_after_drift"].astype(np.bool_),
            "cycle_days": habits["cycle_days"].astype(np.float64),
        }
    )


def _write_items(items: Items, truth: Path) -> None:
    table = pa.table(
        {
            "item_id": items.item_id,
            "factors": _vectors(items.factors),
            "popularity": items.popularity,
            "class": items.item_class,
            "cycle_days": items.cycle_days,
            "category": items.category,
            "price": items.price,
        }
    )
    pq.write_table(table, truth / "items.parquet")
