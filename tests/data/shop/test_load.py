"""A shop.yaml: what is accepted, and the sentence that every fault gets."""

from pathlib import Path

import pytest

from data.shop.errors import ShopError
from data.shop.load import load_shop, parse_shop

EXAMPLES = Path(__file__).parents[3] / "examples"

GOOD = """\
name: corner
currency: EUR
timezone: Europe/Berlin
calendar: {start: 2020-01-01}
sources:
  sales:
    kind: events
    path: sales/*.csv
    event_type:
      column: action
      values: {1: purchase, seen: view}
    time: {column: at, format: "%d.%m.%Y %H:%M"}
    columns:
      user_id: customer
      item_id: {column: code, form: upper}
      discount: [d1, d2]
"""


def fault_of(text: str) -> str:
    with pytest.raises(ShopError) as caught:
        parse_shop(text, Path("shop.yaml"))
    assert all(fault.endswith(".") and "\n" not in fault for fault in caught.value.faults)
    return str(caught.value)


def test_short_forms_mean_the_long_ones() -> None:
    shop = parse_shop(GOOD, Path("somewhere/shop.yaml"))
    source = shop.sources["sales"]
    assert source.columns["user_id"].column == "customer"
    assert source.columns["discount"].columns == ("d1", "d2")
    assert source.event_type is not None and source.event_type.values == {"1": "purchase", "seen": "view"}
    assert shop.delta(2000) == pytest.approx(5e-6)


@pytest.mark.parametrize("name", ["complete_journey", "uci_online_retail"])
def test_the_examples_load(name: str) -> None:
    shop = load_shop(EXAMPLES / name / "shop.yaml")
    assert shop.name == name and shop.public_benchmark and shop.privacy.mode == "on"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "      item_id:",
            "      user_id: other\n      item_id:",
            "line 15: sources.sales.columns.user_id stands twice",
        ),
        ("currency:", "curency:", "line 2: curency: is not a known key"),
        ("    kind: events\n", "", "sources.sales.kind: is missing; add it"),
        ("user_id: customer", "user_id: 3", "line 14: sources.sales.columns.user_id"),
        ("start: 2020-01-01", "start: soon", "line 4: calendar.start: is 'soon', but"),
        ("Europe/Berlin", "Berlin", "line 3: timezone: 'Berlin' is no time zone; use an IANA name"),
        ("seen: view", "seen: looked", "event_type: 'looked' is no event type; use one of purchase"),
        ('"%d.%m.%Y %H:%M"', "dmy", "time.format: 'dmy' is no time format"),
        ('"%d.%m.%Y %H:%M"', '"%d.%q"', "is no time pattern"),
        ("      user_id: customer\n", "", "sources.sales.columns.user_id: missing; events need it"),
        ("user_id: customer", "user_id: code", "columns.item_id: 'code' is already user_id; name another"),
        ("discount: [d1, d2]", "session_id: customer", "columns.session_id: 'customer' names the user"),
        ("discount: [d1, d2]", "colour: c", "columns.colour: events have no such column; use one of event_id"),
        ("discount: [d1, d2]", "place: [a, b]", "columns.place: several columns are for category_path"),
        ("discount: [d1, d2]", "occurred_at_utc: t", "columns.occurred_at_utc: say it under `time:` instead"),
        ("discount: [d1, d2]", "discount: {column: a, constant: 0}", "give exactly one of column, columns, constant"),
        ("    kind: events", "    value_is: unit_price\n    kind: events", "needs both columns value and quantity"),
        ("    kind: events", "    filters: [{column: a, drop_matching: '('}]\n    kind: events", "is no regular expr"),
        ("    kind: events", "    csv: {header: false}\n    kind: events", "header: false needs names"),
        ("    kind: events", "    csv: {encoding: utf-99}\n    kind: events", "encoding 'utf-99' is unknown"),
        ("path: sales/*.csv", "path: ${SALES/*.csv", "has a broken ${NAME}"),
        ("calendar: {start: 2020-01-01}\n", "", "calendar: missing; sources with a time need"),
        ("calendar: {start: 2020-01-01}", "calendar: {start: 2020-01-01, end: 2019-01-01}", "lies before start"),
        ("name: corner", "name: corner\nprivacy: {mode: off}", "privacy.mode: off is for public benchmarks"),
        (
            "name: corner",
            "name: corner\ndeclared_users: 2000\nprivacy: {delta: 1.0e-3}",
            "line 3: privacy.delta: 0.001 exceeds 1 / (100 N) = 5e-06 for 2000 users; lower it or leave it out",
        ),
        (
            "name: corner",
            "name: corner\nprivacy: {ledger: 5}",
            "privacy.ledger: is 5, but input should be a valid string",
        ),
        ("name: corner", "name: corner\nevaluation: {test_start: 2019-01-01}", "2019-01-01 lies outside the calendar"),
        ("name: corner", "name: Corner Shop", "line 1: name: is 'Corner Shop', but string should match"),
        ("kind: events", "kind: items", "event_type and returns are for events, not for items"),
        ("name: corner", "name: [corner", "is no YAML"),
    ],
)
def test_every_fault_is_one_sentence_with_its_place(old: str, new: str, says: str) -> None:
    assert old in GOOD
    assert says in fault_of(GOOD.replace(old, new, 1))


def test_learning_online_needs_days_in_their_order() -> None:
    asked = GOOD.replace("currency: EUR", "currency: EUR\nonline_learning: true")
    assert (
        parse_shop(asked, Path("shop.yaml")).online_learning and not parse_shop(GOOD, Path("shop.yaml")).online_learning
    )
    untimed = asked.replace('    time: {column: at, format: "%d.%m.%Y %H:%M"}\n', "")
    assert "online_learning: needs events with a time" in fault_of(untimed)


def test_several_faults_are_all_told() -> None:
    message = fault_of(GOOD.replace("currency: EUR", "currency: euro").replace("kind: events", "kind: sales"))
    assert "currency" in message and "kind" in message


def test_a_file_that_is_missing_or_no_text_says_so(tmp_path: Path) -> None:
    with pytest.raises(ShopError, match="no such file; name a shop.yaml"):
        load_shop(tmp_path / "shop.yaml")
    with pytest.raises(ShopError, match="is a folder"):
        load_shop(tmp_path)
    (tmp_path / "shop.yaml").write_bytes(b"name: caf\xe9")
    with pytest.raises(ShopError, match="not UTF-8"):
        load_shop(tmp_path / "shop.yaml")
    assert "begin with `name: my_shop`" in fault_of("- just\n- a list\n")


def test_a_delta_above_the_bound_is_refused() -> None:
    shop = parse_shop(GOOD.replace("name: corner", "name: corner\nprivacy: {delta: 1.0e-3}"), Path("shop.yaml"))
    assert shop.delta(10) == 1e-3
    with pytest.raises(ValueError, match="exceeds 1 / .100 N. = 5e-06 for 2000 users"):
        shop.delta(2000)


TABLE = "database: ${SHOP_DATABASE}\n    table: sales\n    watermark: seq"


@pytest.mark.parametrize(
    ("origin", "says"),
    [
        ("database: postgresql://me:secret@host/db\n    table: sales", "a password must not stand in the shop file"),
        ("database: postgresql://host/db?password=secret\n    table: sales", "a password must not stand in the shop"),
        ("path: postgresql://me:secret@host/db", "path: names a database; say it as `database`"),
        ("table: sales", "sources.sales.database: missing; a table or query needs one"),
        ("database: ${X\n    table: sales", "database: has a broken ${NAME}"),
        ("database: shop.db\n    table: a\n    query: select 1", "give exactly one of path, table, query"),
        ("path: a.csv\n    watermark: at", "watermark: goes with table or query, not with path"),
        ("database: shop.db\n    table: ''", "table: is empty; fill it in"),
        ("database: shop.db\n    table: a\n    format: csv", "format: is for files, not for tables"),
        ("database: shop.db\n    table: a\n    watermark: customer", "watermark: 'customer' names the user"),
        ("database: shop.db", "path: missing; name files by `path`, or rows of a database"),
    ],
)
def test_a_faulty_origin_is_one_sentence_without_a_secret(origin: str, says: str) -> None:
    message = fault_of(GOOD.replace("path: sales/*.csv", origin))
    assert says in message and "secret" not in message


@pytest.mark.parametrize(
    "database", ["${URL}", "postgresql://me:${PASSWORD}@host:5432/db", "shop.db", "sqlite:///a.db"]
)
def test_databases_are_named_by_variables_or_paths(database: str) -> None:
    shop = parse_shop(GOOD.replace("path: sales/*.csv", TABLE.replace("${SHOP_DATABASE}", database)), Path("s.yaml"))
    assert shop.sources["sales"].is_table and shop.sources["sales"].path == ()


JOINED = """\
name: corner
currency: EUR
calendar: {start: 2020-01-01}
identity: {kinds: [user, cookie]}
sources:
  sales:
    kind: events
    path: sales.csv
    event_type: purchase
    time: at
    columns: {user_id: customer, other_id: {column: visitor, identifier: cookie}, item_id: code}
  logins:
    kind: identities
    path: logins.csv
    columns: {user_id: customer, other_id: {column: visitor, identifier: cookie}, is_authenticated: {constant: true}}
"""


def test_a_shop_may_join_identifiers() -> None:
    shop = parse_shop(JOINED, Path("shop.yaml"))
    assert shop.has_identities and shop.identity.max_identifiers == 20
    assert shop.sources["logins"].columns["is_authenticated"].constant == "True"
    assert not parse_shop(GOOD, Path("shop.yaml")).has_identities
    # The time of an edge makes no shop with timestamps, and needs no calendar.
    untimed = JOINED.replace("calendar: {start: 2020-01-01}\n", "").replace("    time: at\n", "")
    assert not parse_shop(
        untimed.replace("path: logins.csv", "path: logins.csv\n    time: at"), Path("s.yaml")
    ).is_timed


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "kinds: [user, cookie]",
            "kinds: [user]",
            "identifier: 'cookie' is no kind of this shop; list it under identity.kinds",
        ),
        ("kinds: [user, cookie]", "kinds: [loyalty, cookie]", "'user' is no kind of this shop"),
        ("kinds: [user, cookie]", "kinds: [user, cookie, user]", "a kind stands twice"),
        ("kinds: [user, cookie]", "max_identifiers: 1", "identity.max_identifiers"),
        (", is_authenticated: {constant: true}", "", "columns.is_authenticated: missing; identities need it"),
        ("item_id: code}", "item_id: {column: code, identifier: cookie}}", "identifier is for user_id and other_id"),
        ("item_id: code}", "item_id: code, session_id: visitor}", "'visitor' names the user and would be stored"),
        ("other_id: {column: visitor,", "other_id: {column: customer,", "'customer' is already user_id"),
    ],
)
def test_a_wrong_declaration_of_identifiers_is_one_sentence(old: str, new: str, says: str) -> None:
    assert says in fault_of(JOINED.replace(old, new))
