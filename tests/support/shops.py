"""Small real shops on disk, and workspaces on them."""

from collections.abc import Sequence
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
