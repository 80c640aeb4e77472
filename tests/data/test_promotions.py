"""What is promoted where: sets of places whatever the files, and shares that never look ahead."""

import random
from collections import defaultdict
from datetime import date, datetime, timedelta
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets import arrays
from data.connectors import resolve_files
from data.contracts.core import ITEMS
from data.contracts.promotions import PROMOTIONS
from data.contracts.raw import raw_table
from data.core import sources_of
from data.engine import DuckDB
from data.ingest import read_rows
from data.promotions import make_promotions, promoted_sql
from tests.support.shops import FLYERS, flyer_lines, workspace_of, write_shop

ITEM_CODES = ("a", "b", "c", "d")
START = date(2024, 1, 1)
LINE = st.tuples(
    st.sampled_from(ITEM_CODES),
    st.sampled_from(["", "1", "2", "30", "4"]),
    st.integers(0, 20),
    st.integers(0, 9),
    st.sampled_from(["", "0", "front", "rear"]),
    st.sampled_from(["0", "A", "D"]),
)
"""Item, place, first day, days after it, display, mailer."""


def text_of(line) -> str:
    item, place, first, days, display, mailer = line
    begins = START + timedelta(days=first)
    return f"{item},{place},{begins},{begins + timedelta(days=days)},{display},{mailer}"


def workspace_with(folder: Path, batches):
    """The corner shop with one file of promotions for each batch of lines."""
    workspace = workspace_of(write_shop(folder / "shop"), folder / "var")
    shop_file = workspace.shop.location
    shop_file.write_text(shop_file.read_text() + FLYERS)
    for number, batch in enumerate(batches):
        flyer_lines(shop_file.parent / "flyers" / f"{number:02d}.csv", map(text_of, batch))
    return workspace_of(shop_file, folder / "var")


def promotions_of(workspace, order=lambda files: files):
    """Rows of core.promotions, made of all files as if they had landed in some order."""
    files = order(resolve_files(workspace.shop, "flyers"))
    parts = [read_rows(workspace, "flyers", file, b"0" * 32).rows for file in files]
    [contract] = sources_of(workspace.shop, "promotions")
    with workspace.engine.session() as session:
        landed = pa.concat_tables(parts)
        session.register(contract.key, landed)
        session.register(ITEMS.key, pa.table({"item_id": list(ITEM_CODES)}))
        days = landed.column("day").unique()
        session.register("input_versions", pa.table({"day": days, "input_version": ["v"] * len(days)}))
        return PROMOTIONS.conform(make_promotions(workspace, session)[PROMOTIONS.key].data)


def by_hand(lines):
    """(item, from, until, display, mailer) -> places, in Python."""
    found = defaultdict(set)
    for item, place, first, days, display, mailer in lines:
        begins = datetime.combine(START + timedelta(days=first), datetime.min.time())
        ways = tuple(way if way not in ("", "0") else None for way in (display, mailer))
        found[item, begins, begins + timedelta(days=days + 1), *ways].add(place or "*")
    return {key: sorted(places) for key, places in found.items()}


def keyed(rows):
    return {
        (r["item_id"], r["valid_from_utc"], r["valid_until_utc"], r["display"], r["mailer"]): r["places"]
        for r in rows.to_pylist()
    }


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINE, min_size=1, max_size=40), data=st.data())
def test_any_order_and_any_batching_of_files_gives_the_same_rows(tmp_path_factory, lines, data):
    cuts = data.draw(st.lists(st.integers(1, 10), min_size=1, max_size=5))
    shuffled = data.draw(st.permutations(lines))
    remaining = iter([*shuffled, *shuffled[: data.draw(st.integers(0, 10))]])  # some lines come twice
    batches = [batch for size in cuts if (batch := list(islice(remaining, size)))]
    batches.append(list(remaining))
    split = promotions_of(workspace_with(tmp_path_factory.mktemp("split"), [b for b in batches if b]))
    whole = promotions_of(workspace_with(tmp_path_factory.mktemp("whole"), [lines]))
    assert split.equals(whole)
    assert keyed(whole) == by_hand(lines) and whole.num_rows == len(by_hand(lines))


def shares_by_hand(lines, instant):
    """Item -> (displayed, mailed) at an instant, from the lines alone."""
    valid = [(key, places) for key, places in by_hand(lines).items() if key[1] <= instant < key[2]]
    everywhere = {place for _, places in valid for place in places} - {"*"}
    found = {}
    for item in ITEM_CODES:
        shares = []
        for way in (3, 4):
            places = {place for key, said in valid if key[0] == item and key[way] for place in said}
            shares.append(1.0 if "*" in places else len(places) / max(len(everywhere), 1))
        found[item] = tuple(shares)
    return found


def published(lines):
    """Rows of core.promotions without their making."""
    names = ("item_id", "valid_from_utc", "valid_until_utc", "display", "mailer")
    rows = [
        dict(zip(names, key, strict=True)) | {"day": key[1].date(), "places": places, "input_version": "v"}
        for key, places in by_hand(lines).items()
    ]
    return pa.Table.from_pylist(rows, PROMOTIONS.arrow_schema())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINE, min_size=1, max_size=40), hour=st.integers(-24, 24 * 32))
def test_shares_at_an_instant_are_those_of_the_places_that_promote_then(tmp_path, lines, hour):
    instant = datetime.combine(START, datetime.min.time()) + timedelta(hours=hour)
    promoted = published(lines)
    with DuckDB(tmp_path, 1, "500MB").session() as session:
        session.register(PROMOTIONS.key, promoted)
        rows = session.query(promoted_sql(instant)).to_pylist()
        later = session.query(
            f"select * from {PROMOTIONS.key} where valid_from_utc <= timestamp '{instant.isoformat(sep=' ')}'"
        )
        session.register(PROMOTIONS.key, later)
        assert session.query(promoted_sql(instant)).to_pylist() == rows, "what begins later changes nothing"
    found = {row["item_id"]: (row["displayed"], row["mailed"]) for row in rows}
    expected = {item: shares for item, shares in shares_by_hand(lines, instant).items() if any(shares)}
    assert found.keys() == expected.keys()
    assert all(found[item] == pytest.approx(shares) for item, shares in expected.items())
    assert all(row["as_of_utc"] == instant for row in rows)


def test_the_ranking_room_gets_one_row_an_item_in_the_order_of_the_catalogue(tmp_path):
    draw = random.Random(3)
    lines = [
        ("a", str(place), week * 7, 6, draw.choice(["0", "front"]), draw.choice(["0", "A"]))
        for week in range(3) for place in range(10)
    ] + [("zz", "1", 0, 20, "front", "A"), ("d", "", 7, 6, "front", "0")]  # fmt: skip
    workspace = workspace_with(tmp_path, [lines])
    promoted, at = promotions_of(workspace), datetime(2024, 1, 10, 12)
    assert "zz" not in promoted.column("item_id").to_pylist(), "the catalogue lacks it"
    items = {"title": "t", "description": None, "category_path": None, "brand": None, "price": None, "image": None}
    rows = [{"item_id": item, **items, "is_available": True} for item in ITEM_CODES]
    workspace.lake.publish(ITEMS, pa.Table.from_pylist(rows, ITEMS.arrow_schema()), fingerprint="")
    with workspace.engine.session() as session:
        assert not arrays.promotions(workspace, session, at).any(), "nothing is published yet"
        workspace.lake.publish(
            PROMOTIONS, promoted, fingerprint="", days=sorted(set(promoted.column("day").to_pylist()))
        )
        found = arrays.promotions(workspace, session, at)
    expected = shares_by_hand([line for line in lines if line[0] != "zz"], at)
    assert found.dtype == np.float32 and found.shape == (4, 2) and found.min() >= 0 and found.max() <= 1
    assert found == pytest.approx(np.array([expected[item] for item in ITEM_CODES], np.float32))
    assert found[3].tolist() == [1.0, 0.0]


def test_no_column_of_promotions_is_about_a_person():
    for table in (raw_table("flyers", "promotions"), PROMOTIONS):
        assert table.privacy == "public"
        assert {column.sensitivity for column in table.columns} <= {"public", "operational"}
