"""Does it pay to learn from each user's own days after a release? A prequential curve beside the frozen release.

    python benchmarks/online.py made-up --seeds 1 2 3
    PORTRAIT_VAR=var python benchmarks/online.py shop --release 2017-08-09 --weeks 8 --users 600

At the start of each week after the release, both rank everybody's next purchases; a list is judged by what its user
takes on the first day of that week on which the user takes anything. Only then are the week's days learnt from.
`made-up`: shops of `portrait synth` in memory, some without drift, some in which the tastes of `--drift` of the persons
change at the instant of the release; releases without noise. `shop`: the tables that `portrait run` made of a shop that
is declared a public benchmark, releases drawn anew under its plan; nothing is written. One table in markdown a shop:
mean NDCG@20 by week.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
from cost_of_privacy import public_benchmark
from made_up import MadeUp

from assets import arrays, learning
from assets.online import day_parts
from data.contracts.facets import HALF_LIVES_DAYS
from data.history import History, periods
from data.synth.events import DAY_S
from data.synth.plan import EVENT_TYPES, Plan
from ml.evaluation import per_user_metrics
from ml.online import Learnt, OnlineConfig, learn
from ml.privacy.plan import default_plan
from ml.ranking.index import ItemIndex, index_items
from ml.ranking.inputs import CandidateConfig, UserItemState
from ml.ranking.ranker import RankerWeights, recommend
from ml.replay import DayParts

CANDIDATES = CandidateConfig()
WEEK, K, BEFORE = 7, 20, 140
"""Days of a week, length of a list, days of a made-up shop before its release."""
SHOPS: dict[str, dict[str, Any]] = {
    "habits": {},
    "busy": {"sessions_per_day": 1.0, "cart_rate": 0.5, "purchase_rate": 0.8, "n_habits": 4},
    "baskets": {"sessions_per_day": 0.3, "views_per_session": 10, "cart_rate": 1, "purchase_rate": 0.9, "n_habits": 20},
    "tastes": {"sessions_per_day": 0.5, "views_per_session": 5, "cart_rate": 1, "purchase_rate": 0.8, "n_habits": 0},
}
"""Who buys by habit twice a week, and little else; who buys daily, most of it by taste; who fills a grocer's baskets
from many habits; who has no habit at all."""
EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, eq=False)
class Shop:
    """A shop's days, and what was released of it."""

    parts: DayParts
    n_users: int
    index: ItemIndex
    weights: RankerWeights
    release: int
    """Day up to which the release has seen."""
    state: Callable[[int], UserItemState]
    """Everybody's own items as of the midnight that begins a day."""


def some(parts: DayParts, rows: Any) -> DayParts:
    """Some rows of the days."""
    return DayParts(**{name: column[rows] for name, column in vars(parts).items()})


def days(parts: DayParts, first: int, stop: int) -> DayParts:
    """Days first .. stop - 1."""
    return some(parts, slice(*np.searchsorted(parts.day, [first, stop])))


def made_up_parts(shop: MadeUp) -> DayParts:
    """The daily sums of a made-up shop; day 0 is its first."""
    left = f"({DAY_S} - e.second % {DAY_S}) / {DAY_S}e0"
    decayed = ", ".join(f"sum(w.weight * pow(2e0, -{left} / {half}e0)) as decayed_{half}d" for half in HALF_LIVES_DAYS)
    found = shop.db.execute(
        f"""
        select e.second // {DAY_S} as day, e.user_index, e.item_index, {decayed}, min(e.second) / {DAY_S}e0 as first_at,
            max(e.second) / {DAY_S}e0 as last_at, bool_or(kind = {EVENT_TYPES.index("purchase")}) as is_taken
        from events e join weights w using (kind) group by all order by day, user_index, item_index
        """
    ).fetchnumpy()
    return DayParts(**{name: np.asarray(column) for name, column in found.items()})


def made_up(seed: int, drift_share: float, users: int, weeks: int, **planted: Any) -> Shop:
    """A made-up shop that releases, without noise, at the instant of the drift."""
    n_days = BEFORE + WEEK * weeks
    drift = {"drift_share": drift_share, "drift_at": (BEFORE + 0.5) / n_days}
    plan = Plan(n_users=users, n_items=300, n_days=n_days, seed=seed, shape="utc_csv", **drift, **planted)
    shop = MadeUp(plan)
    catalogue, budget = shop.catalogue(), default_plan(4, 1 / (100 * 2_500), 2_500)
    counted, gram, weights = learning.everything(shop.as_of(BEFORE), catalogue, budget, non_private=True)  # type: ignore[arg-type]

    def state(day: int) -> UserItemState:
        return arrays.as_state(shop.as_of(day).state("test"))

    return Shop(made_up_parts(shop), users, index_items(catalogue, counted, gram, CANDIDATES), weights, BEFORE, state)


def real(release: date, weeks: int, users: int) -> Shop:
    """A shop on disk whose releases are drawn anew as of a day; only its first users are followed."""
    workspace = public_benchmark(release)
    shop = workspace.shop
    assert shop.declared_users is not None, "a benchmark declares its users"
    budget = default_plan(shop.privacy.epsilon, shop.delta(shop.declared_users), shop.declared_users)
    with workspace.engine.session() as session:
        history = History(workspace, session, periods(workspace))
        catalogue = arrays.catalogue(workspace, session)
        counted, gram, weights = learning.everything(history, catalogue, budget, non_private=False)
        parts = day_parts(history, date.min, release + timedelta(days=WEEK * weeks))
    n_users = min(users, len(history.user_ids))
    parts = some(parts, parts.user_index < n_users)
    index, number = index_items(catalogue, counted, gram, CANDIDATES), (release - EPOCH).days
    return Shop(parts, n_users, index, weights, number, lambda day: merged(days(parts, 0, day), day))


def merged(parts: DayParts, midnight: int) -> UserItemState:
    """Everybody's own items as of the midnight after some days."""
    pairs, group = np.unique(parts.user_index.astype(np.int64) << 32 | parts.item_index, return_inverse=True)
    age, n = midnight - 1 - parts.day, len(pairs)
    last, first = np.full(n, -np.inf), np.full(n, np.inf)
    np.maximum.at(last, group, parts.last_at)
    np.minimum.at(first, group, parts.first_at)
    sums = {
        f"decayed_{half}d": np.bincount(group, getattr(parts, f"decayed_{half}d") * 2.0 ** (-age / half), n)
        for half in HALF_LIVES_DAYS
    }
    times = {"n_days": np.bincount(group, minlength=n), "last_days": midnight - last, "first_days": midnight - first}
    return arrays.as_state({"user_index": pairs >> 32, "item_index": pairs & 0xFFFFFFFF, **times, **sums})


def first_baskets(week: DayParts) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Users and items of each user's first day on which anything was taken."""
    taken = some(week, week.is_taken)
    first = np.full(int(taken.user_index.max(initial=0)) + 1, np.iinfo(np.int32).max)
    np.minimum.at(first, taken.user_index, taken.day)
    is_first = taken.day == first[taken.user_index]
    return taken.user_index[is_first], taken.item_index[is_first]


def curve(shop: Shop, weeks: int, config: OnlineConfig) -> Iterator[tuple[float, float]]:
    """Mean NDCG@20 of the frozen release and of the release with corrections, week by week."""
    start = max(shop.release - config.warm_days, int(shop.parts.day[0]))
    before, done, learnt = shop.state(start), start, Learnt.nothing(shop.n_users)
    for week in range(weeks):
        now = shop.release + WEEK * week
        replayed = days(shop.parts, start, now)
        learnt, done = learn(replayed, before, start, shop.index, shop.weights, learnt, done, config), now
        state, wanted = shop.state(now), first_baskets(days(shop.parts, now, now + WEEK))

        def ndcg(corrections: Any, state: UserItemState = state, wanted: Any = wanted) -> float:
            options: dict[str, Any] = {"n_users": shop.n_users, "tasks": ["next_purchases"], "config": CANDIDATES}
            lists = recommend(state, shop.index, shop.weights, k=K, corrections=corrections, **options)
            return float(per_user_metrics(lists["next_purchases"].item_index, *wanted).ndcg.mean())

        yield ndcg(None), ndcg(learnt.spread(config))


def table(title: str, curves: Sequence[Sequence[tuple[float, float]]]) -> None:
    """Print the mean of some curves as a table in markdown, and the mean difference of each."""
    mean = np.mean(np.array(curves), axis=0)
    print(f"\n{title}\n\n| week | frozen release | with online learning | difference |\n|---|---|---|---|")
    for week, (frozen, online) in enumerate(mean):
        print(f"| {week} | {frozen:.4f} | {online:.4f} | {online - frozen:+.4f} |")
    frozen, online = mean.mean(axis=0)
    print(f"| **all** | **{frozen:.4f}** | **{online:.4f}** | **{online - frozen:+.4f}** |\n")
    each = [float(np.mean([online - frozen for frozen, online in one])) for one in curves]
    print("Mean difference of each draw: " + ", ".join(f"{difference:+.4f}" for difference in each), flush=True)


def main() -> None:
    """Parse the command line and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("made-up", "shop"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--shops", nargs="+", choices=SHOPS, default=list(SHOPS))
    parser.add_argument("--drift", type=float, nargs="+", default=[0.0, 1.0])
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--weeks", type=int, default=12)
    parser.add_argument("--release", type=date.fromisoformat, default=date(2017, 8, 9), help="of `shop`")
    parser.add_argument("--draws", type=int, default=1, help="of the releases of `shop`")
    parser.add_argument("--config", type=OnlineConfig.model_validate_json, default=OnlineConfig(), help="JSON")
    args = parser.parse_args()
    if args.what == "shop":
        shops = (real(args.release, args.weeks, args.users) for _ in range(args.draws))
        table(f"Releases as of {args.release}", [list(curve(shop, args.weeks, args.config)) for shop in shops])
        return
    for name in args.shops:
        for share in args.drift:
            shops = (made_up(seed, share, args.users, args.weeks, **SHOPS[name]) for seed in args.seeds)
            curves = [list(curve(shop, args.weeks, args.config)) for shop in shops]
            table(f"{name}: the tastes of {share:.0%} of the persons change", curves)


if __name__ == "__main__":
    main()
