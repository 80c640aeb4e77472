"""The catalogue and the customers change: exactly the days concerned are made, as a build from nothing makes them."""

import random
import shutil
from datetime import date
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from data import core
from data.contracts import TABLES
from data.contracts.core import EVENTS, EVENTS_QUARANTINE, ITEMS, USERS
from data.contracts.features import DAILY
from data.features import CONSENTING, daily_model
from data.quarantine import totals
from data.workspace import Workspace
from orchestration.definitions import build_defs
from tests.support.runs import days, execute, land, rows
from tests.support.shops import YAML, workspace_of, write_shop

ASKING = YAML.replace(
    "{user_id: customer, attributes: [town]}", "{user_id: customer, consent: agrees, attributes: [town]}"
)
BY_DAY = (EVENTS_QUARANTINE, EVENTS, DAILY)
KEYS = ("raw.tills", "raw.catalogue", "raw.members", "core.corrections", "core.events", "core.events_quarantine",
        "core.items", "core.items_quarantine", "core.users", "core.users_quarantine", "features.daily")  # fmt: skip
RARE = {2: "b", 3: "c", 4: "b", 5: "ghost", 6: "d", 7: "ghost", 8: "e", 9: "c"}
"""Day of January -> the item, or the one that no catalogue knows yet, that bob buys beside what ann buys daily."""


def lines() -> list[str]:
    daily = [f"a{day}-{n},ann,a,buy,1,0.5,2024-01-{day:02d} 10:00:{n:02d},x{day}" for day in RARE for n in range(30)]
    rare = [f"r{day},bob,{item},buy,1,3.5,2024-01-{day:02d} 11:00:00,y{day}" for day, item in RARE.items()]
    return [*daily, *rare, "cy1,cy,a,look,,,2024-01-04 12:00:00,z"]


def january(*days: int) -> set[date]:
    return {date(2024, 1, day) for day in days}


class Shop:
    """A shop that is made up to its daily sums."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace, self.lake, self.defs = workspace, workspace.lake, build_defs(workspace)

    def run(self, *keys: str) -> None:
        """Materialise some assets."""
        with dg.DagsterInstance.ephemeral() as instance:
            only = [dg.AssetKey(key.split(".")) for key in keys]
            assert execute(self.defs, instance, tags=days("2024-01-02", "2024-01-09"), only=only).success

    def remade(self) -> tuple[set[date], set[date]]:
        """Run what is made by day; the days of core.events, or its quarantine, and of features.daily that were made."""
        before = {t.key: self.lake.day_versions(t.key) for t in BY_DAY}
        self.run(*(t.key for t in BY_DAY))
        after = {t.key: self.lake.day_versions(t.key) for t in BY_DAY}
        made = {k: {d for d in {*before[k], *after[k]} if before[k].get(d) != after[k].get(d)} for k in after}
        return made[EVENTS.key] | made[EVENTS_QUARANTINE.key], made[DAILY.key]

    def put(self, table, key: str, **values: object) -> None:
        """Change or add a row of the catalogue or of the customers; without values, take it out."""
        [name] = table.primary_key
        kept = {row[name]: row for row in rows(self.workspace, table.key)}
        row = kept.pop(key, dict.fromkeys(table.names))
        if values:
            kept[key] = row | {name: key} | values
        data = pa.Table.from_pylist(list(kept.values()), schema=table.arrow_schema())
        self.lake.publish(table, data, fingerprint="edited")

    def from_nothing(self) -> dict[str, pa.Table]:
        """What the tables by day would hold if nothing had been made before."""
        landed = sorted(self.lake.day_versions("raw.tills"))
        with self.workspace.engine.session() as session:
            for table in (*core.days_of_events(self.workspace.shop), ITEMS, USERS):
                session.attach(table, self.lake)
            session.register("input_versions", pa.table({"day": landed, "input_version": [""] * len(landed)}))
            made = {key: one.data for key, one in core.make_events(self.workspace, session).items()}
            session.register(EVENTS.key, made[EVENTS.key])
            session.define("consenting.events", CONSENTING)
            return {**made, DAILY.key: session.query(daily_model())}

    def differs(self) -> list[str]:
        """Tables that do not hold what a build from nothing makes, to the bit."""
        return [key for key, fresh in self.from_nothing().items() if plain(key, fresh) != rows(self.workspace, key)]


def plain(key: str, data: pa.Table) -> list[dict[str, object]]:
    """Rows of a table in the order of `rows`."""
    import duckdb

    kept = ", ".join(f'"{name}"' for name in TABLES[key].names if name != "input_version")
    with duckdb.connect() as connection:
        connection.register("made", TABLES[key].conform(data))
        return connection.sql(f"select {kept} from made order by all").to_arrow_table().to_pylist()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a shop that is made up to its daily sums; copied by the tests, never changed."""
    folder = tmp_path_factory.mktemp("lookups")
    path = write_shop(folder / "shop", lines(), ASKING)
    (path.parent / "members.csv").write_text("customer,agrees,town\nann,yes,Ulm\nbob,yes,Bonn\n", encoding="utf-8")
    with (path.parent / "catalogue.csv").open("a", encoding="utf-8") as file:
        file.write("e,Egg,Food,Fresh,Hen,\n")
    Shop(workspace_of(path, folder / "var")).run(*KEYS)
    return folder


def copied(made: Path, to: Path) -> Shop:
    shutil.copytree(made, to, dirs_exist_ok=True)
    return Shop(workspace_of(to / "shop" / "shop.yaml", to / "var"))


def test_a_change_makes_exactly_the_days_that_look_it_up(made, tmp_path):
    shop = copied(made, tmp_path)
    bob = next(row["user_id"] for row in rows(shop.workspace, "core.events") if row["item_id"] == "b")
    new, none = {"title": "New", "is_available": True}, january()
    changes = {
        "what no day reads": (
            [
                (ITEMS, "new", new),
                (ITEMS, "b", {"title": "Loaf", "description": "of rye", "price": 2.9}),
                (ITEMS, "c", {"is_available": False, "image": "c.png"}),
                (USERS, bob, {"attributes": '{"town": "Ulm"}'}),
                (USERS, "u_" + "0" * 32, {"attributes": "{}", "consent": True}),
            ],
            none,
            none,
        ),
        "what sums are kept by": (
            [
                (ITEMS, "b", {"price": 3.0}),
                (ITEMS, "c", {"brand": "Wax"}),
                (ITEMS, "d", {"category_path": "Home > Table"}),
                (ITEMS, "e", {"price": 0.2}),
            ],
            none,
            january(2, 3, 4, 6, 8, 9),
        ),
        "items come and go": ([(ITEMS, "ghost", new), (ITEMS, "d", {})], january(5, 6, 7), january(5, 6, 7)),
        "a consent is withdrawn": ([(USERS, bob, {"consent": False})], none, january(2, 3, 4, 5, 7, 8, 9)),
        "a consent is given": ([(USERS, bob, {"consent": True})], none, january(2, 3, 4, 5, 7, 8, 9)),
    }
    for change, (edits, events, daily) in changes.items():
        for table, key, values in edits:
            shop.put(table, key, **values)
        assert shop.remade() == (events, daily), change
        assert shop.differs() == [], change
    assert shop.remade() == (none, none) and totals(shop.workspace, "events")["unknown_item"] == 1


def test_random_edits_of_the_catalogue_end_as_a_build_from_nothing(made, tmp_path):
    shop, draw = copied(made, tmp_path), random.Random(1)
    for _ in range(4):
        for item in draw.sample(["b", "c", "d", "e", "ghost", "new"], 3):
            values = {
                "title": "T",
                "is_available": draw.random() < 0.5,
                "brand": draw.choice(["", "Mill", None]),
                "category_path": draw.choice(["A", "A > B", "A > B > C > D", None]),
                "price": draw.choice([None, 0.0, 2.0, 5.0, 500.0]),
            }
            shop.put(ITEMS, item, **(values if draw.random() < 0.8 else {}))
        shop.remade()
        assert shop.differs() == []


def test_a_catalogue_file_brings_quarantined_rows_back_and_the_state_follows(made, tmp_path):
    shop = copied(made, tmp_path)
    assert totals(shop.workspace, "events")["unknown_item"] == 2
    header, line = "sku,name,department,kind,brand,price", "ghost,Ghost,Home,Light,Sheet,5"
    land(shop.workspace, "more.csv", [header, line], "catalogue")
    before = shop.lake.day_versions(DAILY.key)
    shop.run(*(k for k in KEYS if k.startswith(("raw.catalogue", "core.items"))), *(t.key for t in BY_DAY))
    after = shop.lake.day_versions(DAILY.key)
    assert {day for day in after if after[day] != before[day]} == january(5, 7)
    assert totals(shop.workspace, "events")["unknown_item"] == 0 and shop.differs() == []
    shop.run("features.checkpoint", "features.state")
    brands = {row["key"]: row["n_days"] for row in rows(shop.workspace, "features.state") if row["facet"] == "brand"}
    assert brands["Sheet"] == 2
