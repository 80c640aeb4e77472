"""Small real shops on disk, and workspaces on them."""

import random
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path

from data.settings import Settings
from data.workspace import Workspace, open_workspace

YAML = """\
name: corner
currency: EUR
catalogue_public: true
public_benchmark: true
declared_users: 20
calendar: {start: 2024-01-01, end: 2024-03-31}
landing: landing
evaluation: {test_start: 2024-03-01, test_days: 28}
sources:
  tills:
    kind: events
    path: tills.csv
    event_type: {column: what, values: {buy: purchase, look: view}}
    time: at
    columns: {event_id: id, user_id: customer, item_id: sku, quantity: qty, value: paid, session_id: basket}
  catalogue:
    kind: items
    path: catalogue.csv
    columns: {item_id: sku, title: name, category_path: [department, kind], brand: brand, price: price}
  members:
    kind: users
    path: members.csv
    columns: {user_id: customer, attributes: [town]}
"""
HEADER = "id,customer,sku,what,qty,paid,at,basket"
CATALOGUE = """\
sku,name,department,kind,brand,price
a,Apple,Food,Fruit,Orchard,0.5
b,Bread,Food,Bakery,Mill,2.5
c,Candle,Home,Light,Wick,7
d,Dish,Home,Kitchen,Clay,12
"""
MEMBERS = "customer,town\nann,Ulm\nbob,Bonn\n"
GOOD = (
    "1,ann,a,buy,2,1.0,2024-01-02 10:00:00,x1",
    "2,ann,b,buy,1,2.5,2024-01-02 10:00:00,x1",
    "3,bob,c,look,,,2024-01-03 12:30:00,x2",
    "4,bob,c,buy,1,7.0,2024-01-03 12:40:00,x2",
    "5,,d,buy,1,12.0,2024-01-04 09:00:00,x3",
)


def write_shop(folder: Path, lines: Sequence[str] = GOOD, yaml: str = YAML) -> Path:
    """Write the corner shop with these till lines; returns the YAML's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "shop.yaml").write_text(yaml, encoding="utf-8")
    (folder / "tills.csv").write_text("\n".join([HEADER, *lines, ""]), encoding="utf-8")
    (folder / "catalogue.csv").write_text(CATALOGUE, encoding="utf-8")
    (folder / "members.csv").write_text(MEMBERS, encoding="utf-8")
    return folder / "shop.yaml"


def workspace_of(shop_file: Path, var: Path) -> Workspace:
    """A workspace on a shop file with its own var folder."""
    return open_workspace(Settings(shop_file=shop_file, var=var, threads=2, memory_limit="1GB"))


FLYERS = """\
  flyers:
    kind: promotions
    path: flyers
    public: true
    valid: {start: first, end: last}
    columns: {item_id: sku, place: shop, display: stand, mailer: flyer}
"""
"""A source of promotions for the corner shop, or the lively one."""


def flyer_lines(path: Path, lines: Iterable[str]) -> Path:
    """Write a file of promotions: sku, shop, first day, last day, stand, flyer."""
    return write_lines(path, "sku,shop,first,last,stand,flyer", list(lines))


LIVELY = """\
name: lively
currency: EUR
catalogue_public: true
public_benchmark: true
declared_users: {declared}
calendar: {{start: {first}, end: {end}}}
landing: landing
evaluation: {{test_start: {test}, test_days: {length}}}
sources:
  tills:
    kind: events
    path: tills.csv
    event_type: {{column: what, values: {{buy: purchase, look: view, back: return, ask: search}}}}
    time: at
    columns:
      event_id: id
      user_id: customer
      item_id: sku
      quantity: qty
      value: paid
      discount: saved
      session_id: basket
      text: words
  catalogue:
    kind: items
    path: catalogue.csv
    columns:
      item_id: sku
      title: name
      category_path: [department, kind, sort]
      brand: brand
      price: price
      availability: stock
  members:
    kind: users
    path: members.csv
    columns: {{user_id: customer, consent: agrees, attributes: [town]}}
"""
LIVELY_HEADER = "id,customer,sku,what,qty,paid,saved,at,basket,words"
LIVELY_START = date(2024, 1, 1)
N_ITEMS = 48
DECLARED = 5_000
"""Users that the lively shop declares: more than it has, so that its plan holds every release."""
_NOUNS = ("Apple", "Bread", "Candle", "Dish", "Egg", "Fork", "Glass", "Honey", "Ink", "Jam", "Kettle", "Lamp")


def customer(number: int) -> str:
    """The raw id of a customer of the lively shop: a word that nothing else of Portrait contains."""
    return f"Quill{number:03d}Vasquez"


def lively_shop(folder: Path, seed: int, n_users: int = 40, days: int = 90) -> Path:
    """Write a shop in which every table gets rows, with dirt of each kind, and return the YAML's path.

    Everybody has habits and comes back for them, so that the label periods hold known and new purchases: the 28 days
    before `test_start`, and the last 28 days of the history after it (a fifth of a shorter history).
    One line of each file is a fault or a duplicate; one item in twelve is out of stock; the last customer does not
    agree to a profile; neighbouring customers share ids of events.

    Args:
        folder: where the files go.
        seed: of everything drawn.
        n_users: customers, at least 10.
        days: length of the history from `LIVELY_START`, at least 45.
    """
    draw = random.Random(seed)
    length = 28 if days >= 85 else days // 5
    first, test = LIVELY_START, LIVELY_START + timedelta(days=days - length)
    lines: list[str] = []
    for who in range(n_users):
        habits = [draw.randrange(N_ITEMS) for _ in range(6)]
        for visit in range(days // 5):
            day = first + timedelta(days=min(days - 1, visit * 5 + draw.randrange(5)))
            lines += _visit(draw, who, visit, day, habits)
    lines += ["bad1,,sku001,buy,-1,1.0,0,2024-01-09 10:00:00,bad,", lines[0]]
    folder.mkdir(parents=True, exist_ok=True)
    end = first + timedelta(days=days + 60)
    (folder / "shop.yaml").write_text(
        LIVELY.format(declared=DECLARED, first=first, end=end, test=test, length=length), encoding="utf-8"
    )
    write_lines(folder / "tills.csv", LIVELY_HEADER, lines)
    items = [
        f"sku{n:03d},{_NOUNS[n % 12]} {n // 12},Dept {n % 2},Kind {n % 4},Sort {n % 8},Brand {n % 5},{1 + n % 9}.5,"
        + ("no" if n % 12 == 11 else "yes")
        for n in range(N_ITEMS)
    ]
    items.append(items[3].replace(".5,", ".6,"))
    write_lines(folder / "catalogue.csv", "sku,name,department,kind,sort,brand,price,stock", items)
    members = [f"{customer(n)},{'no' if n == n_users - 1 else 'yes'},Town {n % 3}" for n in range(n_users)]
    write_lines(folder / "members.csv", "customer,agrees,town", [*members, f"{customer(0)},yes,Town 9"])
    return folder / "shop.yaml"


def learn_online(shop_file: Path) -> Path:
    """Switch online learning on; returns the YAML's path."""
    text = shop_file.read_text(encoding="utf-8").replace("sources:\n", "online_learning: true\nsources:\n")
    shop_file.write_text(text, encoding="utf-8")
    return shop_file


def _visit(draw: random.Random, who: int, visit: int, day: date, habits: Sequence[int]) -> list[str]:
    """Till lines of one basket; customers 2 n and 2 n + 1 number theirs alike."""
    found = []
    for number in range(draw.randrange(2, 5)):
        item = draw.choice(habits) if draw.random() < 0.7 else draw.randrange(N_ITEMS)
        what = draw.choice(("buy", "buy", "buy", "buy", "look", "back"))
        units, paid = draw.randrange(1, 4), (1 + item % 9) * 1.5
        found.append(
            f"e{who // 2}-{visit}-{number},{customer(who)},sku{item:03d},{what},{units},{paid * units:.2f},"
            f"{draw.choice(('0', '0', '0.25'))},{day} {9 + who % 9:02d}:{number:02d}:00,b{who}-{visit},"
        )
    if draw.random() < 0.1:
        found.append(f"e{who // 2}-{visit}-s,{customer(who)},,ask,,,,{day} 09:00:00,b{who}-{visit},warm lamp")
    if draw.random() < 0.1:
        found.append(f"n{who}-{visit},,sku{draw.randrange(N_ITEMS):03d},buy,1,2.0,0,{day} 12:00:00,g{who}-{visit},")
    return found


def write_lines(path: Path, header: str, lines: Sequence[str]) -> Path:
    """Write a CSV file, and the folder that it stands in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *lines, ""]), encoding="utf-8")
    return path


COOKIES = """\
  web:
    kind: events
    path: web.csv
    event_type: view
    time: at
    columns: {event_id: id, user_id: {column: visitor, identifier: cookie}, item_id: sku}
  logins:
    kind: identities
    path: logins.csv
    time: at
    columns:
      user_id: customer
      other_id: {column: visitor, identifier: cookie}
      is_authenticated: proved
"""


def cookies_of(number: int) -> tuple[str, str]:
    """The two cookies of a customer of a shop with cookies."""
    return f"Crumb{number:03d}Vega", f"Crumb{number:03d}Wels"


def add_cookies(shop_file: Path, numbers: Sequence[int]) -> None:
    """Give customers of a lively shop cookies with views and log-ins, and a tablet to the last two of them."""
    text = shop_file.read_text(encoding="utf-8").replace("sources:\n", "identity: {kinds: [user, cookie]}\nsources:\n")
    shop_file.write_text(text + COOKIES, encoding="utf-8")
    seen, tablet = [(n, one) for n in numbers for one in cookies_of(n)], "Crumb999Tablet"
    web = [
        f"w{i}-{v},{one},sku{(7 * i + v) % N_ITEMS:03d},2024-01-{1 + (i + 3 * v) % 28:02d} 08:00:00"
        for i, one in enumerate([*(one for _, one in seen), tablet])
        for v in range(3)
    ]
    logins = [f"{customer(n)},{one},2024-01-{2 + n % 20:02d} 08:30:00,yes" for n, one in seen]
    logins += [f"{customer(n)},{tablet},2024-01-05 08:30:00,yes" for n in numbers[-2:]]
    write_lines(shop_file.parent / "web.csv", "id,visitor,sku,at", web)
    write_lines(shop_file.parent / "logins.csv", "customer,visitor,at,proved", logins)


def add_flyers(shop_file: Path) -> None:
    """Let a lively shop promote every item in some weeks, one of them an item that it does not have."""
    shop_file.write_text(shop_file.read_text(encoding="utf-8") + FLYERS, encoding="utf-8")
    weeks = [LIVELY_START + timedelta(weeks=week) for week in range(4)]
    lines = [
        f"sku{n:03d},{place},{week},{week + timedelta(days=6)},{'front' if place % 2 else 0},{'A' if n % 3 else 0}"
        for week in weeks for n in range(N_ITEMS) for place in range(3)
    ]  # fmt: skip
    flyer_lines(shop_file.parent / "flyers" / "weeks.csv", [*lines, f"sku999,1,{weeks[0]},{weeks[1]},front,0"])


def remove_customer(folder: Path, *names: str) -> int:
    """Take every line that names a customer by one of these ids out of a lively shop; returns how many there were."""
    removed = 0
    for path in sorted(set(folder.glob("*.csv")) - {folder / "catalogue.csv"}):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if not set(names) & set(line.strip().split(","))]
        removed += len(lines) - len(kept)
        path.write_text("".join(kept), encoding="utf-8")
    return removed
