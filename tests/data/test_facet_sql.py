"""The rendered facet SQL on DuckDB: any batching gives the same bits, a checkpoint the same state, numpy the same."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import product
from random import Random

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.contracts.core import EVENT_TYPES
from data.contracts.facets import EVENT_RULES
from data.facet_sql import DECAYED, daily_sql, item_facts, state_sql
from data.portable import column_lineage, lint, tables, to_spark
from ml import decay

ITEMS = [
    {"item_id": "i1", "category_path": "A > B > C", "brand": "x", "price": 2.5},
    {"item_id": "i2", "category_path": "A > B", "brand": "", "price": None},
    {"item_id": "i3", "category_path": "A > Z > C > D", "brand": "é y", "price": 100.0},
    {"item_id": "i4", "category_path": None, "brand": None, "price": 0.99},
]
ITEM = {row["item_id"]: row for row in ITEMS}
ITEM_SCHEMA = pa.schema([("item_id", "string"), ("category_path", "string"), ("brand", "string"), ("price", "float64")])
EVENT_SCHEMA = pa.schema([
    ("event_id", "string"), ("user_id", "string"), ("item_id", "string"), ("event_type", "string"),
    ("occurred_at_utc", pa.timestamp("us")), ("day", pa.date32()), ("quantity", "float64"), ("value", "float64"),
    ("discount", "float64"), ("session_id", "string"),
])  # fmt: skip
START, SPAN_DAYS = datetime(2017, 1, 1), 120
END = START + timedelta(days=SPAN_DAYS)

Row = dict[str, object]


@st.composite
def histories(draw: st.DrawFn) -> list[Row]:
    """Events of two users and nobody, some without time (they carry the declared first day), item or session."""
    rows = []
    for n in range(draw(st.integers(1, 25))):
        at = START + timedelta(microseconds=draw(st.integers(0, SPAN_DAYS * 86_400_000_000 - 1)))
        if draw(st.integers(0, 3)) == 0:  # near a midnight, where days and anchors meet
            at = datetime.combine(at.date(), draw(st.sampled_from([time.min, time.max])))
        timed = draw(st.integers(0, 9)) > 0
        rows.append({
            "event_id": f"e{n}",
            "user_id": draw(st.sampled_from(["u1", "u1", "u2", None])),
            "item_id": draw(st.sampled_from(["i1", "i2", "i3", "i4", "unknown", None])),
            "event_type": draw(st.sampled_from(EVENT_TYPES)),
            "occurred_at_utc": at if timed else None,
            "day": at.date() if timed else START.date(),
            "quantity": draw(st.sampled_from([0.0, 1.0, 2.0, 0.731, 4999.0])),
            "value": draw(st.sampled_from([0.0, 0.1, 1.0, 3.99, 5.0, 250.0])),
            "discount": draw(st.sampled_from([0.0, 0.3])),
            "session_id": draw(st.sampled_from(["s1", "s2", None])),
        })  # fmt: skip
    return rows


@pytest.fixture(scope="module")
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": "2"}) as connection:
        connection.register("items_", pa.Table.from_pylist(ITEMS, schema=ITEM_SCHEMA))
        connection.execute("create schema core; create schema features; create schema profile")
        connection.execute("create table core.items as select * from items_")
        yield connection


def daily(duck: duckdb.DuckDBPyConnection, events: Iterable[Row]) -> pa.Table:
    duck.register("events_", pa.Table.from_pylist(list(events), schema=EVENT_SCHEMA))
    duck.execute("create or replace view core.events as select * from events_")
    return duck.sql(daily_sql()).to_arrow_table()


Checkpoint = tuple[pa.Table, datetime]


def state(
    duck: duckdb.DuckDBPyConnection, days: pa.Table, as_of: datetime, checkpoint: Checkpoint | None = None
) -> pa.Table:
    duck.register("days_", days)
    duck.execute("create or replace view features.daily as select * from days_")
    if checkpoint is None:
        return duck.sql(state_sql(as_of)).to_arrow_table()
    duck.register("checkpoint_", checkpoint[0])
    duck.execute("create or replace view profile.state as select * from checkpoint_")
    return duck.sql(state_sql(as_of, "features.daily", "profile.state", checkpoint[1])).to_arrow_table()


def rows(table: pa.Table) -> list[Row]:
    order = ["user_id", "facet", "key", *(["day"] if "day" in table.column_names else [])]
    return sorted(table.to_pylist(), key=lambda row: [str(row[name]) for name in order])


def assert_states_equal(found: pa.Table, expected: pa.Table) -> None:
    """Exact but for the floating sums, which agree to 1e-9."""
    assert found.num_rows == expected.num_rows
    for a, b in zip(rows(found), rows(expected), strict=True):
        assert a == {name: pytest.approx(v, rel=1e-9, abs=1e-9) if isinstance(v, float) else v for name, v in b.items()}


@settings(max_examples=20, deadline=None, derandomize=True)
@given(histories(), st.randoms(use_true_random=False))
def test_shuffled_and_day_by_day_give_the_same_bits(
    duck: duckdb.DuckDBPyConnection, events: list[Row], random: Random
) -> None:
    batch = rows(daily(duck, events))
    shuffled = list(events)
    random.shuffle(shuffled)
    assert rows(daily(duck, shuffled)) == batch
    days = sorted({row["day"] for row in events})
    random.shuffle(days)
    parts = [daily(duck, [row for row in shuffled if row["day"] == day]) for day in days]
    assert rows(pa.concat_tables(parts)) == batch
    keys = [(row["user_id"], row["day"], row["facet"], row["key"]) for row in batch]
    assert len(set(keys)) == len(keys)
    assert None not in {row["user_id"] for row in batch}


@settings(max_examples=20, deadline=None, derandomize=True)
@given(histories(), st.integers(0, SPAN_DAYS), st.integers(0, 400), st.randoms(use_true_random=False))
def test_checkpoint_and_later_days_equal_all_days(
    duck: duckdb.DuckDBPyConnection, events: list[Row], cut: int, wait_days: int, random: Random
) -> None:
    days, instant = daily(duck, events), START + timedelta(days=cut)
    as_of = END + timedelta(days=wait_days, seconds=random.randrange(86_400))
    expected = state(duck, days, as_of)
    permuted = days.take(random.sample(range(days.num_rows), days.num_rows))
    assert rows(state(duck, permuted, as_of)) == rows(expected)
    checkpoint = state(duck, days, instant)
    assert_states_equal(state(duck, days, as_of, (checkpoint, instant)), expected)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(histories(), st.data())
def test_a_late_event_rewrites_its_day_only(
    duck: duckdb.DuckDBPyConnection, events: list[Row], data: st.DataObject
) -> None:
    late = data.draw(st.sampled_from(events))
    before = daily(duck, [row for row in events if row is not late])
    day = daily(duck, [row for row in events if row["day"] == late["day"]])
    kept = before.filter(pc.not_equal(before["day"], pa.scalar(late["day"])))
    assert rows(pa.concat_tables([kept, day])) == rows(daily(duck, events))


def in_numpy(events: list[Row]) -> decay.State:
    """The same history through `ml.decay`, one state an event, merged."""
    merged = decay.empty()
    for row in events:
        if row["user_id"] is None or not EVENT_RULES[row["event_type"]].is_interaction:
            continue
        item = ITEM.get(row["item_id"], {})
        price = item.get("price")
        if price is None and row["event_type"] == "purchase" and row["quantity"]:
            price = row["value"] / row["quantity"]
        keys = decay.facet_keys(row["item_id"], item.get("category_path"), item.get("brand"), price)
        names = [f"{row['user_id']}|{facet}|{key}" for facet, key in keys.items()]
        at = row["occurred_at_utc"] or datetime.combine(row["day"] + timedelta(days=1), time.min)
        f = decay.event_function([row["event_type"]], np.asarray([row["quantity"]]), np.asarray([row["value"]]))
        at_s = int(at.replace(microsecond=0, tzinfo=UTC).timestamp())
        merged = decay.merge(merged, decay.from_events(names, [at_s] * len(names), f.repeat(len(names))))
    return merged


@settings(max_examples=25, deadline=None, derandomize=True)
@given(histories(), st.integers(0, 90 * 86_400))
def test_sql_equals_numpy_on_every_facet(duck: duckdb.DuckDBPyConnection, events: list[Row], wait_s: int) -> None:
    as_of = END + timedelta(seconds=wait_s)
    found = {f"{r['user_id']}|{r['facet']}|{r['key']}": r for r in rows(state(duck, daily(duck, events), as_of))}
    expected = in_numpy(events)
    sums = decay.as_of(expected, int(as_of.replace(tzinfo=UTC).timestamp()))
    assert sorted(found) == sorted(expected.keys.tolist())
    for key, values in zip(expected.keys.tolist(), sums, strict=True):
        np.testing.assert_allclose([found[key][name] for name in DECAYED], values, rtol=1e-9, atol=1e-9)


def event(**given_: object) -> Row:
    at = given_.get("occurred_at_utc", datetime(2017, 1, 1, 12))
    plain = {"event_id": "e", "user_id": "u", "item_id": "i1", "event_type": "purchase", "occurred_at_utc": at,
             "day": at.date(), "quantity": 2.0, "value": 6.0, "discount": 1.0, "session_id": "s"}  # fmt: skip
    return {**plain, **given_}


def test_a_day_by_hand(duck: duckdb.DuckDBPyConnection) -> None:
    events = [event(), event(event_type="return", quantity=1.0, value=3.0, session_id="t"), event(event_type="search")]
    found = {(r["facet"], r["key"]): r for r in rows(daily(duck, events))}
    assert sorted(found) == [
        ("all", "all"), ("brand", "x"), ("category_1", "A"), ("category_2", "A > B"), ("category_3", "A > B > C"),
        ("item", "i1"), ("price_band", "2-3"),
    ]  # fmt: skip
    row = found["item", "i1"]
    assert (row["n_events"], row["n_sessions"], row["quantity"], row["value"], row["discount"]) == (2, 1, 2.0, 6.0, 1.0)
    assert row["decayed_28d"] == pytest.approx(2 * 2 ** (-0.5 / 28), rel=1e-12)
    assert row["first_at_utc"] == row["last_at_utc"] == datetime(2017, 1, 1, 12)


def test_who_only_returned_something_is_interested_in_nothing(duck: duckdb.DuckDBPyConnection) -> None:
    assert rows(daily(duck, [event(event_type="return")])) == []


@pytest.mark.parametrize(
    ("item_id", "event_type", "band"), [("i1", "purchase", "2-3"), ("i2", "purchase", "3-5"), ("i2", "view", None)]
)
def test_price_band_is_of_the_list_price_or_the_paid_one(
    duck: duckdb.DuckDBPyConnection, item_id: str, event_type: str, band: str | None
) -> None:
    found = {r["facet"]: r["key"] for r in rows(daily(duck, [event(item_id=item_id, event_type=event_type)]))}
    assert found.get("price_band") == band


def test_sums_of_a_day_differ_exactly_where_the_facts_of_an_item_do(duck: duckdb.DuckDBPyConnection) -> None:
    paths = [None, "", "A", "A > B", "A > B > C", "A > B > C > D", "A > B > C > E", " > B"]
    prices = [None, 0.0, 0.99, 1.0, 2.0, 2.5, 2.99, 3.0, 100.0, 1e6]
    described = list(product(paths, [None, "", "x", "X"], prices))
    items = [dict(zip(ITEM_SCHEMA.names, (f"i{n}", *one), strict=True)) for n, one in enumerate(described)]
    duck.register("described", pa.Table.from_pylist(items, schema=ITEM_SCHEMA))
    events = [
        event(event_id=what, user_id=f"u{n}", item_id=f"i{n}", event_type=what)
        for n in range(len(items))
        for what in ("purchase", "view")
    ]
    daily(duck, events)
    sums: dict[str, list[Row]] = {}
    for row in rows(duck.sql(daily_sql(items="described")).to_arrow_table()):
        if row["facet"] != "item":
            sums.setdefault(str(row.pop("user_id")), []).append(row)
    told = duck.sql(item_facts("described")).to_arrow_table().drop_columns(["key_item"]).to_pylist()
    facts = {row.pop("item_id"): str(row) for row in told}
    pairs = {(facts[f"i{n}"], str(sums[f"u{n}"])) for n in range(len(items))}
    assert len(pairs) == len({fact for fact, _ in pairs}) == len({total for _, total in pairs}) == 4 * 3 * 6


def test_days_after_the_instant_do_not_count(duck: duckdb.DuckDBPyConnection) -> None:
    days = daily(duck, [event(), event(occurred_at_utc=datetime(2017, 1, 5))])
    (row,) = (r for r in rows(state(duck, days, datetime(2017, 1, 5))) if r["facet"] == "all")
    assert (row["n_events"], row["n_days"], row["last_day"]) == (1, 1, date(2017, 1, 1))
    assert row["decayed_28d"] == pytest.approx(2 * 2 ** (-3.5 / 28), rel=1e-12)
    (row,) = (r for r in rows(state(duck, days, datetime(2017, 1, 5, 0, 0, 1))) if r["facet"] == "all")
    assert (row["n_events"], row["n_days"]) == (2, 2)


def test_the_queries_are_portable_and_have_lineage() -> None:
    instants = {"as_of": datetime(2017, 3, 1), "checkpoint_at": datetime(2017, 2, 1), "checkpoint": "profile.state"}
    for sql in (daily_sql(), item_facts(), state_sql(datetime(2017, 3, 1, 4)), state_sql(**instants)):
        assert lint(sql) == []
        assert "MATERIALIZED" not in to_spark(sql)
    assert tables(daily_sql()) == ("core.events", "core.items")
    schemas = {
        "core.events": dict.fromkeys(EVENT_SCHEMA.names, "VARCHAR"),
        "core.items": dict.fromkeys(ITEM_SCHEMA.names, "VARCHAR"),
    }
    found = column_lineage(daily_sql(), schemas)
    assert set(found["decayed_28d"]) >= {("core.events", c) for c in ("event_type", "occurred_at_utc", "quantity")}
    assert ("core.items", "category_path") in found["key"]


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"as_of": datetime(2017, 3, 1, tzinfo=UTC)}, "give a naive UTC instant"),
        ({"checkpoint": "profile.state"}, "give both or neither"),
        ({"checkpoint": "p.s", "checkpoint_at": datetime(2017, 2, 1, 1)}, "give a midnight"),
        ({"checkpoint": "p.s", "checkpoint_at": datetime(2017, 4, 1)}, "not after as_of"),
    ],
)
def test_instants_are_checked(given_: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        state_sql(**{"as_of": datetime(2017, 3, 1), **given_})
