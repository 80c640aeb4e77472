"""Drafting a shop.yaml from strangers' files: each draft must load, read its files and show no problem."""

import datetime as dt
import gzip
import json
import os
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.connectors import resolve_files
from data.shop.config import Shop
from data.shop.draft import draft
from data.shop.errors import ShopError
from data.shop.load import load_shop, parse_shop
from data.shop.mapping import read_batch
from data.shop.preview import Preview, preview

UCI = Path(os.environ.get("UCI_ONLINE_RETAIL", Path(__file__).parents[4] / "shared" / "data" / "uci-online-retail"))


def drafted(folder: Path) -> tuple[str, Shop, Preview]:
    text = draft(folder)
    shop = parse_shop(text, folder / "shop.yaml")
    return text, shop, preview(shop)


def guessable(shown: Preview) -> list[str]:
    """Problems besides the one line that only the owner can fill in: how many users are publicly known."""
    first, *others = shown.problems
    assert "declared_users is missing" in first
    return others


def test_ratings_with_unix_seconds_and_a_catalogue(tmp_path: Path) -> None:
    ratings = [f"{u},{m},{(u + m) % 5 + 0.5},{964982703 + 60 * u}" for u in range(1, 9) for m in range(1, 9)]
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + "\n".join(ratings) + "\n")
    (tmp_path / "movies.csv").write_text(
        'movieId,title,genres\n1,"Story, A (1995)",Adventure|Comedy\n'
        + "".join(f"{n},B{n} (1995),Drama\n" for n in range(2, 9))
    )
    text, shop, shown = drafted(tmp_path)
    source = shop.sources["ratings"]
    assert source.event_type is not None and source.event_type.constant == "rating"
    assert source.columns["value"].column == "rating"
    assert source.time is not None and source.time.format == "unix_s"
    assert shop.calendar is not None and shop.calendar.start == dt.date(2000, 7, 30)
    assert shop.sources["movies"].kind == "items"
    assert not guessable(shown) and shown.rows["ratings"]["value"].to_pylist()[0] == "2.5"
    assert shown.rows["movies"]["title"].to_pylist()[0] == "Story, A (1995)"
    assert "not used" not in text


def test_a_headerless_clickstream(tmp_path: Path) -> None:
    words = ("pv", "cart", "fav", "buy")
    lines = [f"{n % 7 + 100},{n % 11 + 2000},{n % 3 + 50},{words[n % 4]},{1511544070 + 3600 * n}" for n in range(60)]
    (tmp_path / "clicks.csv").write_text("\n".join(lines) + "\n")
    text, shop, shown = drafted(tmp_path)
    source = shop.sources["clicks"]
    assert source.time is not None and (source.time.column, source.time.format) == ("column_5", "unix_s")
    assert source.columns["user_id"].column == "column_1" and source.columns["item_id"].column == "column_2"
    assert not guessable(shown) and "is a guess from its place" in text
    assert set(shown.rows["clicks"]["event_type"].to_pylist()) == {"view", "cart", "favourite", "purchase"}
    assert shown.rows["clicks"]["occurred_at_utc"].to_pylist()[0] == dt.datetime(2017, 11, 24, 17, 21, 10)
    assert shop.calendar is not None and shop.calendar.start == dt.date(2017, 11, 24)
    assert shop.sources["clicks_items"].kind == "items"


def test_nested_json_lines_and_zoned_csv(tmp_path: Path) -> None:
    event = {"user": {"id": "v1"}, "event_type": "view", "timestamp": "2019-10-01T00:00:00Z", "product": {"id": 3}}
    other = event | {"event_type": "hover", "product": {"id": 4, "price": 2.5}}
    (tmp_path / "web.jsonl").write_text(json.dumps(event) + "\n" + json.dumps(other) + "\n")
    (tmp_path / "shop.tsv").write_text("event_time\tevent_type\tproduct_id\tprice\tuser_id\tuser_session\n"
                                       "2019-10-01 00:00:00 UTC\tview\t9\t1.5\t7\ts1\n")  # fmt: skip
    text, shop, shown = drafted(tmp_path)
    web = shop.sources["web"]
    assert (web.columns["user_id"].column, web.columns["item_id"].column) == ("user.id", "product.id")
    assert '"hover"' in text and "event types 'hover' are unknown" in guessable(shown)[0]
    assert shown.rows["web"]["item_id"].to_pylist() == ["3", "4"]
    assert shop.sources["shop"].columns["session_id"].column == "user_session"
    assert shown.rows["shop"]["occurred_at_utc"].to_pylist() == [dt.datetime(2019, 10, 1)]


def test_files_of_one_schema_are_one_source_and_strange_ones_a_note(tmp_path: Path) -> None:
    (tmp_path / "days").mkdir()
    for day in (1, 2, 3):
        rows = f"order_date;customer_no;sku;units;unit_price\n0{day}.03.2020;c{day}.0;A{day};2;1,5\n"
        (tmp_path / "days" / f"{day}.csv.gz").write_bytes(gzip.compress(rows.encode("cp1252")))
    (tmp_path / "weather.csv").write_text("station,rain\n1,2\n")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    pq.write_table(
        pa.table({"customer_no": ["c1", "c2"], "e_mail": ["a@b", "c@d"], "age": [1, 2]}), tmp_path / "people.pq"
    )
    text, shop, shown = drafted(tmp_path)
    assert shop.sources["days"].path == ("days/*.csv.gz",) and shown.files["days"] == 3
    assert shop.sources["days"].time is not None and shop.sources["days"].time.format == "%d.%m.%Y"
    assert shop.sources["people"].kind == "users" and shop.sources["people"].columns["attributes"].columns == ("age",)
    assert "weather.csv is not used" in text and "broken.parquet" in text
    assert not guessable(shown)
    [row] = shown.rows["days"].to_pylist()
    assert (row["quantity"], row["value"]) == ("2", "3")


def test_a_folder_without_a_shop_says_so(tmp_path: Path) -> None:
    with pytest.raises(ShopError, match="holds no .csv"):
        draft(tmp_path)
    (tmp_path / "weather.csv").write_text("station,rain\n1,2\n")
    with pytest.raises(ShopError, match="no file looks like events.*weather.csv is not used"):
        draft(tmp_path)


def test_complete_journey_is_understood(tmp_path: Path) -> None:
    example = load_shop(Path(__file__).parents[3] / "examples" / "complete_journey" / "shop.yaml")
    folder = Path(resolve_files(example, "transactions")[0].path).parent
    for name in ("transactions", "products", "demographics"):
        (tmp_path / f"{name}.parquet").symlink_to(folder / f"{name}.parquet")
    _, shop, shown = drafted(tmp_path)
    assert not guessable(shown)
    for column in ("user_id", "item_id", "session_id", "quantity", "value", "discount", "place"):
        assert shop.sources["transactions"].columns[column] == example.sources["transactions"].columns[column]
    assert shop.sources["products"].columns["category_path"] == example.sources["products"].columns["category_path"]
    assert shop.sources["demographics"].columns == example.sources["demographics"].columns


@pytest.mark.skipif(not UCI.is_dir() and not os.environ.get("REQUIRE_ALL"), reason=f"no UCI data at {UCI}")
def test_uci_counts_the_lines_of_both_sources_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UCI_ONLINE_RETAIL", str(UCI))
    shop = load_shop(Path(__file__).parents[3] / "examples" / "uci_online_retail" / "shop.yaml")
    key = bytes(32)
    with duckdb.connect() as connection:
        [old] = resolve_files(shop, "invoices_2010")
        new = [file for file in resolve_files(shop, "invoices_2011") if file.name < "2010-12-10"]
        first = read_batch(connection, shop, "invoices_2010", old, key).rows
        second = pa.concat_tables(read_batch(connection, shop, "invoices_2011", file, key).rows for file in new)
        connection.register("first", first)
        connection.register("second", second)
        query = "SELECT count(*) FROM {} WHERE event_id IN (SELECT event_id FROM {})"
        assert connection.sql(query.format("first", "second")).fetchall() == [(22523,)]
        assert connection.sql(query.format("second", "first")).fetchall() == [(22523,)]
    assert second.num_rows == 22523 and "nan" not in set(second["user_id"].to_pylist())


def transactions_and(tmp_path: Path, name: str, header: str, lines: list[str]) -> None:
    """A till that says the week of each purchase, a catalogue, and one more file."""
    start = dt.date(2020, 1, 1)  # a Wednesday, in week 2: weeks begin on Sundays here, the first on 2019-12-22
    days = [start + dt.timedelta(days=n % 60) for n in range(240)]
    sales = [f"c{n % 20},p{n % 12},{day},{1 + (day - dt.date(2019, 12, 22)).days // 7}" for n, day in enumerate(days)]
    (tmp_path / "transactions.csv").write_text("\n".join(["household_id,product_id,day,week", *sales, ""]))
    (tmp_path / "products.csv").write_text("product_id,name\n" + "".join(f"p{n},Thing {n}\n" for n in range(12)))
    (tmp_path / name).write_text("\n".join([header, *lines, ""]))


def test_promotions_of_numbered_weeks_learn_from_the_till_when_week_1_began(tmp_path: Path) -> None:
    lines = [f"p{n % 12},{n % 5},{n % 3},{'ADX'[n % 3]},{1 + n % 9}" for n in range(200)]
    header = "product_id,store_id,display_location,mailer_location,week"
    transactions_and(tmp_path, "promotions.csv", header, lines)
    text, shop, shown = drafted(tmp_path)
    source = shop.sources["promotions"]
    assert source.kind == "promotions" and source.public
    assert source.valid is not None and (source.valid.week, source.valid.week_one) == ("week", dt.date(2019, 12, 22))
    assert {name: column.column for name, column in source.columns.items()} == {
        "item_id": "product_id", "place": "store_id", "display": "display_location", "mailer": "mailer_location",
    }  # fmt: skip
    assert "public: true # check" in text and "# check: the day on which week 1 begins" in text
    assert not guessable(shown) and shown.rows["promotions"].num_rows


def test_weeks_that_no_till_tells_begin_on_the_monday_before_the_data(tmp_path: Path) -> None:
    transactions_and(
        tmp_path, "leaflets.csv", "product_id,wk_no,leaflet", [f"p{n % 12},{1 + n % 9},A" for n in range(50)]
    )
    _, shop, _ = drafted(tmp_path)
    valid = shop.sources["leaflets"].valid
    assert valid is not None and valid.week_one == dt.date(2019, 12, 30)


@pytest.mark.parametrize(
    ("header", "line", "valid"),
    [
        (
            "product_id,valid_from,valid_to,featured",
            "2020-01-{a:02d},2020-01-{b:02d},y",
            ("valid_from", "valid_to", None),
        ),
        (
            "product_id,start_date,end_date,display",
            "{a:02d}.01.2020,{b:02d}.01.2020,end",
            ("start_date", "end_date", None),
        ),
        ("product_id,date,on_promotion", "2020-01-{a:02d},true", ("date", None, 1)),
        ("product_id,week_start,flyer", "2020-01-{c:02d},true", ("week_start", None, 7)),
    ],
)
def test_promotions_with_days(
    tmp_path: Path, header: str, line: str, valid: tuple[str, str | None, int | None]
) -> None:
    lines = [f"p{n % 12}," + line.format(a=1 + n % 9, b=15 + n % 9, c=6 + 7 * (n % 3)) for n in range(60)]
    transactions_and(tmp_path, "offers.csv", header, lines)
    _, shop, shown = drafted(tmp_path)
    source = shop.sources["offers"]
    assert source.valid is not None and (source.valid.start, source.valid.end, source.valid.days) == valid
    assert not guessable(shown)


def test_what_names_people_is_no_promotion(tmp_path: Path) -> None:
    lines = [f"p{n % 12},c{n % 20},{1 + n % 9},A" for n in range(50)]
    transactions_and(tmp_path, "coupons.csv", "product_id,household_id,week,mailer", lines)
    _, shop, _ = drafted(tmp_path)
    assert {source.kind for source in shop.sources.values()} == {"events", "items"}
