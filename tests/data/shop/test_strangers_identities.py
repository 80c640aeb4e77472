"""Persons and links between their ids in strangers' files: nobody is joined unasked, customers stay customers."""

import datetime as dt
from pathlib import Path

import pytest

from data.shop.load import parse_shop
from tests.support.strangers import ROWS, drafted, kinds, mapped, time_of, write


def test_links_of_persons_and_sign_up_dates_are_no_events(tmp_path: Path) -> None:
    write(tmp_path / "views.csv", (f"u{n % 25},i{n % 5},2024-01-01" for n in range(ROWS)), "user_id,item_id,date")
    write(
        tmp_path / "logins.csv",
        (f"c{n},u{n},2024-01-01 10:00:00 UTC" for n in range(25)),
        "cookie_id,user_id,logged_in_at",
    )
    write(tmp_path / "customers.csv", (f"u{n},{'yes' if n else 'no'},2023-01-0{1 + n % 9},gold" for n in range(25)),
          "user_id,newsletter,signup_date,level")  # fmt: skip
    text, shop, shown = drafted(tmp_path)
    assert kinds(shop) == {"customers": "users", "views": "events", "views_items": "items"} and not shown.problems
    assert mapped(shop, "customers")["consent"] == "newsletter"
    assert "consent: newsletter # check: who says no here has no profile" in text
    assert mapped(shop, "customers")["attributes"] == ["signup_date", "level"]


def clicks_of_cookies(folder: Path) -> None:
    """Events of a web shop: each line has the cookie, two thirds of them the customer too."""
    lines = (f"{f'c{n % 9}' if n % 3 else ''},k{n % 12},i{n % 5},2024-01-0{1 + n % 9} 10:00:00" for n in range(ROWS))
    write(folder / "clicks.csv", lines, "customer_id,cookie_id,sku,event_time")
    write(folder / "products.csv", (f"i{n},Thing {n}" for n in range(5)), "sku,title")


def test_links_that_say_themselves_that_they_were_proved_are_edges(tmp_path: Path) -> None:
    clicks_of_cookies(tmp_path)
    said = ("yes", "no", "yes")
    links = (f"k{n},L{n % 9},{said[n % 3]},2023-12-{1 + n % 28:02d} 08:00:00" for n in range(30))
    write(tmp_path / "links.csv", links, "cookie_id,loyalty_id,verified,linked_at")
    text, shop, shown = drafted(tmp_path)
    assert kinds(shop) == {"clicks": "events", "links": "identities", "products": "items"} and not shown.problems
    assert shop.identity.kinds == ("user", "cookie")
    assert mapped(shop, "links") == {"user_id": "loyalty_id", "other_id": "cookie_id", "is_authenticated": "verified"}
    assert time_of(shop, "links") == ("linked_at", "iso")
    for source in ("clicks", "links"):
        columns = shop.sources[source].columns
        assert (columns["user_id"].identifier, columns["other_id"].identifier) == ("user", "cookie")
    assert "is_authenticated: verified # check: yes joins the two ids for good" in text
    assert shop.calendar is not None and shop.calendar.start == dt.date(2024, 1, 1), "of the events alone"
    cookies = set(shown.rows["links"]["other_id"].to_pylist())
    anonymous = set(shown.rows["clicks"]["user_id"].to_pylist()[::3])
    assert anonymous <= cookies and len(anonymous) > 1, "one cookie is one pseudonym, in whichever file it stands"


@pytest.mark.parametrize(
    ("name", "header", "line", "words"),
    [
        ("logins.csv", "cookie_id,customer_id,logged_in_at", "k{n},c{n},2024-01-01 10:00:00 UTC", ()),
        ("auth_log.csv", "visitor_id,customer_id,event,at", "k{n},c{n},{word},2024-01-01", ("login",)),
        ("newsletter_links.csv", "email,loyalty_card_id", "m{n}@example.org,c{n}", ()),
    ],
)
def test_two_ids_in_a_line_join_nobody_until_somebody_says_that_they_were_proved(
    tmp_path: Path, name: str, header: str, line: str, words: tuple[str, ...]
) -> None:
    clicks_of_cookies(tmp_path)
    write(tmp_path / name, (line.format(n=n, word=("login", "logout")[n % 2]) for n in range(25)), header)
    source = name.split(".")[0]
    text, shop, shown = drafted(tmp_path)
    assert kinds(shop) == {"clicks": "events", "products": "items"} and not shown.problems
    assert shop.identity.kinds == ("user",) and "other_id" not in mapped(shop, "clicks")
    assert "Nobody is joined unasked" in text and f"{name} is not used" not in text
    # What is suggested is a source, once somebody takes the marks away.
    head, _, rest = text.partition(f"  # {source}:\n")
    lines = [one.removeprefix("  # ") for one in rest.splitlines() if one.startswith("  # ")]
    others = [one for one in rest.splitlines() if not one.startswith("  # ")]
    identifier = "email" if "email" in header else "cookie"
    whole = [
        f"identity: {{kinds: [user, {identifier}]}}",
        head,
        f"  {source}:",
        *(f"  {one}" for one in lines),
        *others,
    ]
    joined = parse_shop("\n".join(whole), tmp_path / "shop.yaml").sources[source]
    assert joined.kind == "identities" and joined.columns["is_authenticated"].constant == "yes"
    assert joined.columns["other_id"].identifier == identifier
    assert tuple(word for rule in joined.filters for word in rule.keep_values) == words


def test_customers_with_an_e_mail_address_are_customers(tmp_path: Path) -> None:
    clicks_of_cookies(tmp_path)
    write(tmp_path / "customers.csv", (f"c{n},m{n}@example.org" for n in range(25)), "customer_id,email")
    write(tmp_path / "crm.csv", (f"c{n},m{n}@example.org,gold" for n in range(25)), "customer_id,email,level")
    _, shop, _ = drafted(tmp_path)
    assert kinds(shop) == {"clicks": "events", "crm": "users", "customers": "users", "products": "items"}
