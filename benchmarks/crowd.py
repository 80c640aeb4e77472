"""What a crowd can do: planted users push one product; where it stands before and after, beside the guarantee's bound.

    PORTRAIT_VAR=var python benchmarks/crowd.py --users 100 --draws 2

Reads the tables that `portrait run` made of a shop that is declared a public benchmark, and writes nothing: the crowd
exists in the arrays that releases are learnt from. `alone`: each buys the product every day; `with_head`: each buys it
and the twenty most bought products every day. One JSON line a strategy and model: the product's place in released
popularity; the share of everybody else whose discovery list of twenty, ranked by score alone, holds it, and its median
place in lists of two hundred (201: in none); and what the crowd added to its released weight, noise aside, beside the
bound.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from cost_of_privacy import public_benchmark

from assets import arrays, learning
from data.contracts.facets import HALF_LIVES_DAYS
from data.engine import Session
from data.history import History, Phase, periods
from data.workspace import Workspace
from ml.privacy.plan import default_plan, has_ranker
from ml.ranking.index import index_items
from ml.ranking.inputs import CandidateConfig
from ml.ranking.ranker import recommend

N_TOGETHER, K, DEPTH = 20, 20, 200


class Crowd(History):
    """A shop's history, and planted users who take the same products on every day."""

    def __init__(self, workspace: Workspace, session: Session, n_planted: int, items: Sequence[int]) -> None:
        """Number the planted users after everybody else.

        Args:
            workspace: the shop; with times.
            session: a session.
            n_planted: how many there are.
            items: catalogue positions of what each of them takes.
        """
        super().__init__(workspace, session, periods(workspace))
        assert self.is_timed, "a crowd that buys daily needs days"
        self.n_real, self.items = len(self.user_ids), np.sort(np.asarray(items, dtype=np.int64))
        names = pa.array([f"crowd {number:06d}" for number in range(n_planted)], pa.string())
        planted = pa.table({"user_id": names, "u": pa.array(range(self.n_real, self.n_real + n_planted), pa.int64())})
        everybody = session.query("select user_id, u from user_numbers order by u")
        session.register("user_numbers", pa.concat_tables([everybody, planted.cast(everybody.schema)]))
        self.names = names.cast(self.user_ids.type)
        self.user_ids = pa.chunked_array([*self.user_ids.chunks, self.names])

    def state(self, phase: Phase) -> dict[str, npt.NDArray[np.float64]]:
        """Everybody's state, and that of somebody who takes one of each product at noon of every day."""
        found = super().state(phase)
        calendar, n = self.workspace.shop.calendar, len(self.names) * len(self.items)
        assert calendar is not None and phase != "serve"
        age = np.arange((getattr(self.spans, phase).date() - calendar.start).days) + 0.5
        habit = {"n_days": len(age), "last_days": age[0], "first_days": age[-1]}
        habit |= {f"decayed_{half}d": np.exp2(-age / half).sum() for half in HALF_LIVES_DAYS}
        planted = {name: np.full(n, value) for name, value in habit.items()}
        planted["user_index"] = np.repeat(np.arange(self.n_real, self.n_real + len(self.names)), len(self.items))
        planted["item_index"] = np.tile(self.items, len(self.names))
        return {name: np.concatenate([column, planted[name].astype(column.dtype)]) for name, column in found.items()}

    def taken_between(self, start: date, stop: date) -> pa.Table:
        """What everybody took, and the crowd."""
        found = super().taken_between(start, stop)
        who = np.repeat(np.arange(len(self.names)), len(self.items))
        what = self.item_ids.take(pa.array(np.tile(self.items, len(self.names))))
        pushed = pa.table({"user_id": self.names.take(pa.array(who)), "item_id": what})
        return pa.concat_tables([found, pushed.cast(found.schema)])


def strategies(workspace: Workspace, session: Session) -> dict[str, list[int]]:
    """What each of the crowd takes; the product itself first: the one in the middle by buyers of the last window."""
    history = History(workspace, session, periods(workspace))
    _, item = history.numbered(history.popular()[-1])
    order = np.argsort(-np.bincount(item, minlength=len(history.item_ids)), kind="stable")
    target = int(order[len(order) // 2])
    return {"none": [], "alone": [target], "with_head": [target, *order[:N_TOGETHER].tolist()]}


def place(counts: npt.NDArray[np.float64], target: int) -> int:
    """1 + how many products stand before it."""
    return 1 + int((counts > counts[target]).sum())


def measure(workspace: Workspace, n_planted: int, epsilon: float, draws: int) -> Iterator[dict[str, Any]]:
    """The figures of every strategy and model."""
    shop, config = workspace.shop, CandidateConfig()
    assert shop.declared_users is not None, "a benchmark declares its users"
    plan = default_plan(epsilon, shop.delta(shop.declared_users), shop.declared_users)
    event: Any = plan.events()["popularity"]
    with workspace.engine.session() as session:
        taken = strategies(workspace, session)
        target = taken["alone"][0]
        catalogue = arrays.catalogue(workspace, session)
        real = History(workspace, session, periods(workspace))
        state, n_real = arrays.user_item_state(real, "test"), len(real.user_ids)
        before = None
        for strategy, items in taken.items():
            history = Crowd(workspace, session, n_planted if items else 0, items)
            n_windows = 2 if has_ranker(plan) else 1
            weight = learning.popularity(history, event, n_windows=n_windows, non_private=True).values[:, target]
            before = weight if before is None else before
            for model in ("twin", *["private"] * draws):
                releases = learning.everything(history, catalogue, plan, non_private=model == "twin")
                index = index_items(catalogue, *releases[:2], config)
                lists = recommend(
                    state, index, releases[2], n_users=n_real, tasks=["discovery"], k=DEPTH, n_tail=0, config=config
                )["discovery"].item_index
                found = lists == target
                where = np.where(found.any(axis=1), 1 + found.argmax(axis=1), DEPTH + 1)
                yield {
                    "strategy": strategy,
                    "model": model,
                    "place_in_popularity": place(releases[0].counts, target),
                    "n_items": catalogue.n_items,
                    "share_of_others_with_it": round(float((where <= K).mean()), 4),
                    "median_place": float(np.median(where)),
                    "added_to_its_weight": round(float((weight - before).max()), 4),
                    "bound": n_planted * event.bound,
                    "noise_std": round(event.noise_std, 2),
                }


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100, help="how many are planted")
    parser.add_argument("--epsilon", type=float, default=4.0)
    parser.add_argument("--draws", type=int, default=2)
    args = parser.parse_args()
    workspace = public_benchmark()
    for figures in measure(workspace, args.users, args.epsilon, args.draws):
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
