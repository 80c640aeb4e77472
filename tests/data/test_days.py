"""Days that look things up: the stale ones are made and no others, and the tables are those of a build from nothing."""

from collections import Counter
from collections.abc import Mapping
from datetime import date, timedelta
from random import Random

import pyarrow as pa
import pytest

from data import days as data_days
from data.build import Made
from data.contracts.core import DAY, INPUT_VERSION
from data.contracts.schema import Column, Table
from data.days import refresh_days
from data.lake import Lake
from data.lookups import Lookup, facts_of
from data.workspace import Workspace
from tests.support.shops import workspace_of, write_shop

ITEM = Column(name="item", type="text", doc="Item.")
COLOUR = Column(name="colour", type="text", doc="Colour.")
NOTES = Table(key="t.notes", doc="Seen.", privacy="internal", columns=(DAY, ITEM), partition_by="day")
GOODS = Table(
    key="t.goods",
    doc="Goods.",
    privacy="public",
    columns=(ITEM, COLOUR, Column(name="remark", type="text", doc="Read by no day.")),
    primary_key=("item",),
)
SEEN = Table(key="t.seen", doc="d", privacy="internal", columns=(DAY, ITEM, COLOUR, INPUT_VERSION), partition_by="day")
ASIDE = Table(key="t.aside", doc="d", privacy="internal", columns=(DAY, ITEM, INPUT_VERSION), partition_by="day")
LOOKUP = Lookup(table=GOODS, key="item", facts="select item, colour from t.goods")
FROM = "from t.notes as n join input_versions as v on n.day = v.day left join t.goods as g on n.item = g.item"
DAYS = [date(2024, 1, 1) + timedelta(days=n) for n in range(7)]
ITEMS = "abcde"


class Killed(BaseException):
    """The process ends here."""


class Mortal(Lake):
    """A lake in which a process dies before it publishes so many more times."""

    left = 1_000_000

    def publish(self, contract, data, **said):
        """Publish, or die."""
        if contract.key in (SEEN.key, ASIDE.key):
            self.left -= 1
            if self.left < 0:
                raise Killed
        return super().publish(contract, data, **said)


class Little:
    """What a shop with two inputs holds, and what its days were last made from."""

    def __init__(self, workspace: Workspace) -> None:
        self.lake = Mortal(workspace.lake.root)
        self.workspace = Workspace(workspace.settings, workspace.shop, self.lake, workspace.engine)
        self.notes: dict[date, list[str]] = {}
        self.goods: dict[str, tuple[str | None, str]] = {}
        self.landings: Counter[date] = Counter()
        self.code = "A"
        self.made_from: dict[date, object] = {}
        self.is_known = True
        self.sell("a")

    def see(self, day: date, *items: str) -> None:
        """Land a day again."""
        self.notes[day] = list(items)
        self.landings[day] += 1
        rows = pa.table({"day": pa.array([day] * len(items), pa.date32()), "item": pa.array(items, pa.string())})
        self.lake.publish(NOTES, rows, fingerprint="", days=[day])

    def sell(self, item: str, colour: str | None = "red", remark: str = "") -> None:
        """Add an item, or change it."""
        self.goods[item] = (colour, remark)
        self._publish_goods()

    def drop(self, item: str) -> None:
        """Take an item out."""
        self.goods.pop(item, None)
        self._publish_goods()

    def _publish_goods(self) -> None:
        rows = [{"item": item, "colour": c, "remark": r} for item, (c, r) in self.goods.items()]
        self.lake.publish(GOODS, pa.Table.from_pylist(rows, schema=GOODS.arrow_schema()), fingerprint="")

    def run(self, days=DAYS, killed_after: int = 1_000_000) -> set[date]:
        """Make the stale ones of some days; returns the days that were rewritten."""
        before = [self.lake.day_versions(table.key) for table in (SEEN, ASIDE)]
        self.lake.left = killed_after
        try:
            refresh_days(
                self.workspace, [ASIDE, SEEN], [NOTES], [LOOKUP], make,
                days=days, code_version=self.code, days_per_commit=2,
            )  # fmt: skip
        except Killed:
            self.is_known = False
        else:
            self.made_from |= {day: self.source(day) for day in days}
        self.lake.left = 1_000_000
        after = [self.lake.day_versions(table.key) for table in (SEEN, ASIDE)]
        return {d for old, new in zip(before, after, strict=True) for d in {*old, *new} if old.get(d) != new.get(d)}

    def source(self, day: date) -> object:
        """All that a day may depend on."""
        items = self.notes.get(day)
        return (self.code, self.landings[day], [(i, self.goods[i][0]) if i in self.goods else i for i in items or ()])

    def stale(self) -> set[date]:
        """Days whose source is not what they were made from."""
        return {day for day in DAYS if day in self.landings and self.made_from.get(day) != self.source(day)}

    def holds_what_a_build_from_nothing_holds(self) -> bool:
        """Whether each row of each table is as it should be."""
        seen = [(d, i, self.goods[i][0]) for d, items in self.notes.items() for i in items if i in self.goods]
        aside = [(d, i) for d, items in self.notes.items() for i in items if i not in self.goods]
        with self.workspace.engine.session() as session:
            for table in (SEEN, ASIDE):
                session.attach(table, self.lake)
            held = [session.query(f"select * exclude (input_version) from {t.key}").to_pylist() for t in (SEEN, ASIDE)]
        return [Counter(tuple(row.values()) for row in rows) for rows in held] == [Counter(seen), Counter(aside)]


def make(session) -> Mapping[str, Made]:
    seen = f"select n.day, n.item, g.colour, v.input_version {FROM} where g.item is not null"
    aside = f"select n.day, n.item, v.input_version {FROM} where g.item is null"
    return {SEEN.key: Made(data=session.query(seen)), ASIDE.key: Made(data=session.query(aside))}


@pytest.fixture
def little(tmp_path):
    return Little(workspace_of(write_shop(tmp_path / "shop"), tmp_path / "var"))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_after_any_changes_exactly_the_stale_days_are_made_and_the_tables_are_the_fresh_ones(little, seed):
    draw = Random(seed)
    for _ in range(12):
        for _ in range(draw.randrange(4)):
            item = draw.choice(ITEMS)
            match draw.randrange(6):
                case 0 | 1:
                    little.sell(item, draw.choice(["red", "blue", None]), draw.choice("xy"))
                case 2:
                    little.drop(item)
                case 3 | 4:
                    little.see(draw.choice(DAYS), *draw.choices(ITEMS, k=draw.randrange(4)))
                case 5:
                    little.code = draw.choice("AB")
        match draw.randrange(4):
            case 0:
                little.run(draw.sample(DAYS, 3))
            case 1:
                little.run(killed_after=draw.randrange(5))
        stale = little.stale()
        made = little.run()
        assert little.holds_what_a_build_from_nothing_holds()
        if little.is_known:
            held = {*little.lake.day_versions(SEEN.key), *little.lake.day_versions(ASIDE.key)}
            assert made & held == stale & held
        little.is_known = True
        assert little.run() == set()


def test_nothing_is_looked_up_again_until_what_is_looked_up_in_changes(little, monkeypatch):
    asked = []

    def recorded(workspace, by_day, lookups, days):
        asked.append(set(days))
        return facts_of(workspace, by_day, lookups, days)

    monkeypatch.setattr(data_days, "facts_of", recorded)
    first, second, third = DAYS[:3]
    little.see(first, "a", "b")
    little.see(second, "c")
    assert little.run() == {first, second}
    version = little.lake.published(SEEN.key).version
    assert little.run() == set() and little.lake.published(SEEN.key).version == version
    little.see(third, "a")
    assert little.run() == {third}
    little.sell("new")
    little.sell("a", "red", "another remark")
    assert little.run() == set() and little.run() == set()
    little.sell("c")
    assert little.run() == {second} and little.run() == set()
    every = {first, second, third}
    assert asked == [{first, second}, set(), {third}, every, set(), every, set()]


def test_a_commit_that_says_nothing_of_the_days_leaves_them_to_be_looked_up_again_and_not_made(little):
    little.see(DAYS[0], "a", "z")
    little.see(DAYS[1], "z")
    little.run()
    little.lake.append(SEEN, SEEN.arrow_schema().empty_table(), fingerprint="another writer's")
    assert little.run() == {DAYS[1]}  # no row of it is in the last table: its commit may be missing
    assert little.run() == set() and little.holds_what_a_build_from_nothing_holds()


def test_a_run_killed_between_the_two_commits_of_a_day_makes_it_again(little):
    little.see(DAYS[0], "a", "z")
    little.run(killed_after=1)
    assert set(little.lake.day_versions(ASIDE.key)) == {DAYS[0]} and not little.lake.day_versions(SEEN.key)
    assert little.run() == {DAYS[0]} and little.holds_what_a_build_from_nothing_holds()


def test_a_lookup_by_a_column_that_no_input_has_is_refused(little):
    little.see(DAYS[0], "a")
    lookup = Lookup(table=GOODS, key="sku", facts="select item as sku from t.goods")
    with pytest.raises(ValueError, match="t.goods: no input by day has the column sku"):
        facts_of(little.workspace, [NOTES], [lookup], DAYS[:1])
