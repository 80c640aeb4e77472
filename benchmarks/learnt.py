"""Where more than linear heads begins to pay, on made-up shops in memory: an MLP ranker, behaviour heads, an encoder.

    python benchmarks/learnt.py ranker --users 1000 10000 --epsilon 1 4 --seeds 1 2
    python benchmarks/learnt.py behaviour --users 1000 10000 100000 --epsilon 1 4 --seeds 1 2 --weights
    python benchmarks/learnt.py encoder --users 1000 10000 --epsilon 1 4 --seeds 1 2

Each begins with the twin without noise, and prints one JSON line a figure. The population's gates are off, so that
everything is measured everywhere. `ranker`: a hidden layer beside the linear heads of the ranker, at the plan's share
and at a larger one. `behaviour`: see `behaviour.py`. `encoder`: adapters on frozen public item vectors, see
`encoder.py`, with the share of the Gram matrix in its place, and with half of it beside a Gram matrix of the other.
Constants were chosen on shops of seeds 11 and 12; `--set name=value` changes one.
"""

import argparse
import dataclasses
import json
from typing import Any

import numpy as np
from behaviour import (
    BehaviourConfig,
    buys_bags,
    department_bags,
    figures_of_buys,
    figures_of_departments,
    history,
    scores,
    trained_head,
)
from encoder import Adapters, EncoderConfig, Examples, encoder_scores, public_vectors, train_adapters
from made_up import MadeUp, shop_of
from scipy import sparse
from synthetic import Judge, K

from assets import arrays, learning
from data.history import WINDOW_DAYS
from ml.privacy.accounting import PrivacyPlan, Slot
from ml.privacy.plan import PlanConstants, default_plan, ranker_users
from ml.privacy.training import TrainingConfig, train_listwise
from ml.ranking import ease
from ml.ranking.bags import Bags, training_bags
from ml.ranking.coordinates import from_coordinates, in_coordinates, to_coordinates
from ml.ranking.features import user_candidates
from ml.ranking.index import index_items
from ml.ranking.inputs import CandidateConfig, ReleasedGram, ReleasedPopularity
from ml.ranking.popularity import posterior_counts
from ml.ranking.ranker import PRIOR, TASKS

NO_GATES = {"gram_users_mu": 1e-6, "ranker_users_mu": 1e-6}
LARGE = {"ranker_share": 0.4, "gram_share": 0.3}
"""More for the ranker, at the cost of popularity and the Gram matrix."""


@dataclasses.dataclass(frozen=True)
class RankerConfig:
    """Constants of a ranker with a hidden layer."""

    hidden_size: int = 16
    steps: int = 16
    learning_rate: float = 2.0
    max_grad_norm: float = 0.5
    max_users: int = 4_000
    """Users that train, at most: about 80 kB each."""


def gram_of(shop: MadeUp, plan: PrivacyPlan, before: ReleasedPopularity, non_private: bool) -> ReleasedGram:
    """The released Gram matrix."""
    state = arrays.as_state(shop.state(learning.gram_phase(plan)))
    return learning.together_of(state, shop.plan.n_users, before, plan, non_private=non_private)


def best(score: Any) -> Any:
    """(n_users, K) positions of the best, -1 where a user has fewer."""
    top = np.sort(np.argpartition(-score, K, axis=1)[:, :K], axis=1)
    place = np.argsort(-np.take_along_axis(score, top, axis=1), axis=1, kind="stable")
    order = np.take_along_axis(top, place, axis=1)
    return np.where(np.isfinite(np.take_along_axis(score, order, axis=1)), order, -1)


def ranked(judge: Judge, index: Any, trained: Any, department: Any = None) -> dict[str, Any]:
    """Lists by score alone, with no places kept for the tail; (n_heads, n_users, n_departments) is added if given."""
    parts: dict[str, list[Any]] = {task: [] for task in TASKS}
    for start in range(0, judge.n_users, 128):
        stop = min(start + 128, judge.n_users)
        found = user_candidates(judge.state, index, start, stop, CandidateConfig())
        score = found.features @ trained.weights.T.astype(np.float32)
        if trained.hidden is not None:
            score = score + trained.hidden.scores(found.features)
        for head, task in enumerate(TASKS):
            allowed = (found.item_index >= 0) & ~(found.own & (task == "discovery"))
            one = score[..., head]
            if department is not None:
                code = judge.catalogue.codes[0][found.item_index]
                one = one + np.take_along_axis(department[head, start:stop], code, axis=1)
            order = best(np.where(allowed, one, -np.inf))
            chosen = np.take_along_axis(found.item_index, np.maximum(order, 0), axis=1)
            parts[task].append(np.where(order >= 0, chosen, -1).astype(np.int32))
    return {task: np.concatenate(part) for task, part in parts.items()}


def ranker(shop: MadeUp, epsilons: list[float | None], config: RankerConfig, about: dict[str, Any]) -> None:
    """Linear and with a hidden layer, each from the same releases."""
    judge, n_users = Judge(shop), shop.plan.n_users
    for epsilon in epsilons:
        for share in ({}, LARGE) if epsilon else ({},):
            constants = PlanConstants(**NO_GATES, **share)
            plan = default_plan(epsilon or 4, 1 / (100 * n_users), n_users, constants, monthly=0)
            bags, index = ranker_bags(shop, judge, plan, config.max_users, epsilon is None)
            mu, trained_users = plan.events()["ranker"].mu, sum(len(batch.features) for batch in bags)
            for hidden_size in (0, config.hidden_size):
                trained = fitted(bags, plan, config, hidden_size, epsilon is None)
                kind = f"{hidden_size} hidden" if hidden_size else "linear"
                figures = {"model": kind, "epsilon": epsilon, "mu": round(mu, 4), "trained_users": trained_users}
                judge.said(ranked(judge, index, trained), **about, **figures, **share)


def ranker_bags(
    shop: MadeUp, judge: Judge, plan: PrivacyPlan, max_users: int, non_private: bool
) -> tuple[list[Bags], Any]:
    """What a plan's ranker is trained on, and the item side up to date."""
    before, latest = learning.counted(shop, plan, non_private=non_private)
    gram, candidates = gram_of(shop, plan, before, non_private), CandidateConfig()
    event: Any = plan.events()["ranker"]
    n_users = min(max_users, ranker_users(plan.declared_users, event.mu))
    state = arrays.as_state(shop.state("fit", n_users))
    index = index_items(judge.catalogue, before, gram, candidates)
    labels = shop.taken(shop.test_day - WINDOW_DAYS, shop.test_day, n_users)
    bags = training_bags(state, index, *labels, n_users=n_users, config=candidates)
    return bags, index_items(judge.catalogue, latest, gram, candidates)


def fitted(bags: list[Bags], plan: PrivacyPlan, config: RankerConfig, hidden_size: int, non_private: bool) -> Any:
    """The plan's linear ranker, in its coordinates, or one with a hidden layer by constants of its own; the same mu."""
    event, linear = plan.events()["ranker"], PlanConstants()
    steps = config.steps if hidden_size else linear.steps
    training = TrainingConfig(
        steps=steps,
        learning_rate=config.learning_rate if hidden_size else linear.learning_rate,
        max_grad_norm=config.max_grad_norm if hidden_size else linear.max_grad_norm,
        n_averaged=max(1, steps // 2),
        declared_users=sum(len(batch.features) for batch in bags),
        hidden_size=hidden_size,
    )
    noise = 0.0 if non_private else float(np.sqrt(steps) / event.mu)
    options: Any = {"noise_multiplier": noise, "non_private": non_private}
    if hidden_size:
        return train_listwise(bags, PRIOR.to_array(), training, **options)
    start, even = to_coordinates(PRIOR.to_array()), [in_coordinates(batch) for batch in bags]
    found = train_listwise(even, start, training, **options)
    return dataclasses.replace(found, weights=from_coordinates(found.weights))


def behaviour(
    shop: MadeUp, epsilons: list[float | None], config: BehaviourConfig, about: dict[str, Any], weights: list[float]
) -> None:
    """Heads fitted to the 28 days before the test, judged on those after it; and what they do to the lists."""
    judge, n_users, day = Judge(shop), shop.plan.n_users, shop.test_day
    then, now = history(shop, day - WINDOW_DAYS), history(shop, day)
    department = judge.catalogue.codes[0]

    def said(what: str, figures: dict[str, float], **more: Any) -> None:
        print(json.dumps({**about, "head": what, **more, **{k: round(v, 4) for k, v in figures.items()}}), flush=True)

    for epsilon in epsilons:
        plan = default_plan(epsilon or 4, 1 / (100 * n_users), n_users, PlanConstants(**NO_GATES), monthly=0)
        before, latest = learning.counted(shop, plan, non_private=epsilon is None)
        sold = [np.bincount(department, np.maximum(one.counts, 0)) + 1 for one in (before, latest)]
        (bags, start), (judged, _) = buys_bags(then, day - WINDOW_DAYS, config), buys_bags(now, day, config)
        said("buys", figures_of_buys(judged, start), epsilon=epsilon, model="own rate")
        head = trained_head(bags, start, epsilon, n_users, config)
        said("buys", figures_of_buys(judged, head), epsilon=epsilon, model="trained")
        (bags, start), (judged, _) = (department_bags(*one, config) for one in zip((then, now), sold, strict=True))
        said("department", figures_of_departments(judged, start), epsilon=epsilon, model="own shares")
        head = trained_head(bags, start, epsilon, n_users, config)
        said("department", figures_of_departments(judged, head), epsilon=epsilon, model="trained")
        if not weights:
            continue
        items, index = ranker_bags(shop, judge, plan, RankerConfig().max_users, epsilon is None)
        trained = fitted(items, plan, RankerConfig(), 0, epsilon is None)
        judge.said(ranked(judge, index, trained), **about, epsilon=epsilon, model="linear")
        for name, found in (("own shares", start), ("trained", head)):
            logs = scores(judged, found)[: judge.n_users].transpose(1, 0, 2)
            for weight in weights:
                lists = ranked(judge, index, trained, weight * logs)
                judge.said(lists, **about, epsilon=epsilon, model=f"linear + department, {name}", weight=weight)


def encoder_plan(epsilon: float, n_users: int, config: EncoderConfig, *, gram: float, encoder: float) -> PrivacyPlan:
    """Popularity has .55 of mu^2; the rest is dealt."""
    slots = [Slot(name="popularity", mechanism="discrete_gaussian", share=0.55, bound=1.0)]
    if gram:
        slots.append(Slot(name="gram", mechanism="gram_gaussian", share=gram, bound=1.0, sensitivity=2**15))
    if encoder:
        sampled: Any = {"sample_rate": config.sample_rate(n_users), "steps": config.steps}
        bound = config.max_grad_norm
        slots.append(Slot(name="encoder", mechanism="poisson_gaussian", share=encoder, bound=bound, **sampled))
    return PrivacyPlan(epsilon=epsilon, delta=1 / (100 * n_users), declared_users=n_users, slots=tuple(slots))


def together(judge: Judge, gram: ReleasedGram) -> Any:
    """(n_users, n_items) what goes with what, 0 outside the head."""
    index = ease.together(gram, judge.catalogue.n_items)
    score = np.zeros((judge.n_users, judge.catalogue.n_items))
    found = ease.scores(judge.state.user_index, judge.state.item_index, index, judge.n_users)
    score[:, index.head] = found[:, :-1]
    return score


def encoder(
    shop: MadeUp, epsilons: list[float | None], config: EncoderConfig, about: dict[str, Any], weights: list[float]
) -> None:
    """The encoder in the place of the Gram matrix, and beside one; both free alternatives beside them."""
    judge, n_users, n_items = Judge(shop), shop.plan.n_users, shop.plan.n_items
    state, vectors = arrays.as_state(shop.state("test")), public_vectors(shop.items, config.size)
    ones = np.ones(len(state.user_index), np.float32)
    rows = sparse.csr_array((ones, (state.user_index, state.item_index)), shape=(n_users, n_items))
    judged = rows[: judge.n_users]
    untrained = [weight.detach().numpy() for weight in Adapters(config).parameters()]

    def said(score: Any, **figures: Any) -> None:
        score = score.copy()
        score[judge.state.user_index, judge.state.item_index] = -np.inf
        judge.said({"discovery": best(score).astype(np.int32)}, **about, **figures)

    for epsilon in epsilons:
        free: dict[str, Any] = {}
        for gram_share in (0.45, 0.225, 0.0):
            plan = encoder_plan(epsilon or 4, n_users, config, gram=gram_share, encoder=0.45 - gram_share)
            if epsilon is None and gram_share == 0.225:
                continue
            if not free:
                _, latest = learning.counted(shop, plan, non_private=epsilon is None)
                popularity = posterior_counts(latest.counts, latest.noise_std)[0] + 0.5
                free["popularity"] = np.broadcast_to(np.log(popularity), (judge.n_users, n_items))
                free["content"] = encoder_scores(judged, vectors, popularity, untrained)
                for name, score in free.items():
                    said(score, epsilon=epsilon, model=name)
            goes = np.zeros(1)
            if gram_share:
                goes = together(judge, gram_of(shop, plan, latest, epsilon is None))
                said(np.where(goes == 0, -1e3, goes), epsilon=epsilon, model="ease", share=gram_share)
            if gram_share < 0.45:
                event: Any = plan.events()["encoder"]
                noise = 0.0 if epsilon is None else event.noise_multiplier
                examples = Examples(rows, vectors, popularity, config)
                mu = np.inf if epsilon is None else plan.mu * np.sqrt(0.45 - gram_share)
                adapters, ran = train_adapters(examples, n_users, config, noise_multiplier=noise, mu=mu)
                scores = {"encoder": encoder_scores(judged, vectors, popularity, adapters)}
                said(scores["encoder"], epsilon=epsilon, model="encoder", share=0.45 - gram_share, ran=ran)
                scores["popularity"] = free["popularity"]
            else:
                scores = free
            for name, score in scores.items() if gram_share else ():
                for weight in weights:
                    both = {"model": f"ease + {name}", "share": gram_share, "weight": weight}
                    said(goes + weight * score, epsilon=epsilon, **both)
            if epsilon is None and gram_share:
                kept = goes
            elif epsilon is None:
                for weight in weights:
                    said(kept + weight * scores["encoder"], epsilon=None, model="ease + encoder", weight=weight)


def overridden(config: Any, changes: list[str]) -> Any:
    """A configuration with some constants changed, each `name=value`."""
    pairs = dict(change.split("=") for change in changes)
    return dataclasses.replace(config, **{name: type(getattr(config, name))(value) for name, value in pairs.items()})


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["ranker", "behaviour", "encoder"])
    parser.add_argument("--users", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--epsilon", type=float, nargs="*", default=[1.0, 4.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--weights", type=float, nargs="*", default=[0.1], help="of what is added to a score")
    parser.add_argument("--set", nargs="+", default=[], help="name=value of a constant")
    args = parser.parse_args()
    epsilons: list[float | None] = [None, *args.epsilon]
    for n_users in args.users:
        for seed in args.seeds:
            shop, about = shop_of(n_users, seed), {"users": n_users, "seed": seed}
            if args.what == "ranker":
                ranker(shop, epsilons, overridden(RankerConfig(), args.set), about)
            elif args.what == "behaviour":
                behaviour(shop, epsilons, overridden(BehaviourConfig(), args.set), about, args.weights)
            else:
                encoder(shop, epsilons, overridden(EncoderConfig(), args.set), about, args.weights)


if __name__ == "__main__":
    main()
