"""Mapping one file: what every bad input becomes, and that the good rows beside it survive."""

import datetime as dt
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.connectors import resolve_files
from data.contracts.raw import raw_table
from data.pseudonym import pseudonymise
from data.shop.config import Shop
from data.shop.errors import SourceError
from data.shop.instants import instant_sql
from data.shop.mapping import EPOCH, days_in_file
from data.shop.timing import Time

KEY = b"0123456789abcdef0123456789abcdef"
HEADER = "user,item,at,qty,paid\n"
EVENTS = """\
    kind: events
    path: PATH
    event_type: purchase
    time: at
    columns: {user_id: user, item_id: item, quantity: qty, value: paid}
"""
MakeShop = Callable[..., Shop]
ReadAll = Callable[..., pa.Table]


def good(n: int) -> str:
    return f"u{n},i{n},2020-03-01 10:00:{n % 60:02d},1,{n}.50\n"


def column(rows: pa.Table, name: str) -> list[Any]:
    values: list[Any] = rows[name].to_pylist()
    return values


def test_rows_keep_the_raw_contract_and_never_a_raw_id(tmp_path: Path, make_shop: MakeShop, read_all: ReadAll) -> None:
    (tmp_path / "sales.csv").write_text(HEADER + "Jane Doe,i1,2020-03-01 10:00:00,-2,x\n nan ,i2,,1,2\n,i3,never,1,3\n")
    rows = read_all(make_shop())
    assert rows.schema == raw_table("sales", "events").arrow_schema()
    assert column(rows, "user_id") == [*pseudonymise(["Jane Doe"], KEY), None, None]
    assert "Jane" not in str(rows.to_pylist())
    assert column(rows, "occurred_at_utc") == [dt.datetime(2020, 3, 1, 10), None, None]
    assert column(rows, "occurred_at_text") == ["2020-03-01 10:00:00", None, "never"]
    assert column(rows, "day") == [dt.date(2020, 3, 1), EPOCH, EPOCH]
    assert (column(rows, "quantity"), column(rows, "value")) == (["-2", "1", "1"], ["x", "2", "3"])
    assert column(rows, "line") == [1, 2, 3] and set(column(rows, "file")) == {"sales.csv"}
    assert len(set(column(rows, "event_id"))) == 3


def test_already_pseudonymised_ids_stay(tmp_path: Path, make_shop: MakeShop, read_all: ReadAll) -> None:
    (tmp_path / "sales.csv").write_text(HEADER + good(1))
    rows = read_all(make_shop(source=EVENTS + "    id_form: pseudonymised\n"))
    assert column(rows, "user_id") == ["u1"]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    lines=st.lists(
        st.sampled_from(["good", "good", "multi", "few", "many", "quote", "blank"]), min_size=1, max_size=25
    ).filter(lambda kinds: kinds.count("good") > 0)
)
def test_unreadable_lines_are_named_by_their_number(
    lines: list[str], tmp_path: Path, make_shop: MakeShop, read_all: ReadAll
) -> None:
    text, wanted, number = HEADER, [], 0
    for kind in lines:
        if kind == "blank":
            text += "\n"
            continue
        number += 1
        wanted.append((number, None if kind in ("good", "multi") else "unreadable_line", kind))
        text += {
            "good": good(number),
            "multi": f'u{number},"two\nlines",2020-03-01,1,1\n',
            "few": f"u{number},i\n",
            "many": f"u{number},i,2020-03-01,1,1,more\n",
            "quote": f'u{number},"br"oken,2020-03-01,1,1\n',
        }[kind]
    (tmp_path / "sales.csv").write_text(text)
    rows = read_all(make_shop())
    assert list(zip(column(rows, "line"), column(rows, "fault"), strict=True)) == [w[:2] for w in wanted]
    for row, (number, _, kind) in zip(rows.to_pylist(), wanted, strict=True):
        if kind == "good":
            assert row["user_id"] == pseudonymise([f"u{number}"], KEY)[0] and row["item_id"] == f"i{number}"


def test_an_open_quote_costs_its_own_lines_alone(tmp_path: Path, make_shop: MakeShop, read_all: ReadAll) -> None:
    (tmp_path / "sales.csv").write_text(
        HEADER + good(1) + 'u2,"open,2020-03-01,1,1\n' + good(3) + 'u4,"i4",2020-03-01,1,1\n' + good(5)
    )
    rows = read_all(make_shop())
    survivors = [row["item_id"] for row in rows.to_pylist() if row["fault"] is None]
    assert survivors[0] == "i1" and survivors[-1] == "i5"
    assert "unreadable_line" in column(rows, "fault")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "sales.csv: is empty; deliver it again"),
        (b"user;item;at;qty;paid\nu1;i1;2020-03-01;1;2\n", "has no column 'user'.*; set csv.delimiter to ';'"),
        (b"User,item,at,qty,paid\nu1,i1,2020-03-01,1,2\n", "has no column 'user'; map 'User', or give it its old name"),
        (b"person,item,at,qty,paid\nu1,i1,2020-03-01,1,2\n", "has no column 'user'; correct the column in the shop"),
        (b"user,item,at,qty,paid,user\nu1,i1,2020-03-01,1,2,u1\n", "has the column 'user' more than once"),
        (
            HEADER.encode() + good(1).encode() + b"u2,caf\xe9,2020-03-01,1,2\n",
            "not UTF-8 text .first in data line 2.*cp1252",
        ),
        (HEADER.encode() + b"u1;i1\nu2;i2\n", "has no line that reads as CSV; correct format, csv.delimiter"),
    ],
)
def test_an_unusable_csv_is_one_sentence(
    tmp_path: Path, make_shop: MakeShop, read_all: ReadAll, content: bytes, says: str
) -> None:
    (tmp_path / "sales.csv").write_bytes(content)
    with pytest.raises(SourceError, match=says) as caught:
        read_all(make_shop())
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_a_header_row_that_is_data_is_not_quoted(tmp_path: Path, make_shop: MakeShop, read_all: ReadAll) -> None:
    (tmp_path / "sales.csv").write_text("jane@doe.org,i1,2020-03-01,1,2\n")
    with pytest.raises(SourceError) as caught:
        read_all(make_shop())
    assert "jane" not in str(caught.value)


def test_headerless_width_is_checked(tmp_path: Path, make_shop: MakeShop, read_all: ReadAll) -> None:
    source = EVENTS + "    csv: {header: false, names: [user, item, at, qty, paid]}\n"
    (tmp_path / "sales.csv").write_text(good(1) + good(2))
    assert read_all(make_shop(source=source)).num_rows == 2
    (tmp_path / "sales.csv").write_text(good(1).replace(",", ";"))
    with pytest.raises(SourceError, match="its first line has 1 fields, but csv.names has 5"):
        read_all(make_shop(source=source))


def test_encoding_and_delimiter_as_declared(tmp_path: Path, make_shop: MakeShop, read_all: ReadAll) -> None:
    (tmp_path / "sales.tsv").write_bytes((HEADER + good(1).replace("i1", "café")).replace(",", "\t").encode("cp1252"))
    rows = read_all(make_shop("sales.tsv", EVENTS + "    csv: {encoding: cp1252}\n"))
    assert column(rows, "item_id") == ["café"]


def test_one_corrupt_file_does_not_hide_behind_another(tmp_path: Path, make_shop: MakeShop, read_all: ReadAll) -> None:
    packed = gzip.compress((HEADER + "".join(map(good, range(5000)))).encode())
    (tmp_path / "a.csv.gz").write_bytes(packed)
    (tmp_path / "b.csv.gz").write_bytes(packed[: len(packed) // 2])
    assert read_all(make_shop("a.csv.gz")).num_rows == 5000
    with pytest.raises(SourceError, match="b.csv.gz: is damaged or cut short"):
        read_all(make_shop('"*.csv.gz"'))


@pytest.mark.parametrize("ends", [("\r\n", "\n"), ("\n", "\r\n"), ("\r\n", "\r\n"), ("\r", "\r")])
def test_line_ends_of_any_kind(tmp_path: Path, make_shop: MakeShop, read_all: ReadAll, ends: tuple[str, str]) -> None:
    lines = ["\ufeff" + HEADER, good(1), 'u,"5"" disk",2020-03-01,1,1\n', "few\n", good(4)]
    text = "".join(line.rstrip("\n") + ends[number % 2] for number, line in enumerate(lines))
    (tmp_path / "sales.csv").write_bytes(text.encode())
    rows = read_all(make_shop())
    assert column(rows, "item_id") == ["i1", '5" disk', None, "i4"]
    assert column(rows, "fault") == [None, None, "unreadable_line", None]


def test_an_escape_as_declared_and_a_file_of_a_header_alone(
    tmp_path: Path, make_shop: MakeShop, read_all: ReadAll
) -> None:
    (tmp_path / "sales.csv").write_text(HEADER + 'u,"5\\" disk",2020-03-01,1,1\n')
    assert column(read_all(make_shop(source=EVENTS + "    csv: {escape: '\\'}\n")), "item_id") == ['5" disk']
    (tmp_path / "sales.csv").write_text(HEADER)
    assert read_all(make_shop()).num_rows == 0


def test_the_same_rows_have_the_same_ids_in_every_format(
    tmp_path: Path, make_shop: MakeShop, read_all: ReadAll, connection: duckdb.DuckDBPyConnection
) -> None:
    (tmp_path / "a.csv").write_text(HEADER + "".join(map(good, range(40))))
    rows = connection.sql(f"SELECT * FROM read_csv('{tmp_path}/a.csv')")
    rows.write_parquet(f"{tmp_path}/a.parquet")
    connection.execute(f"COPY (SELECT * FROM rows) TO '{tmp_path}/a.jsonl' (FORMAT json)")
    ids = [column(read_all(make_shop(f"a.{ending}")), "event_id") for ending in ("csv", "parquet", "jsonl")]
    assert ids[0] == ids[1] == ids[2] and len(set(ids[0])) == 40


def test_parquet_is_read_and_its_damage_named(tmp_path: Path, make_shop: MakeShop, read_all: ReadAll) -> None:
    times = [dt.datetime(2020, 3, 1, 10), None]
    table = pa.table({"user": [17, 18], "item": ["a", None], "at": times, "qty": [1.0, None], "paid": [2.55, 3]})
    path = tmp_path / "sales.parquet"
    pq.write_table(table, path)
    rows = read_all(make_shop("sales.parquet"))
    assert column(rows, "user_id") == pseudonymise(["17", "18"], KEY)
    assert (column(rows, "value"), column(rows, "line")) == (["2.55", "3.0"], [1, 2])
    pq.write_table(table.drop_columns("paid"), path)
    with pytest.raises(SourceError, match="sales.parquet: has no column 'paid'"):
        read_all(make_shop("sales.parquet"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SourceError, match="damaged, cut short or no Parquet"):
        read_all(make_shop("sales.parquet"))


JSON_EVENTS = """\
    kind: events
    path: PATH
    event_type: {column: event.type, values: {click: view}}
    time: {column: event.ts, format: unix_ms}
    columns:
      user_id: {column: user.id, optional: true}
      item_id: "$.items[0].sku"
      session_id: session
      text: {column: q, optional: true}
"""


def test_nested_json_lines(tmp_path: Path, make_shop: MakeShop, read_all: ReadAll) -> None:
    first = {
        "user": {"id": 7},
        "event": {"type": "click", "ts": 1583056800000},
        "items": [{"sku": "s'1"}],
        "session": "x",
    }
    second: dict[str, Any] = {"user": None, "event": {"type": "wave", "ts": "soon"}, "items": [], "session": None}
    lines = [json.dumps(first), "{broken", "", '"text"', json.dumps(second), '{"event": 1']
    (tmp_path / "sales.jsonl").write_text("\n".join(lines) + "\n")
    rows = read_all(make_shop("sales.jsonl", JSON_EVENTS))
    assert column(rows, "line") == [1, 2, 4, 5, 6]
    assert column(rows, "fault") == [None, "unreadable_line", "unreadable_line", None, "unreadable_line"]
    one, other = rows.to_pylist()[0], rows.to_pylist()[3]
    assert (one["user_id"], one["item_id"], one["event_type"]) == (*pseudonymise(["7"], KEY), "s'1", "view")
    assert one["occurred_at_utc"] == dt.datetime(2020, 3, 1, 10)
    assert (other["user_id"], other["event_type"], other["occurred_at_utc"]) == (None, "wave", None)


def test_json_that_lacks_a_column_or_is_no_lines(tmp_path: Path, make_shop: MakeShop, read_all: ReadAll) -> None:
    path = tmp_path / "sales.jsonl"
    path.write_text('{"user": {"id": 7}, "event": {"type": "view", "ts": 1}, "items": [{"sku": 1}]}\n')
    with pytest.raises(SourceError, match="has no column 'session'.*optional: true"):
        read_all(make_shop("sales.jsonl", JSON_EVENTS))
    path.write_text('[\n{"user": 1}\n]\n')
    with pytest.raises(SourceError, match="is one JSON array; write one object a line"):
        read_all(make_shop("sales.jsonl", JSON_EVENTS))
    path.write_text("user,item\n1,2\n")
    with pytest.raises(SourceError, match="has no line that reads as JSON lines"):
        read_all(make_shop("sales.jsonl", JSON_EVENTS))


def test_unknown_event_types_stay_for_core(tmp_path: Path, make_shop: MakeShop, read_all: ReadAll) -> None:
    (tmp_path / "sales.csv").write_text("user,item,what\nu,i,pv\nu,i,waved\nu,i,\n")
    source = """\
    kind: events
    path: PATH
    event_type: {column: what, values: {pv: view}}
    columns: {user_id: user, item_id: item}
"""
    rows = read_all(make_shop(source=source))
    assert column(rows, "event_type") == ["view", "waved", None]
    assert column(rows, "day") == [EPOCH] * 3 and column(rows, "occurred_at_utc") == [None] * 3


def test_money_is_exact_and_bad_numbers_come_out_as_they_landed(
    tmp_path: Path, make_shop: MakeShop, read_all: ReadAll
) -> None:
    (tmp_path / "sales.csv").write_text(
        "user,item,qty,price,d1,d2\nu,i,6,2.55,0.1,0.2\nu,i,-3,1.1,,\nu,i,,4.20,,1\nu,i,2,free,x,1\nu,i,two,5,0,0\n"
    )
    source = """\
    kind: events
    path: PATH
    event_type: purchase
    value_is: unit_price
    columns: {user_id: user, item_id: item, quantity: qty, value: price, discount: [d1, d2]}
"""
    rows = read_all(make_shop(source=source))
    assert column(rows, "value") == ["15.3", "-3.3", "4.20", "free", "5"]
    assert column(rows, "discount") == ["0.3", None, "1", "x", "0"]


def test_filtered_rows_carry_their_reason(tmp_path: Path, make_shop: MakeShop, read_all: ReadAll) -> None:
    (tmp_path / "sales.csv").write_text(
        HEADER + good(1) + good(2).replace("i2", "POST") + good(3).replace("i3", "gift_7")
    )
    source = (
        EVENTS
        + """\
    filters:
      - {column: item, drop_values: [POST], reason: postage}
      - {column: item, drop_matching: "^gift_", reason: voucher}
"""
    )
    rows = read_all(make_shop(source=source))
    assert column(rows, "fault") == [None, "postage", "voucher"]
    rows = read_all(make_shop(source=EVENTS + "    filters: [{column: item, keep_values: [i1]}]\n"))
    assert column(rows, "fault") == [None, "filtered", "filtered"]


def test_copies_within_and_across_files(tmp_path: Path, make_shop: MakeShop, read_all: ReadAll) -> None:
    (tmp_path / "a.csv").write_text(HEADER + good(1) + good(1) + good(2))
    (tmp_path / "b.csv").write_text(HEADER + good(2).replace("2.50", "2.500") + good(1))
    dropped = column(read_all(make_shop('"*.csv"')), "event_id")
    assert dropped[0] == dropped[1] == dropped[4] and dropped[2] == dropped[3]
    kept = column(read_all(make_shop('"*.csv"', EVENTS + "    duplicates: keep\n")), "event_id")
    assert len({kept[0], kept[1], kept[2]}) == 3
    assert (kept[0], kept[2]) == (kept[4], kept[3]) == (dropped[0], dropped[2])


def test_the_sources_own_event_ids_win(tmp_path: Path, make_shop: MakeShop, read_all: ReadAll) -> None:
    (tmp_path / "sales.csv").write_text("id,user,item\n e1 ,u,i\n,u,i\n")
    source = """\
    kind: events
    path: PATH
    event_type: view
    columns: {event_id: id, user_id: user, item_id: item}
"""
    own, made = column(read_all(make_shop(source=source)), "event_id")
    assert own == "e1" and len(made) == 32


def test_items_and_users(tmp_path: Path, make_shop: MakeShop, read_all: ReadAll) -> None:
    (tmp_path / "items.csv").write_text("c,a,b,n\n1,Food,Tea,Green\n1,Food,Tea,Green\n2,Food,,\n")
    items = "    kind: items\n    path: items.csv\n    columns: {item_id: c, title: [n, b], category_path: [a, b]}\n"
    shop = make_shop(source=EVENTS + "  items:\n" + items)
    rows = read_all(shop, "items")
    assert rows.schema == raw_table("items", "items").arrow_schema()
    assert column(rows, "category_path") == ["Food > Tea", "Food"]
    assert (column(rows, "title"), column(rows, "line")) == (["Green Tea", None], [1, 3])
    (tmp_path / "users.csv").write_text("u,age,city\nx,30-39,Köln\ny,,\n")
    users = "    kind: users\n    path: users.csv\n    columns: {user_id: u, attributes: [age, city]}\n"
    rows = read_all(make_shop(source=EVENTS + "  users:\n" + users), "users")
    assert column(rows, "user_id") == pseudonymise(["x", "y"], KEY)
    assert [json.loads(text) for text in column(rows, "attributes")] == [{"age": "30-39", "city": "Köln"}, {}]


@pytest.mark.parametrize(
    ("text", "form", "zone", "instant"),
    [
        ("2019-10-01 00:00:00 UTC", "iso", "Europe/Berlin", dt.datetime(2019, 10, 1)),
        ("2019-10-01T02:00:00+02:00", "iso", "UTC", dt.datetime(2019, 10, 1)),
        ("2019-10-01T02:00:00.250Z", "iso", "Asia/Tokyo", dt.datetime(2019, 10, 1, 2, 0, 0, 250000)),
        ("2019-10-01 02:00", "iso", "Europe/Berlin", dt.datetime(2019, 10, 1)),
        ("2019-10-01", "iso", "UTC", dt.datetime(2019, 10, 1)),
        ("2011-03-27 01:30:00", "iso", "Europe/London", dt.datetime(2011, 3, 27, 1, 30)),  # an hour that never was
        ("infinity", "iso", "UTC", None),
        ("2019-02-30", "iso", "UTC", None),
        ("2019-10-01 25:00:00+02:00", "iso", "UTC", None),
        ("", "iso", "UTC", None),
        ("1569888000", "unix_s", "Asia/Tokyo", dt.datetime(2019, 10, 1)),
        ("1569888000.5", "unix_s", "UTC", dt.datetime(2019, 10, 1, 0, 0, 0, 500000)),
        ("1569888000123", "unix_ms", "UTC", dt.datetime(2019, 10, 1, 0, 0, 0, 123000)),
        ("-1", "unix_s", "UTC", dt.datetime(1969, 12, 31, 23, 59, 59)),
        ("9" * 21, "unix_s", "UTC", None),
        ("9" * 40, "unix_ms", "UTC", None),
        ("soon", "unix_s", "UTC", None),
        ("1.10.2019 02:00", "%d.%m.%Y %H:%M", "Europe/Berlin", dt.datetime(2019, 10, 1)),
        ("31.02.2019 02:00", "%d.%m.%Y %H:%M", "UTC", None),
        ("2019/10/01 02:00 +0200", "%Y/%m/%d %H:%M %z", "UTC", dt.datetime(2019, 10, 1)),
    ],
)
@pytest.mark.parametrize("session_zone", ["UTC", "America/New_York"])
def test_times(
    connection: duckdb.DuckDBPyConnection, text: str, form: str, zone: str, instant: Any, session_zone: str
) -> None:
    connection.execute(f"SET TimeZone = '{session_zone}'")
    sql = instant_sql(Time(column="at", format=form), "t", zone)
    assert connection.execute(f"SELECT {sql} FROM (SELECT ? AS t)", [text]).fetchall() == [(instant,)]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(max_size=30) | st.from_regex(r"\A\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(Z|[+-]\d\d:?\d\d)?\Z"))
@pytest.mark.parametrize("form", ["iso", "unix_s", "unix_ms", "%d/%m/%Y", "%Y-%m-%d %H:%M:%S %z"])
def test_no_text_makes_a_time_fail(connection: duckdb.DuckDBPyConnection, form: str, text: str) -> None:
    sql = instant_sql(Time(column="at", format=form), "t", "Europe/London")
    [(value,)] = connection.execute(f"SELECT {sql} FROM (SELECT ? AS t)", [text.replace("\0", "")]).fetchall()
    assert value is None or isinstance(value, dt.datetime)


def test_days_without_reading_the_rest(
    tmp_path: Path, make_shop: MakeShop, connection: duckdb.DuckDBPyConnection, read_all: ReadAll
) -> None:
    (tmp_path / "sales.csv").write_text(HEADER + good(1) + "u,i,2020-03-02 23:30:00,1,1\nu,i,never,1,1\nu\n")
    shop = make_shop(timezone="America/New_York")
    days = days_in_file(connection, shop, "sales", resolve_files(shop, "sales")[0])
    assert days == {dt.date(2020, 3, 1), dt.date(2020, 3, 3), EPOCH} == set(column(read_all(shop), "day"))


def test_a_remote_file_is_read_like_a_local_one(make_shop: MakeShop, read_all: ReadAll, tmp_path: Path) -> None:
    import fsspec

    filesystem = fsspec.filesystem("memory")
    filesystem.pipe("/mapping/sales.csv.gz", gzip.compress((HEADER + good(1)).encode()))
    remote = read_all(make_shop('"memory://mapping/*.csv.gz"'))
    filesystem.rm("/mapping", recursive=True)
    (tmp_path / "sales.csv").write_text(HEADER + good(1))
    local = read_all(make_shop())
    assert remote.drop_columns(["file", "file_sha256"]) == local.drop_columns(["file", "file_sha256"])
