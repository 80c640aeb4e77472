"""Matching of returns: the latest purchase first, part of one or several, never below nothing."""

from datetime import datetime, timedelta
from random import Random

import duckdb
import pyarrow as pa
import pytest

from data.contracts.core import ITEMS
from data.core import make_corrections
from data.ingest import ingest
from data.models import model
from tests.support.runs import land
from tests.support.shops import YAML, workspace_of, write_shop

START = datetime(2024, 1, 1, 10)
SCHEMA = pa.schema([
    ("user_id", pa.string()), ("item_id", pa.string()), ("event_id", pa.string()), ("event_type", pa.string()),
    ("occurred_at_utc", pa.timestamp("us")), ("day", pa.date32()), ("quantity_given", pa.float64()),
    ("reason", pa.string()), ("content", pa.string()),
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
        given = {"event_type": kind, "quantity_given": float(abs(units)), "reason": None, "content": ""}
        rows.append({**row, **given, **more})
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


def test_purchases_of_one_instant_go_by_what_they_say_and_their_ids_decide_among_copies_alone():
    bought, returned = judged([(0, 1), (0, 2), (0, 4)]), judged([(1, -3)], event_id="9999")
    for row, content in zip(bought, "bca", strict=True):
        row["content"] = content
    assert cancelled(bought + returned) == {
        ("u", "0000"): 1.0,
        ("u", "0001"): 2.0,
        ("u", "0002"): 0.0,
        ("u", "9999"): 3.0,
    }
    copies = judged([(0, 2), (0, 2)], content="c")
    assert cancelled(copies + returned) == {("u", "0000"): 1.0, ("u", "0001"): 2.0, ("u", "9999"): 3.0}


def netted(folder, draw, files, monkeypatch):
    """What is cancelled of each line that landed, without what the key decides; and the ids of the events."""
    yaml = YAML.replace("    time: at\n", "    returns: negative_quantity\n    time: at\n").replace(
        "event_id: id, ", ""
    )
    workspace = workspace_of(write_shop(folder, [], yaml), folder / "var")
    monkeypatch.setenv("PORTRAIT_KEY", draw.randbytes(32).hex())
    for number in draw.sample(range(len(files)), len(files)):
        land(workspace, f"{number}.csv", files[number])
        ingest(workspace, "tills", lambda said: None)
    with workspace.engine.session() as session:
        session.attach(workspace.raw("tills"), workspace.lake)
        items = [{"item_id": item, "title": item, "is_available": True} for item in "abcd"]
        session.register(ITEMS.key, pa.Table.from_pylist(items, ITEMS.arrow_schema()))
        make_corrections(workspace, session)
        found = session.query(
            "select s.session_id, s.item_id, s.quantity_given, s.file, s.line, c.cancelled, s.event_id "
            "from events_cancelled c join events_settled s on s.reason is null and c.user_id = s.user_id "
            "and c.event_id = s.event_id and c.day = s.day order by s.file, s.line"
        ).to_pylist()
    return [{**row, "event_id": None} for row in found], [row["event_id"] for row in found]


def test_neither_the_key_nor_the_order_of_landing_decides_what_is_cancelled(tmp_path, monkeypatch):
    draw = Random(5)
    lines = []
    for basket in range(60):
        who, item, at = f"c{basket % 20}", draw.choice("abcd"), f"2024-01-{2 + basket % 20:02d} 10:00:00"
        lines += [f",{who},{item},buy,{n},{n * 1.5},{at},x{basket}" for n in draw.sample(range(1, 9), 4)]
        lines.append(f",{who},{item},buy,-5,-7.5,{at},y{basket}")
    draw.shuffle(lines)
    files = [lines[n::3] for n in range(3)]
    (first, ids), *others = [netted(tmp_path / str(n), draw, files, monkeypatch) for n in range(3)]
    assert len(first) == len(lines) and sum(0 < r["cancelled"] < r["quantity_given"] for r in first) > 20
    for found, made_ids in others:
        assert found == first
        assert not set(made_ids) & set(ids)  # two keys, and no id alike
