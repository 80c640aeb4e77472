"""What privacy costs by the size of a shop, and what a year of releases buys, on made-up shops in memory.

    python benchmarks/synthetic.py cost --users 1000 10000 --epsilon 0.5 1 2 4 8 --seeds 1 2 3
    python benchmarks/synthetic.py year --users 10000 --epsilon 4

`cost`: one release with the whole budget, both tasks under one ledger, the whole catalogue ranked; beside it the twin
without noise (`no noise`: clipped and bounded as otherwise), exact popularity, and for discovery what goes with what
alone: EASE on everything without privacy (`ease`, the best of six ridges, chosen on the test itself) and from the
released head (`ease epsilon 1`). `year`: thirteen monthly releases under one total, drift planted half way, each month
judged on the 28 days after: the schedule (`monthly`), one release with the whole budget (`once`), and the latest
release without noise (`no noise`). One JSON line a figure; only the first 10,000 users are judged, all are learnt from.
"""

import argparse
import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np
from cost_of_privacy import scored
from made_up import MadeUp, shop_of
from scipy import sparse

from assets import arrays, learning
from data.history import WINDOW_DAYS
from data.synth.events import DAY_S
from data.synth.plan import Plan
from ml.evaluation import personal_frequency_baseline, popularity_baseline
from ml.privacy.accounting import PrivacyPlan, compose
from ml.privacy.plan import YEAR, default_plan, months_after, slots_by_kind
from ml.ranking import ease
from ml.ranking.index import index_items
from ml.ranking.inputs import CandidateConfig, ReleasedGram, UserItemState
from ml.ranking.ranker import TASKS, recommend

JUDGED, K = 10_000, 20
RIDGES = (30.0, 100.0, 300.0, 1000.0, 2000.0, 4000.0)


class Judge:
    """The first users of a shop on one day: what they had, and what they took afterwards."""

    def __init__(self, shop: MadeUp) -> None:
        """Read them."""
        self.shop, self.n_users = shop, min(JUDGED, shop.plan.n_users)
        self.state = arrays.as_state(shop.state("test", self.n_users))
        self.relevant = shop.taken(shop.test_day, shop.test_day + WINDOW_DAYS, self.n_users)
        self.catalogue = shop.catalogue()

    def lists(self, released: Any) -> dict[str, Any]:
        """The served lists under some releases."""
        popularity, gram, weights = released
        config = CandidateConfig()
        index = index_items(self.catalogue, popularity, gram, config)
        found = recommend(self.state, index, weights, n_users=self.n_users, config=config)
        return {task: found[task].item_index for task in TASKS}

    def together(self, head: Any, products: Any) -> dict[str, Any]:
        """Discovery by what goes with what alone."""
        score = np.full((self.n_users, self.catalogue.n_items), -np.inf)
        score[:, head] = products
        score[self.state.user_index, self.state.item_index] = -np.inf
        return {"discovery": np.argsort(-score, axis=1, kind="stable")[:, :K].astype(np.int32)}

    def said(self, lists: dict[str, Any], **about: Any) -> None:
        """Print the figures of some lists."""
        for task, found in lists.items():
            figures = scored(found, task, self.state, self.relevant, self.catalogue.n_items)
            print(json.dumps({**about, "task": task, **figures}), flush=True)


def baselines(judge: Judge) -> Iterator[tuple[str, dict[str, Any]]]:
    """Exact popularity, and what each user took most often."""
    counts = np.zeros(judge.catalogue.n_items)
    for _, item in judge.shop.popular():
        counts += np.bincount(item, minlength=len(counts))
    own, n = (judge.state.user_index, judge.state.item_index), judge.n_users
    frequency = personal_frequency_baseline(*own, judge.state.n_days.astype(float), n, K)
    yield (
        "popularity",
        {
            "next_purchases": popularity_baseline(counts, None, n, K),
            "discovery": popularity_baseline(counts, own, n, K),
        },
    )
    yield "personal frequency", {"next_purchases": frequency}


def full_ease(judge: Judge, state: UserItemState) -> None:
    """The peer without privacy: everybody's binary rows over the whole catalogue."""
    shape = (judge.shop.plan.n_users, judge.catalogue.n_items)
    rows = sparse.csr_array((np.ones(len(state.user_index)), (state.user_index, state.item_index)), shape=shape)
    gram = np.asarray((rows.T @ rows).todense(), dtype=np.float64)
    for ridge in RIDGES:
        inverse = np.linalg.inv(gram + ridge * np.eye(len(gram)))
        weights = -inverse / np.diagonal(inverse)
        np.fill_diagonal(weights, 0.0)
        lists = judge.together(np.arange(len(gram)), rows[: judge.n_users] @ weights)
        judge.said(lists, users=shape[0], model="ease", ridge=ridge)


def head_ease(judge: Judge, gram: ReleasedGram, **about: Any) -> None:
    """What goes with what from a released head."""
    if len(gram.item_index) == 0:
        return
    index = ease.together(gram, judge.catalogue.n_items)
    user, item = judge.state.user_index, judge.state.item_index
    cells = ease.head_rows(user, item, index.head, n_users=judge.n_users, n_items=len(index.column))
    judge.said(judge.together(index.head, ease.products(cells, index)), **about)


def cost(args: argparse.Namespace) -> None:
    """Print the cost of privacy by size."""
    for n_users in args.users:
        for seed in args.seeds:
            shop = shop_of(n_users, seed, args.items)
            judge = Judge(shop)
            about = {"users": n_users, "seed": seed}
            for name, lists in baselines(judge):
                judge.said(lists, **about, model=name)
            if not args.no_ease:
                full_ease(judge, arrays.as_state(shop.state("test")))
            for epsilon in [None, *args.epsilon]:
                budget = default_plan(epsilon or max(args.epsilon), 1 / (100 * n_users), n_users)
                released = learning.everything(shop, judge.catalogue, budget, non_private=epsilon is None)
                model = "no noise" if epsilon is None else f"epsilon {epsilon:g}"
                names = [slot.name for slot in budget.slots]
                judge.said(judge.lists(released), **about, model=model, slots=names, n_head=len(released[1].item_index))
                head_ease(judge, released[1], **about, model=f"ease {model}")


def one_release(plan: PrivacyPlan) -> PrivacyPlan:
    """The first release of a schedule: its slots, with the noise that they have there."""
    first = [slots[0] for slots in slots_by_kind(plan).values()]
    return plan.model_copy(update={"slots": tuple(first)})


def year(args: argparse.Namespace) -> None:
    """Print what a year of releases buys."""
    start, first = date(2024, 1, 1), 120
    for n_users in args.users:
        due = [months_after(date.fromordinal(start.toordinal() + first), n) for n in range(YEAR + 1)]
        days = [day.toordinal() - start.toordinal() for day in due]
        length = days[-1] + WINDOW_DAYS
        plan = Plan(
            n_users=n_users, n_items=args.items, n_days=length, seed=args.seeds[0], shape="utc_csv", start=start,
            sessions_per_day=0.06, n_habits=1, drift_share=args.drift, drift_at=(days[0] + days[-1]) / 2 / length,
        )  # fmt: skip
        shop = MadeUp(plan)
        delta = 1 / (100 * n_users)
        monthly = default_plan(args.epsilon[0], delta, n_users, first_due=due[0], monthly=YEAR)
        alone = default_plan(args.epsilon[0], delta, n_users)
        total = compose(list(monthly.events().values()), delta)
        print(json.dumps({"users": n_users, "slots": len(monthly.slots), **total.model_dump()}), flush=True)
        catalogue, once = shop.catalogue(), None
        for number, day in enumerate(days):
            now = shop.as_of(day)
            once = once or learning.everything(now, catalogue, alone, non_private=False)
            if number not in args.months:
                continue
            judge = Judge(now)
            about = {"users": n_users, "month": number, "drifted": bool(day * DAY_S >= plan.drift_second)}
            judge.said(judge.lists(once), **about, model="once")
            for model, budget in (("monthly", one_release(monthly)), ("no noise", alone)):
                released = learning.everything(now, catalogue, budget, non_private=model == "no noise")
                judge.said(judge.lists(released), **about, model=model)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cost", "year"])
    parser.add_argument("--users", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--items", type=int, default=5_000)
    parser.add_argument("--epsilon", type=float, nargs="+", default=[4.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--months", type=int, nargs="+", default=[0, 6, 9, 12])
    parser.add_argument("--drift", type=float, default=0.6, help="share of the users whose taste changes")
    parser.add_argument("--no-ease", action="store_true", help="leave the peer without privacy out")
    args = parser.parse_args()
    {"cost": cost, "year": year}[args.what](args)


if __name__ == "__main__":
    main()
