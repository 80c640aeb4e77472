"""Files of shops found in the wild, made up here in their shapes: each draft loads, is read, and guesses right."""

import datetime as dt
import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from data.shop.draft import draft
from data.shop.errors import ShopError
from tests.support.strangers import ROWS, drafted, kinds, mapped, objects, time_of, types, write

UNIX = 1_506_800_000


def test_events_in_milliseconds_with_properties_one_a_row(tmp_path: Path) -> None:
    words = ("view", "view", "addtocart", "transaction")
    write(
        tmp_path / "events.csv",
        (f"{UNIX}{n:03d},{n % 9},{words[n % 4]},{300 + n % 7},{n if n % 4 == 3 else ''}" for n in range(ROWS)),
        "timestamp,visitorid,event,itemid,transactionid",
    )
    write(
        tmp_path / "item_properties_part1.csv",
        (f"{UNIX}000,{300 + n % 7},{n % 3},n{n}.000" for n in range(ROWS)),
        "timestamp,itemid,property,value",
    )
    write(tmp_path / "category_tree.csv", (f"{n},{n // 2}" for n in range(20)), "categoryid,parentid")
    text, shop, shown = drafted(tmp_path)
    assert kinds(shop) == {"events": "events", "events_items": "items"} and not shown.problems
    assert mapped(shop, "events") == {"user_id": "visitorid", "item_id": "itemid", "session_id": "transactionid"}
    assert time_of(shop, "events") == ("timestamp", "unix_ms")
    assert types(shown, "events") == {"view", "cart", "purchase"}
    assert "item_properties_part1.csv is not used: it holds one property of an item per row" in text
    assert "category_tree.csv is not used: it holds a tree" in text


def test_a_multi_category_clickstream_by_month(tmp_path: Path) -> None:
    words = ("view", "cart", "remove_from_cart", "purchase")
    for month, ending in ((10, "csv"), (11, "csv.gz")):
        write(
            tmp_path / f"2019-{month}.{ending}",
            (
                f"2019-{month}-{1 + n % 28:02d} 00:00:{n:02d} UTC,{words[n % 4]},{1000 + n % 11},20530{n % 11 % 3},"
                f"{'' if n % 11 % 3 == 2 else f'electronics.kind{n % 11 % 3}'},brand{n % 11 % 4},{n % 11}.49,"
                f"{n % 9},s{n}"
                for n in range(ROWS)
            ),
            "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session",
        )
    text, shop, shown = drafted(tmp_path)
    [(name, _), (catalogue, _)] = kinds(shop).items()
    assert list(shop.sources[name].path) == ["*.csv", "*.csv.gz"] and not shown.problems
    assert mapped(shop, name) == {
        "user_id": "user_id", "item_id": "product_id", "session_id": "user_session", "value": "price"
    }  # fmt: skip
    assert time_of(shop, name) == ("event_time", "iso")
    assert shown.rows[name]["occurred_at_utc"].to_pylist()[1] == dt.datetime(2019, 10, 2, 0, 0, 1)
    [rule] = shop.sources[name].filters
    assert rule.drop_values == ("remove_from_cart",) and "check: no event type of Portrait means these" in text
    assert mapped(shop, catalogue)["brand"] == "brand"
    assert set(mapped(shop, catalogue)["category_path"]) == {"category_id", "category_code"}  # type: ignore[arg-type]
    assert "price" not in mapped(shop, catalogue), "what was paid is no list price"


def test_orders_that_want_a_join_are_refused_with_the_query_that_joins_them(tmp_path: Path) -> None:
    write(
        tmp_path / "orders.csv",
        (f"{n},{n % 9},prior,{n // 9 + 1},{n % 7},{n % 24:02d},{n % 30}.0" for n in range(30)),
        "order_id,user_id,eval_set,order_number,order_dow,order_hour_of_day,days_since_prior_order",
    )
    write(
        tmp_path / "order_products__prior.csv",
        (f"{n // 2},{100 + n % 11},{n % 2 + 1},{n % 2}" for n in range(ROWS)),
        "order_id,product_id,add_to_cart_order,reordered",
    )
    write(
        tmp_path / "products.csv",
        (f"{100 + n},Thing {n},{n % 3},{n % 2}" for n in range(11)),
        "product_id,product_name,aisle_id,department_id",
    )
    with pytest.raises(ShopError, match="orders.csv names the users and order_products__prior.csv the items") as caught:
        draft(tmp_path)
    [query] = re.findall(r'duckdb\.sql\(\\"(.*?)\\"\)', str(caught.value))
    subprocess.run([sys.executable, "-c", f"import duckdb; duckdb.sql({query!r})"], cwd=tmp_path, check=True)
    _, shop, shown = drafted(tmp_path)
    assert kinds(shop) == {"joined": "events", "products": "items"} and not shown.problems
    assert mapped(shop, "joined")["session_id"] == "order_id" and shop.sources["joined"].time is None
    assert mapped(shop, "products")["title"] == "product_name"


def test_ratings_with_double_colons_and_no_names(tmp_path: Path) -> None:
    draw = random.Random(1)
    write(
        tmp_path / "ratings.dat",
        (f"{1 + n % 13}::{1 + draw.randrange(30)}::{1 + n % 5}::{UNIX + n}" for n in range(ROWS)),
    )
    titles = "\n".join(f"{n}::Caf\xe9 {n} (1995)::Comedy|{'Drama' if n % 2 else 'War'}" for n in range(1, 31))
    (tmp_path / "movies.dat").write_bytes(titles.encode("latin-1"))
    write(
        tmp_path / "users.dat", (f"{n}::{'MF'[n % 2]}::{(18, 25, 35)[n % 3]}::{n % 4}::9{n:04d}" for n in range(1, 14))
    )
    text, shop, shown = drafted(tmp_path)
    assert kinds(shop) == {"movies": "items", "ratings": "events", "users": "users"} and not shown.problems
    assert shop.sources["ratings"].csv.delimiter == "::" and time_of(shop, "ratings") == ("column_4", "unix_s")
    assert mapped(shop, "ratings") == {"user_id": "column_1", "item_id": "column_2", "value": "column_3"}
    assert types(shown, "ratings") == {"rating"} and "if these are codes of event types, say so" in text
    assert shown.rows["movies"]["title"].to_pylist()[0] == "Caf\xe9 1 (1995)"
    assert shop.sources["movies"].csv.encoding == "cp1252"


def test_ratings_with_tags_and_links_beside_them(tmp_path: Path) -> None:
    write(tmp_path / "ratings.csv", (f"{n % 9},{n % 11},{n % 5}.5,{UNIX + n}" for n in range(ROWS)),
          "userId,movieId,rating,timestamp")  # fmt: skip
    write(
        tmp_path / "tags.csv", (f"{n % 9},{n % 11},funny,{UNIX + n}" for n in range(30)), "userId,movieId,tag,timestamp"
    )
    write(tmp_path / "links.csv", (f"{n},{n + 100},{n + 200}" for n in range(11)), "movieId,imdbId,tmdbId")
    write(tmp_path / "movies.csv", (f"{n},Film {n},A|B" for n in range(11)), "movieId,title,genres")
    text, shop, shown = drafted(tmp_path)
    assert kinds(shop) == {"movies": "items", "ratings": "events"} and not shown.problems
    assert "tags.csv is not used: nothing says what its rows mean" in text and "links.csv is not used" in text


def test_behaviour_without_names(tmp_path: Path) -> None:
    words = ("pv", "pv", "cart", "fav", "buy")
    write(
        tmp_path / "UserBehavior.csv",
        (f"{100 + n % 7},{2000 + n % 11},{50 + n % 11 % 4},{words[n % 5]},{UNIX + 3600 * n}" for n in range(ROWS)),
    )
    text, shop, shown = drafted(tmp_path)
    assert kinds(shop) == {"userbehavior": "events", "userbehavior_items": "items"} and not shown.problems
    assert mapped(shop, "userbehavior") == {"user_id": "column_1", "item_id": "column_2"}
    assert mapped(shop, "userbehavior_items")["category_path"] == "column_3"
    assert types(shown, "userbehavior") == {"view", "cart", "favourite", "purchase"}
    assert text.count("is a guess") >= 3


def test_fashion_transactions_with_articles_and_customers(tmp_path: Path) -> None:
    write(
        tmp_path / "transactions_train.csv",
        (f"2018-09-{1 + n % 28:02d},{n % 9:064x},0{100 + n % 11},0.0{n % 9}5,{1 + n % 2}" for n in range(ROWS)),
        "t_dat,customer_id,article_id,price,sales_channel_id",
    )
    write(
        tmp_path / "articles.csv",
        (f"0{100 + n},{50 + n // 2},Top {n},{n % 3},Vest,Upper body,Sec{n % 2},Fine cotton {n}" for n in range(11)),
        "article_id,product_code,prod_name,product_type_no,product_type_name,product_group_name,section_name,detail_desc",
    )
    write(
        tmp_path / "customers.csv",
        (f"{n:064x},1.0,ACTIVE,{20 + n},{n:032x}" for n in range(30)),
        "customer_id,FN,club_member_status,age,postal_code",
    )
    _, shop, shown = drafted(tmp_path)
    assert not shown.problems
    assert kinds(shop) == {"articles": "items", "customers": "users", "transactions_train": "events"}
    assert mapped(shop, "transactions_train") == {
        "user_id": "customer_id", "item_id": "article_id", "value": "price", "channel": "sales_channel_id"
    }  # fmt: skip
    assert time_of(shop, "transactions_train") == ("t_dat", "iso") and types(shown, "transactions_train") == {
        "purchase"
    }
    assert mapped(shop, "articles")["item_id"] == "article_id" and mapped(shop, "articles")["title"] == "prod_name"
    assert mapped(shop, "customers")["attributes"] == ["FN", "club_member_status", "age"]


@pytest.mark.parametrize("is_new", [False, True])
def test_reviews_as_json_lines(tmp_path: Path, is_new: bool) -> None:
    def old(n: int) -> dict[str, object]:
        return {
            "reviewerID": f"A{n % 9}", "asin": f"B00{n % 11}", "reviewerName": f"Jo {n}", "helpful": [0, n],
            "reviewText": f"fine {n}", "overall": float(1 + n % 5), "summary": "ok", "unixReviewTime": UNIX + 86400 * n,
            "reviewTime": f"{1 + n % 12:02d} 1, 2017",
        }  # fmt: skip

    def new(n: int) -> dict[str, object]:
        return {
            "rating": float(1 + n % 5), "title": f"My life with {n}", "text": f"fine {n}", "images": [],
            "asin": f"B00{n % 22}", "parent_asin": f"B00{n % 11}", "user_id": f"A{n % 9}",
            "timestamp": (UNIX + 86400 * n) * 1000, "helpful_vote": n, "verified_purchase": True,
        }  # fmt: skip

    objects(tmp_path / "reviews_Kitchen.jsonl.gz", map(new if is_new else old, range(ROWS)))
    text, shop, shown = drafted(tmp_path)
    name = "reviews_kitchen"
    columns = mapped(shop, name)
    assert columns["user_id"] == ("user_id" if is_new else "reviewerID") and columns["item_id"] == "asin"
    assert columns["value"] == ("rating" if is_new else "overall") and not shown.problems
    assert time_of(shop, name) == (("timestamp", "unix_ms") if is_new else ("unixReviewTime", "unix_s"))
    assert types(shown, name) == {"rating"} and shown.rows[name]["text"].to_pylist()[0] == "fine 0"
    assert mapped(shop, f"{name}_items")["title"] == "asin", "the title of a review is nobody's catalogue"
    if is_new:
        assert "item_id: taken from asin; parent_asin may be it instead" in text
        objects(
            tmp_path / "meta_Kitchen.jsonl",
            (
                {"main_category": "Home", "title": f"Pan {n}", "price": 9.5 if n % 2 else None, "store": "Acme",
                 "categories": ["Home", "Pans"], "images": [{"large": "u"}], "parent_asin": f"B00{n}", "details": {}}
                for n in range(11)
            ),
        )  # fmt: skip
        _, shop, shown = drafted(tmp_path)
        assert mapped(shop, name)["item_id"] == "parent_asin" and not shown.problems
        assert mapped(shop, "meta_kitchen")["category_path"][:2] == ['$."categories"[0]', '$."categories"[1]']  # type: ignore[index]
        assert shown.rows["meta_kitchen"]["category_path"].to_pylist()[0] == "Home > Pans"


def test_invoices_with_returns(tmp_path: Path) -> None:
    write(
        tmp_path / "OnlineRetail.csv",
        (
            f"{'C' if n % 20 == 7 else ''}{536365 + n},{85123 + n % 11}A,LANTERN {n % 11},{-1 if n % 20 == 7 else 6},"
            f"12/{13 + n % 15}/2010 8:26,2.55,{17850 + n % 9 if n % 6 else ''},United Kingdom"
            for n in range(ROWS)
        ),
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country",
    )
    text, shop, shown = drafted(tmp_path)
    name = "onlineretail"
    assert mapped(shop, name) == {
        "user_id": "CustomerID", "item_id": "StockCode", "session_id": "InvoiceNo", "quantity": "Quantity",
        "place": "Country", "value": "UnitPrice",
    }  # fmt: skip
    assert time_of(shop, name) == ("InvoiceDate", "%m/%d/%Y %H:%M") and shop.sources[name].value_is == "unit_price"
    assert mapped(shop, f"{name}_items")["title"] == "Description"
    assert "# check quantity: 3 of the first 60 rows have a negative Quantity" in text
    [problem] = shown.problems
    assert "3 of the first 60 rows have a negative quantity (first in line 8)" in problem


def test_reviews_of_places_with_nested_businesses_and_friends(tmp_path: Path) -> None:
    objects(
        tmp_path / "review.json",
        (
            {"review_id": f"r{n}", "user_id": f"u{n % 9}", "business_id": f"b{n % 11}", "stars": 1.0 + n % 5,
             "useful": 0, "funny": 0, "cool": 0, "text": f"nice {n}", "date": f"2018-07-{1 + n % 28:02d} 22:09:11"}
            for n in range(ROWS)
        ),
    )  # fmt: skip
    objects(
        tmp_path / "business.json",
        (
            {"business_id": f"b{n}", "name": f"Cafe {n}", "address": "1 Road", "city": "Tucson", "stars": 3.5,
             "review_count": n, "attributes": {"WiFi": "free"} if n % 2 else None, "categories": "Cafes, Food"}
            for n in range(11)
        ),
    )  # fmt: skip
    objects(
        tmp_path / "user.json",
        (
            {"user_id": f"u{n}", "name": "Jo", "review_count": n, "yelping_since": "2011-01-01 10:00:00",
             "friends": ", ".join(f"u{k}" for k in range(n)), "average_stars": 3.5}
            for n in range(25)
        ),
    )  # fmt: skip
    objects(tmp_path / "checkin.json", ({"business_id": f"b{n}", "date": "2016-04-26 19:49:16"} for n in range(5)))
    text, shop, shown = drafted(tmp_path)
    assert kinds(shop) == {"business": "items", "review": "events", "user": "users"} and not shown.problems
    columns = mapped(shop, "review")
    assert (columns["event_id"], columns["item_id"], columns["value"]) == ("review_id", "business_id", "stars")
    assert time_of(shop, "review") == ("date", "iso") and types(shown, "review") == {"rating"}
    assert mapped(shop, "business")["title"] == "name" and "checkin.json is not used" in text
    attributes = mapped(shop, "user")["attributes"]
    assert "friends" not in attributes and "name" not in attributes, "they name persons"  # type: ignore[operator]


def test_nested_events_whose_days_lack_what_did_not_happen(tmp_path: Path) -> None:
    def event(n: int, day: int) -> dict[str, object]:
        head: dict[str, object] = {"ts": f"2024-01-0{day}T10:00:{n:02d}+01:00", "user": {"id": f"u{n % 9}"}}
        if day == 2 and n % 10 == 0:
            return {**head, "event": "search", "context": {"query": "red lamp"}}
        product = {"sku": f"i{n % 11}", "price": 2.5}
        if day == 3 and n == 7:
            return {**head, "event": "wishlist", "properties": {"product": product}}
        return {**head, "event": "Product Viewed" if n % 2 else "Order Completed", "properties": {"product": product}}

    for day in (1, 2, 3):
        objects(tmp_path / "log" / f"2024-01-0{day}.jsonl", (event(n, day) for n in range(30)))
    _, shop, shown = drafted(tmp_path)
    assert kinds(shop)["log"] == "events" and shown.files["log"] == 3 and not shown.problems
    assert mapped(shop, "log") == {
        "user_id": "user.id", "item_id": "properties.product.sku", "text": "context.query",
        "value": "properties.product.price",
    }  # fmt: skip
    assert types(shown, "log") == {"view", "purchase"}
    assert shown.rows["log"]["occurred_at_utc"].to_pylist()[0] == dt.datetime(2024, 1, 1, 9)
    event_type = shop.sources["log"].event_type
    assert event_type is not None and event_type.values["wishlist"] == "favourite", "a word of the last day alone"


def test_objects_may_lack_who_it_was_but_never_whether_they_agreed(tmp_path: Path) -> None:
    visits = ({"ts": f"2024-01-0{1 + n % 9}", "sku": f"i{n % 7}", "page": "x"} for n in range(ROWS))
    visits = ({**visit, "user_id": f"u{n % 9}"} if n % 3 else visit for n, visit in enumerate(visits))
    objects(tmp_path / "views.jsonl", visits)
    people = ({"user_id": f"u{n}", "newsletter": "yes", "level": "gold"} for n in range(25))
    objects(tmp_path / "customers.jsonl", (one if n % 5 else {"user_id": f"v{n}"} for n, one in enumerate(people)))
    text, shop, shown = drafted(tmp_path)
    assert shop.sources["views"].columns["user_id"].optional and "# check: lines without it are anonymous" in text
    columns = shop.sources["customers"].columns
    assert columns["attributes"].optional and not columns["consent"].optional and not columns["user_id"].optional
    [problem] = shown.problems
    assert "customers: 5 of the first 25 rows lack 'newsletter' (first in line 1)" in problem


@pytest.mark.parametrize(
    ("written", "form", "first"),
    [
        ("2019-10-01 02:00:00 Europe/Berlin", "iso", dt.datetime(2019, 10, 1)),
        ("2019-10-01T02:00:00+0200", "iso", dt.datetime(2019, 10, 1)),
        ("2019-10-01 00:00:00 UTC", "iso", dt.datetime(2019, 10, 1)),
        ("1569888000", "unix_s", dt.datetime(2019, 10, 1)),
        ("1569888000000", "unix_ms", dt.datetime(2019, 10, 1)),
        ("1569888000000000", "unix_us", dt.datetime(2019, 10, 1)),
        ("25-Oct-2019", "%d-%b-%Y", dt.datetime(2019, 10, 25)),
        ("10/25/2019 01:05 PM", "%m/%d/%Y %I:%M %p", dt.datetime(2019, 10, 25, 13, 5)),
    ],
)
def test_times_are_read_as_they_are_written(tmp_path: Path, written: str, form: str, first: dt.datetime) -> None:
    write(tmp_path / "clicks.csv", (f"u{n},i{n % 5},{written}" for n in range(10)), "user_id,item_id,event_time")
    _, shop, shown = drafted(tmp_path)
    assert time_of(shop, "clicks") == ("event_time", form) and not shown.problems
    assert shown.rows["clicks"]["occurred_at_utc"].to_pylist()[0] == first
    assert types(shown, "clicks") == {"view"}, "the file is called clicks"


def test_codes_of_event_types_are_asked_for_and_never_taken_for_purchases(tmp_path: Path) -> None:
    write(
        tmp_path / "train_user.csv",
        (f"u{n % 9},i{n % 11},{1 + n % 4},2014-12-0{1 + n % 9} 0{n % 9}" for n in range(ROWS)),
        "user_id,item_id,behavior_type,time",
    )
    text, shop, shown = drafted(tmp_path)
    assert 'list them under values: "1", "2", "3", "4"' in text
    assert any("event types '1', '2', '3', '4' are unknown" in problem for problem in shown.problems)


def test_times_that_nothing_reads_are_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "orders.csv", (f"u{n % 9},i{n % 5},2024-99-0{1 + n % 9}" for n in range(30)), "user_id,sku,date")
    text, shop, shown = drafted(tmp_path)
    assert "# No time could be read" in text and shop.is_timed
    assert any("30 of the first 30 rows have no readable time" in problem for problem in shown.problems)


def test_what_cannot_be_read_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "orders.xlsx").write_bytes(b"PK")
    with pytest.raises(ShopError, match=r"holds no .csv.* file, only \.xlsx \(1\)"):
        draft(tmp_path)
    (tmp_path / "events.json").write_text(json.dumps([{"user_id": 1, "item_id": 2}]))
    with pytest.raises(ShopError, match=r"is one JSON array; write one object a line"):
        draft(tmp_path)
    (tmp_path / "events.json").unlink()
    write(tmp_path / "clicks.csv", (f"s{n % 9},i{n % 5},{UNIX + n}" for n in range(30)), "session_id,item_id,timestamp")
    with pytest.raises(ShopError, match="names no user; join one to it by session_id"):
        draft(tmp_path)


def test_events_about_items_that_the_catalogue_lacks_are_told(tmp_path: Path) -> None:
    write(
        tmp_path / "orders.csv", (f"u{n % 9},i{n % 10},2024-01-0{1 + n % 9}" for n in range(ROWS)), "user_id,sku,date"
    )
    write(tmp_path / "products.csv", (f"i{n},Thing {n}" for n in range(8)), "sku,title")
    _, _, shown = drafted(tmp_path)
    [problem] = shown.problems
    assert "orders: 12 of the first 60 rows name an item that no items source has (first in line 9)" in problem
