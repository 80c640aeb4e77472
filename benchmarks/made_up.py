"""The history of a made-up shop in memory, as the releases read a real one: any number of users, no files, no dirt.

It answers what `data.history.History` answers, from the events that `portrait synth` would write.
"""

import copy
from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from data.contracts.facets import EVENT_RULES, HALF_LIVES_DAYS
from data.history import WINDOW_DAYS, Phase
from data.synth.events import DAY_S, make_block
from data.synth.plan import EVENT_TYPES, Plan
from data.synth.world import make_items, make_persons
from ml.ranking.inputs import Catalogue, codes_of

AT_ONCE = 20_000
"""Users made at once."""
Pairs = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]
"""Users and items, of one length."""


class MadeUp:
    """Everything that the users of a made-up shop did, and what of it was known on a day."""

    def __init__(self, plan: Plan) -> None:
        """Make the shop.

        Args:
            plan: what is planted; lateness, copies and anonymous sessions play no part.
        """
        self.plan, self.items = plan, make_items(plan)
        self.user_ids = np.arange(plan.n_users)
        self.item_ids = self.items.item_id
        self.test_day = plan.n_days - WINDOW_DAYS
        self._kept: tuple[Any, dict[str, npt.NDArray[Any]]] = (None, {})
        self.db = duckdb.connect()
        self.db.execute("set threads = 2")
        self.db.execute("create table events (user_index int, item_index int, second int, kind utinyint)")
        for made in self._blocks():  # noqa: B007, named in the SQL
            self.db.execute("insert into events select * from made")
        weights = ", ".join(f"({n}, {EVENT_RULES[name].weight})" for n, name in enumerate(EVENT_TYPES))
        self.db.execute(f"create table weights as select * from (values {weights}) w(kind, weight)")

    def _blocks(self) -> Iterator[dict[str, npt.NDArray[Any]]]:
        search = EVENT_TYPES.index("search")
        for first in range(0, self.plan.n_users, AT_ONCE):
            persons = make_persons(self.plan, first, min(first + AT_ONCE, self.plan.n_users))
            rows = make_block(self.plan, self.items, persons).events
            rows = rows[rows["kind"] != search]
            kinds = ("user", np.int32), ("item", np.int32), ("second", np.int32), ("kind", np.uint8)
            yield {name: rows[name].astype(dtype) for name, dtype in kinds}

    def as_of(self, day: int) -> "MadeUp":
        """The same shop, tested on the days from another one on."""
        found = copy.copy(self)
        found.test_day = day
        return found

    def catalogue(self) -> Catalogue:
        """The public catalogue; titles of made-up products say nothing, and have no vectors."""
        names = self.items.department, self.items.category, self.items.brand
        department, category, brand = (np.unique(name, return_inverse=True)[1].astype(np.int64) for name in names)
        codes = np.stack([codes_of(department), codes_of(category), codes_of(category), codes_of(brand)])
        return Catalogue(codes, np.zeros((1, 1), np.float32), np.full(self.plan.n_items, -1, np.int32))

    def state(self, phase: Phase, n_users: int | None = None) -> dict[str, npt.NDArray[Any]]:
        """As `History.state`; of the first users alone if so asked. Kept until another is asked for."""
        asked = (phase, n_users, self.test_day)
        if asked != self._kept[0]:
            self._kept = (asked, self._state(phase, n_users))
        return self._kept[1]

    def _state(self, phase: Phase, n_users: int | None) -> dict[str, npt.NDArray[Any]]:
        day = self.test_day - (WINDOW_DAYS if phase == "fit" else 0)
        age = f"({day * DAY_S} - e.second) / {DAY_S}e0"
        decayed = ", ".join(
            f"sum(w.weight * pow(2e0, -{age} / {half}e0)) as decayed_{half}d" for half in HALF_LIVES_DAYS
        )
        sql = f"""
            select e.user_index, e.item_index, count(distinct e.second // {DAY_S}) as n_days, {decayed},
                min({age}) as last_days, max({age}) as first_days
            from events e join weights w using (kind)
            where e.second < {day * DAY_S} and e.user_index < {n_users or self.plan.n_users}
            group by all order by all
        """
        return dict(self.db.execute(sql).fetchnumpy())

    def taken(self, first: int, last: int, n_users: int | None = None) -> Pairs:
        """Distinct users and items of the purchases of days [first, last)."""
        sql = f"""
            select distinct user_index, item_index from events where kind = {EVENT_TYPES.index("purchase")}
            and second >= {first * DAY_S} and second < {last * DAY_S}
            and user_index < {n_users or self.plan.n_users} order by all
        """
        found = self.db.execute(sql).fetchnumpy()
        return found["user_index"], found["item_index"]

    def popular(self) -> list[Pairs]:
        """As `History.popular`."""
        ends = self.test_day - WINDOW_DAYS, self.test_day
        return [self.taken(end - WINDOW_DAYS, end) for end in ends]

    def fit_labels(self) -> Pairs:
        """As `History.fit_labels`."""
        return self.taken(self.test_day - WINDOW_DAYS, self.test_day)

    def numbered(self, pairs: Pairs) -> Pairs:
        """They are numbers already."""
        return pairs

    def weighted(self, pairs: Pairs) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float64]]:
        """A purchase weighs as much as any other."""
        return *pairs, np.ones(len(pairs[0]))


def shop_of(n_users: int, seed: int, n_items: int = 5_000) -> MadeUp:
    """The shop that figures by size are measured on: half a year, one habit a user, no change of taste."""
    plan = Plan(
        n_users=n_users, n_items=n_items, n_days=180, seed=seed, shape="utc_csv",
        sessions_per_day=0.08, n_habits=1, drift_share=0.0,
    )  # fmt: skip
    return MadeUp(plan)
