"""Measure the recommender on Complete Journey from its parquet files: one ledger for both tasks, whole catalogue.

    python benchmarks/ranking_prototype.py DATA_FOLDER EMBEDDINGS.npz --split 2017-11-01 --draws 3

DATA_FOLDER holds products.parquet and transactions.parquet. EMBEDDINGS.npz holds `E` (n_texts, size), unit rows, and
`inv` (n_items,) in the order of product_id; without it (`-`) the text feature is off. `--split 2017-10-04` is the
validation period, on which every constant of the product was chosen.
"""

import argparse
import json
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from ml.evaluation import (
    per_user_metrics,
    personal_frequency_baseline,
    popularity_baseline,
    summarise,
)
from ml.privacy.accounting import PrivacyPlan, Slot
from ml.privacy.events import DiscreteGaussianEvent, GaussianEvent
from ml.privacy.gram import release_gram
from ml.privacy.mechanisms import release_popularity
from ml.privacy.training import TrainingConfig, train_listwise
from ml.ranking.ease import head_of, head_rows
from ml.ranking.features import index_items
from ml.ranking.inputs import CandidateConfig, Catalogue, ReleasedGram, ReleasedPopularity, UserItemState, codes_of
from ml.ranking.ranker import PRIOR, TASKS, RankerWeights, recommend, training_bags

DECLARED_USERS = 2_469
WINDOW_DAYS = 28
EPOCH = date(2017, 1, 1)


class Shop:
    """Events and catalogue as arrays."""

    def __init__(self, folder: Path, embeddings: str) -> None:
        """Read the parquet files."""
        con = duckdb.connect()
        number = "row_number() over (order by product_id) - 1 as i"
        con.sql(f"create view p as select *, {number} from '{folder}/products.parquet'")
        rows = con.sql(
            f"""select household_id - 1 as u, i, date_diff('day', date '{EPOCH}', transaction_timestamp::date) as d,
            sum(least(quantity, 5)) as w,
            date_diff('second', timestamp '{EPOCH}', max(transaction_timestamp)) / 86400 as t,
            date_diff('second', timestamp '{EPOCH}', min(transaction_timestamp)) / 86400 as f
            from '{folder}/transactions.parquet' join p using (product_id)
            where quantity > 0 group by all order by u, i, d"""
        ).fetchnumpy()
        self.user, self.item, self.day = (np.asarray(rows[c]).astype(np.int32) for c in "uid")
        self.weight, self.latest, self.earliest = (np.asarray(rows[c]).astype(np.float64) for c in "wtf")
        columns = ("department", "product_category", "product_type", "manufacturer_id")
        items = con.sql(f"select {', '.join(columns)} from p order by i").df()
        level = [items[c].astype("category").cat.codes.to_numpy().astype(np.int64) for c in columns]
        codes = [codes_of(level[0]), codes_of(*level[:2]), codes_of(*level[:3]), codes_of(level[3])]
        n_items = len(items)
        if embeddings == "-":
            text, index = np.zeros((1, 1), np.float32), np.full(n_items, -1, np.int32)
        else:
            z = np.load(embeddings)
            text, index = z["E"].astype(np.float32), z["inv"].astype(np.int32)
        self.catalogue = Catalogue(codes=np.stack(codes), text_embeddings=text, text_index=index)
        self.n_users, self.n_items = int(self.user.max()) + 1, n_items

    def state(self, as_of: date) -> UserItemState:
        """The item facet of the profile state at a midnight."""
        at = (as_of - EPOCH).days
        m = self.day < at
        key, inv = np.unique(self.user[m].astype(np.int64) * self.n_items + self.item[m], return_inverse=True)
        age = at - 1.0 - self.day[m]

        def total(x: Any) -> Any:
            return np.bincount(inv, x, minlength=len(key)).astype(np.float32)

        last, first = np.full(len(key), np.inf), np.zeros(len(key))
        np.minimum.at(last, inv, at - self.latest[m])
        np.maximum.at(first, inv, at - self.earliest[m])
        w = self.weight[m]
        return UserItemState(
            (key // self.n_items).astype(np.int32), (key % self.n_items).astype(np.int32), total(np.ones(len(w))),
            total(w * 2 ** (-age / 28)), total(w * 2 ** (-age / 104)),
            last.astype(np.float32), first.astype(np.float32),
        )  # fmt: skip

    def pairs(self, start: date, stop: date) -> tuple[Any, Any]:
        """Distinct (user, item) of the days in [start, stop)."""
        m = (self.day >= (start - EPOCH).days) & (self.day < (stop - EPOCH).days)
        key = np.unique(self.user[m].astype(np.int64) * self.n_items + self.item[m])
        return (key // self.n_items).astype(np.int32), (key % self.n_items).astype(np.int32)


def plan(args: argparse.Namespace) -> PrivacyPlan:
    """One plan for both tasks."""
    return PrivacyPlan(
        epsilon=args.epsilon, delta=4e-6, declared_users=DECLARED_USERS,
        slots=(
            Slot(name="popularity", mechanism="discrete_gaussian", share=args.popularity, bound=args.clip),
            *([Slot(name="gram", mechanism="gram_gaussian", share=args.gram, bound=1.0)] if args.gram else []),
            Slot(
                name="ranker",
                mechanism="gaussian",
                share=1 - args.popularity - args.gram,
                bound=args.grad_clip,
                steps=args.steps,
            ),
        ),
    )  # fmt: skip


def fit(
    shop: Shop, split: date, args: argparse.Namespace, non_private: bool
) -> tuple[Any, RankerWeights, dict[str, float]]:
    """Releases and weights; returns what is served."""
    before = split - timedelta(days=28)
    events = plan(args).events()
    clock = time.perf_counter()
    windows = [(before - timedelta(days=WINDOW_DAYS), before), (split - timedelta(days=WINDOW_DAYS), split)]
    parts = [shop.pairs(*w) for w in windows]
    user, item = (np.concatenate([p[x] for p in parts]) for x in (0, 1))
    popularity_event, ranker_event = events["popularity"], events["ranker"]
    assert isinstance(popularity_event, DiscreteGaussianEvent) and isinstance(ranker_event, GaussianEvent)
    popularity = release_popularity(
        user, item, n_items=shop.n_items, planned=popularity_event, n_windows=2, cell_cap=1.0, non_private=non_private,
        window_index=np.repeat([0, 1], [len(p[0]) for p in parts]),
    )  # fmt: skip
    std = 0.0 if non_private else popularity_event.noise_std
    old, new = (ReleasedPopularity(values, std) for values in popularity.values)
    state = shop.state(before)
    gram = gram_of(shop, state, old, events.get("gram"), args, non_private)
    seconds = {"popularity": time.perf_counter() - clock}
    clock = time.perf_counter()
    candidates = CandidateConfig()
    index = index_items(shop.catalogue, old, gram, candidates)
    bags = training_bags(state, index, *shop.pairs(before, split), n_users=shop.n_users, config=candidates)
    seconds["bags"] = time.perf_counter() - clock
    clock = time.perf_counter()
    trained = train_listwise(
        bags, PRIOR.to_array(),
        TrainingConfig(
            steps=args.steps, learning_rate=args.lr, max_grad_norm=args.grad_clip, declared_users=DECLARED_USERS
        ),
        noise_multiplier=0.0 if non_private else ranker_event.noise_multiplier, non_private=non_private,
    )  # fmt: skip
    seconds["train"] = time.perf_counter() - clock
    return (new, gram), RankerWeights.from_array(trained.weights), seconds


def gram_of(
    shop: Shop, state: UserItemState, old: ReleasedPopularity, planned: Any, args: Any, non_private: bool
) -> Any:
    """The Gram release of the head."""
    if planned is None:
        return ReleasedGram.none()
    head, direction = head_of(old, args.head)
    rows = head_rows(state.user_index, state.item_index, head, n_users=shop.n_users, n_items=shop.n_items)
    found = release_gram(rows, planned=planned, mean_direction=direction, non_private=non_private)
    return ReleasedGram(head, direction, found.values, found.noise_std)


def serve(shop: Shop, split: date, released: Any, weights: RankerWeights) -> dict[str, Any]:
    """Metrics of both tasks."""
    state, config = shop.state(split), CandidateConfig()
    future_user, future_item = shop.pairs(split, split + timedelta(days=28))
    index = index_items(shop.catalogue, *released, config)
    out: dict[str, Any] = {}
    for task in TASKS:
        clock = time.perf_counter()
        lists = recommend(state, index, weights, tasks=[task], n_users=shop.n_users, config=config)[task].item_index
        seconds = time.perf_counter() - clock
        out[task] = scored(shop, state, lists, task, future_user, future_item) | {"seconds": round(seconds, 2)}
    return out


def scored(shop: Shop, state: UserItemState, lists: Any, task: str, user: Any, item: Any) -> dict[str, Any]:
    """Summary over the whole catalogue, and NDCG with relevance restricted to items of at least 10 households."""
    if task == "discovery":
        owned = state.user_index.astype(np.int64) * shop.n_items + state.item_index
        fresh = ~np.isin(user.astype(np.int64) * shop.n_items + item, owned)
        user, item = user[fresh], item[fresh]
    result = summarise(per_user_metrics(lists, user, item), lists, shop.n_items).model_dump()
    common = np.bincount(state.item_index, minlength=shop.n_items) >= 10
    restricted = per_user_metrics(lists, user[common[item]], item[common[item]])
    result["ndcg_10_households"] = float(restricted.ndcg.mean())
    result["coverage_10_households"] = float(np.isin(np.flatnonzero(common), lists).mean())
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in result.items()}


def baselines(shop: Shop, split: date) -> dict[str, Any]:
    """Exact popularity over 56 days and raw personal frequency (days with a purchase)."""
    state = shop.state(split)
    user, item = shop.pairs(split, split + timedelta(days=28))
    counts = np.bincount(shop.pairs(split - timedelta(days=56), split)[1], minlength=shop.n_items).astype(float)
    seen = (state.user_index, state.item_index)
    n = shop.n_users
    own = personal_frequency_baseline(*seen, state.n_days.astype(float), n)
    everyone, fresh = popularity_baseline(counts, None, n), popularity_baseline(counts, seen, n)
    return {
        "popularity next_purchases": scored(shop, state, everyone, "next_purchases", user, item),
        "popularity discovery": scored(shop, state, fresh, "discovery", user, item),
        "personal frequency next_purchases": scored(shop, state, own, "next_purchases", user, item),
    }


def main() -> None:
    """Parse the command line, measure, print JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("embeddings")
    parser.add_argument("--split", type=date.fromisoformat, default=date(2017, 11, 1))
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--epsilon", type=float, default=4.0)
    parser.add_argument("--popularity", type=float, default=0.8, help="share of mu^2; the ranker has the rest")
    parser.add_argument("--gram", type=float, default=0.4, help="share of mu^2")
    parser.add_argument("--head", type=int, default=300)
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--grad-clip", type=float, default=0.5)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2.0)
    args = parser.parse_args()
    shop = Shop(args.data, args.embeddings)
    for name, result in baselines(shop, args.split).items():
        print(json.dumps({name: result}), flush=True)
    for draw in range(args.draws + 1):
        released, weights, seconds = fit(shop, args.split, args, non_private=draw == 0)
        name = "non-private twin" if draw == 0 else f"epsilon {args.epsilon:g}, draw {draw}"
        print(json.dumps({name: serve(shop, args.split, released, weights), "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
