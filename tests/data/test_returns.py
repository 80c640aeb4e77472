"""Matching of returns: the latest purchase first, part of one or several, never below nothing."""

from datetime import datetime, timedelta
from random import Random

import duckdb
import pyarrow as pa
import pytest

from data.models import model

START = datetime(2024, 1, 1, 10)
SCHEMA = pa.schema([
    ("user_id", pa.string()), ("item_id", pa.string()), ("event_id", pa.string()), ("event_type", pa.string()),
    ("occurred_at_utc", pa.timestamp("us")), ("day", pa.date32()), ("quantity_given", pa.float64()),
    ("reason", pa.string()),
])  # fmt: skip

# History as (hour, units), a return where the units are negative; and what is cancelled of each event.
CASES = {
    "nothing returned": ([(0, 3)], None),
    "a whole purchase": ([(0, 3), (1, -3)], [3, 3]),
    "part of a purchase": ([(0, 3), (1, -1)], [1, 1]),
    "one purchase in two parts": ([(0, 3), (1, -1), (2, -2)], [3, 1, 2]),
    "the latest purchase first": ([(0, 5), (1, 2), (2, -2)], [0, 2, 2]),
    "several purchases": ([(0, 5), (1, 2), (2, -4)], [2, 2, 4]),
    "only purchases before it": ([(0, 1), (1, -1), (2, 4)], [1, 1, 0]),
    "a purchase of the same instant": ([(0, -2), (0, 3)], [2, 2]),
    "more than was bought": ([(0, 2), (1, -5)], [2, 2]),
    "before any purchase": ([(0, -5), (1, 2)], [0, 0]),
    "what a return did not find is no debt": ([(0, -5), (1, 2), (2, -1)], [0, 1, 1]),
    "a later purchase on top of a rest": ([(0, 5), (1, -2), (2, 4), (3, -5)], [3, 2, 4, 5]),
    "fractions": ([(0, 0.3), (1, -0.1), (2, -0.2)], [0.3, 0.1, 0.2]),
}


def judged(history, **more):
    """Settled rows, one for each (hour, units)."""
    rows = []
    for number, (hour, units) in enumerate(history):
        at = START + timedelta(hours=hour)
        row = {"user_id": "u", "item_id": "a", "event_id": f"{number:04d}", "occurred_at_utc": at, "day": at.date()}
        kind = "return" if units < 0 else "purchase"
        rows.append({**row, "event_type": kind, "quantity_given": float(abs(units)), "reason": None, **more})
    return rows


def cancelled(rows):
    """(user, item, event) -> units."""
    with duckdb.connect() as connection:
        connection.register("events_settled", pa.Table.from_pylist(rows, SCHEMA))
        found = connection.sql(model("core/events_cancelled")).to_arrow_table().to_pylist()
    return {(r["user_id"], r["event_id"]): float(r["cancelled"]) for r in found}


@pytest.mark.parametrize("name", CASES)
def test_by_hand(name):
    history, expected = CASES[name]
    found = cancelled(judged(history))
    assert found == {("u", f"{n:04d}"): float(units) for n, units in enumerate(expected or [])}


def test_users_items_faults_and_anonymous_rows_do_not_mix():
    own = judged([(0, 3), (1, -1)])
    others = judged([(2, -3)], user_id="v") + judged([(2, -2)], user_id=None)
    others += judged([(2, -2)], event_id="9000", reason="duplicate") + judged([(2, -1)], item_id="b", event_id="9001")
    found = cancelled(own + others)
    assert found == {("u", "0000"): 1.0, ("u", "0001"): 1.0, ("v", "0000"): 0.0, ("u", "9001"): 0.0}


def test_without_times_the_purchases_of_a_day_come_first():
    assert cancelled(judged([(0, -2), (1, 3)], occurred_at_utc=None)) == {("u", "0000"): 2.0, ("u", "0001"): 2.0}


def test_random_histories_equal_a_stack():
    draw = Random(3)
    for _ in range(30):
        history = sorted(
            ((draw.randrange(40), draw.choice((1, 2, 3, 4, -1, -2, -5))) for _ in range(draw.randrange(2, 30))),
            key=lambda event: (event[0], event[1] < 0),
        )
        expected, stack = [0.0] * len(history), []
        for number, (_, units) in enumerate(history):
            if units > 0:
                stack.append([number, units])
            while units < 0 and stack:
                taken = min(-units, stack[-1][1])
                for event in (number, stack[-1][0]):
                    expected[event] += taken
                stack[-1][1] -= taken
                units += taken
                if not stack[-1][1]:
                    stack.pop()
        if any(units < 0 for _, units in history):
            rows = judged(history)
            draw.shuffle(rows)
            assert cancelled(rows) == {("u", f"{n:04d}"): units for n, units in enumerate(expected)}
