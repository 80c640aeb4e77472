"""Portrait beside recommenders without privacy, on the same days, products and users.

    PORTRAIT_VAR=var python benchmarks/peers.py --draws 5
    PORTRAIT_VAR=var python benchmarks/peers.py --test-start 2017-10-04 --tune

Reads the tables that `portrait run` made of the default shop, and writes nothing. Days, relevance and figures are those
of `cost_of_privacy.py`. The peers know everything exactly, and list either the whole catalogue or only products that at
least ten users had before (`items`). First one JSON line a peer, task and item set; then, per model of Portrait, the
paired difference of next purchases to TIFU-KNN: per-user NDCG@20, averaged over the draws, minus TIFU-KNN's on the same
users, with a 95 percent bootstrap interval over users, for the item sets of `SETTINGS`. `--draws 0` leaves it out.
`--tune` goes through the parameters of every peer instead: one at a time, twice, keeping what is best.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import peer_models
from cost_of_privacy import public_benchmark, scored
from peer_models import Purchases, Scores, listed
from scipy import sparse

from assets import arrays, learning
from data.contracts.core import EVENTS
from data.features import days_between
from data.history import History, periods
from data.workspace import Workspace
from ml.evaluation import paired_bootstrap, per_user_metrics
from ml.privacy.plan import default_plan
from ml.ranking.index import index_items
from ml.ranking.inputs import CandidateConfig
from ml.ranking.ranker import TASKS, recommend

MIN_USERS: Final = 10
ITEM_SETS: Final = ("all", "common")
REACH: Final = 1_000
"""Portrait's lists are so long before the evaluator strikes out what is not common."""
SETTINGS: Final = (
    ("all", "all", "all"),
    ("common", "common", "common"),
    ("common", "all", "all"),
    ("common", "all", "common"),
)
"""Relevant products, products in Portrait's lists, and in TIFU-KNN's. The last is not alike: only the peer is told,
exactly, which products count; Portrait spends places on others that its users do buy."""

PEERS: Final[dict[str, Callable[..., Scores]]] = {
    "popularity": peer_models.popularity,
    "frequency": lambda known: peer_models.frequency(known, np.inf),
    "frequency, decayed": peer_models.frequency,
    "TIFU-KNN": peer_models.tifu_knn,
    "UP-CF": peer_models.up_cf,
    "EASE": peer_models.ease,
    "EASE, decayed": peer_models.ease,
    "ItemKNN": peer_models.item_knn,
    "ALS": peer_models.als,
}

_RIDGE: Final = {"ridge": [100, 1, 3, 10, 30, 300, 1000, 3000]}
_TAU: Final = {"tau_days": [150, 50, 75, 100, 200, 300]}
GRID: Final[dict[str, dict[str, list[Any]]]] = {
    "frequency, decayed": _TAU,
    "TIFU-KNN": {
        "n_groups": [7, 3, 5, 10, 15, 20, 30],
        "r_b": [0.9, 0.6, 0.8, 0.95, 1.0],
        "r_g": [0.7, 0.6, 0.8, 0.85, 0.9, 0.95, 1.0],
        "k": [300, 10, 30, 50, 100, 500, 900],
        "alpha": [0.7, 0.3, 0.5, 0.6, 0.8, 0.9, 0.95],
    },
    "UP-CF": {
        "recency": [25, 5, 10, 50, 100, 1000],
        "alpha": [0.5, 0.0, 0.25, 0.75, 1.0],
        "q": [10, 1, 2, 5, 15, 20, 30, 50, 100],
    },
    "EASE": _RIDGE,
    "EASE, decayed": {**_RIDGE, **_TAU},
    "ItemKNN": {"k": [200, 20, 50, 100, 500], "shrink": [0, 10, 100]},
    "ALS": {
        "weighting": ["binary", "decayed", "bm25"],
        "factors": [64, 32, 128],
        "regularization": [1.0, 0.01, 0.1, 10.0, 30.0],
    },
}
"""What `--tune` tries, beginning with the first value of each."""

CHOSEN: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "next_purchases": {
        "frequency, decayed": {"tau_days": 200},
        "TIFU-KNN": {"n_groups": 5, "r_b": 1.0, "r_g": 0.7, "k": 300, "alpha": 0.6},
        "UP-CF": {"recency": 50, "alpha": 1.0, "q": 5},
        "EASE": {"ridge": 300},
        "EASE, decayed": {"ridge": 30, "tau_days": 150},
        "ItemKNN": {"k": 500, "shrink": 0},
        "ALS": {"weighting": "decayed", "factors": 128, "regularization": 10.0},
    },
    "discovery": {
        "TIFU-KNN": {"n_groups": 5, "r_b": 0.9, "r_g": 0.7, "k": 300, "alpha": 0.7},
        "UP-CF": {"recency": 5, "alpha": 0.75, "q": 5},
        "EASE": {"ridge": 1000},
        "EASE, decayed": {"ridge": 3000, "tau_days": 75},
        "ItemKNN": {"k": 100, "shrink": 0},
        "ALS": {"weighting": "decayed", "factors": 128, "regularization": 30.0},
    },
}
"""What `--tune` chose on the validation period (--test-start 2017-10-04), over common items; for next purchases of
TIFU-KNN over the whole catalogue, where 300 neighbours beat 900 by .0002. Frozen before the test period was run."""


class Judge:
    """What was bought before and after an instant, and how good lists are."""

    def __init__(self, workspace: Workspace, session: Any) -> None:
        """Read it."""
        self.workspace = workspace
        self.history = History(workspace, session, periods(workspace))
        self.catalogue = arrays.catalogue(workspace, session)
        self.state = arrays.user_item_state(self.history, "test")
        self.relevant = self.history.numbered(self.history.labels("test"))
        self.n_users, self.n_items = len(self.history.user_ids), self.catalogue.n_items
        self.is_common = np.bincount(self.state.item_index, minlength=self.n_items) >= MIN_USERS
        self.items = {"all": np.arange(self.n_items), "common": np.flatnonzero(self.is_common)}
        whole = self._purchases()
        self.known = {name: whole.of(items) for name, items in self.items.items()}

    def _purchases(self) -> Purchases:
        """Exact rows of the days before the instant."""
        history, state, shape = self.history, self.state, (self.n_users, self.n_items)
        session, lake = history.session, self.workspace.lake
        session.attach(EVENTS, lake, days=days_between(self.workspace, None, history.spans.test))
        found = session.query(
            f"select u.u, dense_rank() over (order by u.u, b.at, e.session_id) - 1 as basket, "
            f"date_diff('second', b.at, timestamp '{history.spans.test}') / 86400e0 as age, i.i from {EVENTS.key} e "
            f"join (select user_id, session_id, min(occurred_at_utc) as at from {EVENTS.key} group by all) b "
            "on b.user_id = e.user_id and b.session_id = e.session_id "
            "join user_numbers u on u.user_id = e.user_id join item_numbers i on i.item_id = e.item_id "
            "where e.event_type = 'purchase' and e.quantity > 0e0 order by basket, i.i"
        )
        user, basket, item, age = (found.column(name).to_numpy() for name in ("u", "basket", "i", "age"))
        first = np.unique(basket, return_index=True)[1]
        pairs = np.unique(np.stack([basket, item]), axis=1)
        baskets = sparse.csr_array((np.ones(pairs.shape[1]), pairs), shape=(len(first), self.n_items))
        cells = (state.user_index, state.item_index)
        n_days = sparse.csr_array((state.n_days.astype(np.float64), cells), shape=shape)
        counts = [np.bincount(history.numbered(pairs)[1], minlength=self.n_items) for pairs in history.popular()]
        return Purchases(baskets, user[first], age[first], n_days, np.sum(counts, axis=0).astype(np.float64))

    def peer(self, name: str, task: str, items: str, parameters: dict[str, Any]) -> npt.NDArray[np.int32]:
        """The lists of a peer, in catalogue positions."""
        known = self.known[items]
        lists = listed(PEERS[name](known, **parameters), known, fresh_only=task == "discovery")
        return self.items[items][lists].astype(np.int32)

    def figures(self, lists: npt.NDArray[np.int32], task: str) -> dict[str, float | None]:
        """Figures of some lists."""
        return scored(lists, task, self.state, self.relevant, self.n_items)

    def ndcg(self, lists: npt.NDArray[np.int32], only: str) -> npt.NDArray[np.float64]:
        """Per user with something relevant: NDCG@20 of next purchases."""
        user, item = self.relevant
        kept = self.is_common[item] | (only == "all")
        return per_user_metrics(lists, user[kept], item[kept]).ndcg

    def portrait(self, epsilon: float, non_private: bool) -> dict[str, npt.NDArray[np.int32]]:
        """Portrait's lists of next purchases, by item set, under one draw of the releases of the default plan."""
        shop, config = self.workspace.shop, CandidateConfig()
        assert shop.declared_users is not None, "a benchmark declares its users"
        plan = default_plan(epsilon, shop.delta(shop.declared_users), shop.declared_users)
        released, gram, weights = learning.everything(self.history, self.catalogue, plan, non_private=non_private)
        index = index_items(self.catalogue, released, gram, config)
        task = "next_purchases"
        found = recommend(self.state, index, weights, n_users=self.n_users, tasks=[task], k=REACH, config=config)
        lists = found[task].item_index
        out = (lists < 0) | ~self.is_common[lists]
        first = np.argsort(out, axis=1, kind="stable")[:, :20]
        common = np.take_along_axis(np.where(out, -1, lists), first, axis=1)
        return {"all": lists[:, :20], "common": common}


def available() -> list[str]:
    """The peers whose package is installed; says which are left out."""
    try:
        import implicit  # noqa: F401
    except ImportError:
        tell(left_out="ALS", reason="the optional package implicit is not installed")
        return [name for name in PEERS if name != "ALS"]
    return list(PEERS)


def tell(**line: Any) -> None:
    """One JSON line."""
    print(json.dumps(line), flush=True)


def tune(judge: Judge, names: list[str], tasks: list[str], items: str) -> None:
    """Coordinate by coordinate, twice, from the first value of each; print every point."""
    for name, task in ((name, task) for name in names if name in GRID for task in tasks):
        seen: dict[str, float] = {}

        def ndcg(parameters: dict[str, Any], name: str = name, task: str = task, seen: Any = seen) -> float:
            key = json.dumps(parameters)
            if key not in seen:
                seen[key] = judge.figures(judge.peer(name, task, items, parameters), task)["ndcg"]
                tell(peer=name, task=task, items=items, parameters=parameters, ndcg=seen[key])
            return float(seen[key])

        best = {parameter: values[0] for parameter, values in GRID[name].items()}
        for _ in range(2):
            for parameter, values in GRID[name].items():
                best = max(({**best, parameter: value} for value in values), key=ndcg)
        tell(peer=name, task=task, items=items, chosen=best, ndcg=ndcg(best))


def peers(judge: Judge, names: list[str], tasks: list[str]) -> Iterator[tuple[str, npt.NDArray[np.int32]]]:
    """Print the figures of every peer; give TIFU-KNN's lists of next purchases, by item set."""
    for name in names:
        for task in tasks:
            if name.startswith("frequency") and task == "discovery":
                continue
            for items in ITEM_SETS if name != "ItemKNN" else ["common"]:  # 92,331 squared cosines are too many
                lists = judge.peer(name, task, items, CHOSEN[task].get(name, {}))
                tell(peer=name, task=task, items=items, **judge.figures(lists, task))
                if (name, task) == ("TIFU-KNN", "next_purchases"):
                    yield items, lists


def compare(judge: Judge, tifu: dict[str, npt.NDArray[np.int32]], epsilons: list[float], draws: int) -> None:
    """Print the paired differences of Portrait to TIFU-KNN."""
    for non_private, epsilon in [(True, max(epsilons)), *((False, epsilon) for epsilon in epsilons)]:
        drawn = [judge.portrait(epsilon, non_private) for _ in range(1 if non_private else draws)]
        for relevant, items, tifu_items in SETTINGS:
            theirs = judge.ndcg(tifu[tifu_items], relevant)
            each = np.stack([judge.ndcg(found[items], relevant) for found in drawn])
            difference = paired_bootstrap(each.mean(axis=0), theirs, seed=0)
            tell(
                portrait="no noise" if non_private else f"epsilon {epsilon:g}",
                relevant=relevant,
                items=items,
                tifu_items=tifu_items,
                n_users=each.shape[1],
                draws=[round(float(value), 4) for value in each.mean(axis=1)],
                tifu_knn=round(float(theirs.mean()), 4),
                **{name: round(value, 4) for name, value in difference.model_dump().items()},
            )


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epsilon", type=float, nargs="+", default=[1.0, 4.0])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), help="only these")
    parser.add_argument("--items", choices=ITEM_SETS, default="common", help="item set that --tune searches over")
    parser.add_argument("--tune", action="store_true", help="search the parameters of the peers; choose no other days")
    parser.add_argument("--test-start", type=date.fromisoformat, help="first test day in place of the shop file's")
    args = parser.parse_args()
    if args.tune and not args.test_start:
        parser.error("--tune would choose on the test period: name the validation period, --test-start 2017-10-04")
    workspace = public_benchmark(args.test_start)
    names = [name for name in available() if name in (args.peers or PEERS)]
    with workspace.engine.session() as session:
        judge = Judge(workspace, session)
        if args.tune:
            tune(judge, names, args.tasks, args.items)
            return
        tifu = dict(peers(judge, names, args.tasks))
        if tifu and args.draws:
            compare(judge, tifu, args.epsilon, args.draws)


if __name__ == "__main__":
    main()
