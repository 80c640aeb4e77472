"""Whole release functions with a worst-case user: what an attacker sees of them, and how he weighs it.

Every case has 99 other users with random rows, and claims mu = 2: near one half of all outcomes, so that a few hundred
runs say much.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ml.privacy import contingency, exponential, gram, kmeans, mechanisms, shape
from ml.privacy.events import (
    DiscreteGaussianEvent,
    ExponentialEvent,
    GaussianEvent,
    GramGaussianEvent,
    PoissonGaussianEvent,
)
from ml.privacy.gaussian import bounded_range_from_mu
from ml.privacy.losses import composed_loss
from ml.privacy.training import TrainingConfig, train_listwise
from ml.ranking.bags import Bags
from tests.ml.privacy.checks import Attacked, S

CLAIM = DiscreteGaussianEvent(sensitivity=S, scale=S / 2, bound=3.0, randomness="opendp")
GRAM_CLAIM = GramGaussianEvent(
    sensitivity=2**12,
    diagonal_scale=2**24 / 2,
    off_diagonal_scale=float(np.ceil(2**23 / np.sqrt(2))),
    bound=0.9,
    randomness="opendp",
)
ONE_USER = DiscreteGaussianEvent(sensitivity=S, scale=S / 2, bound=1.0, randomness="opendp")
CHOICE_CLAIM = ExponentialEvent(sensitivity=S, scale=S / bounded_range_from_mu(2.0), bound=1.0, randomness="opendp")
STEPS_CLAIM = GaussianEvent(steps=3, noise_multiplier=np.sqrt(3) / 2, bound=np.sqrt(2), randomness="opendp")


class Popularity(Attacked):
    """50 purchases of one item, clipped to the bound."""

    claim = CLAIM.mu

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        users, items = rng.integers(0, 99, 400), rng.integers(0, 3, 400)
        self.rows = {False: (users, items), True: (np.append(users, np.full(50, 99)), np.append(items, np.full(50, 2)))}
        self.known = self.release(False, non_private=True)

    def release(self, is_in: bool, **options: Any) -> float:
        return float(mechanisms.release_popularity(*self.rows[is_in], n_items=3, planned=CLAIM, **options).values[0, 2])

    def observe(self, is_in: bool) -> float:
        return (self.release(is_in) - self.known) / CLAIM.bound


def popularity_residuals() -> npt.NDArray[np.float64]:
    """20,000 standardised noises of one release."""
    users, items = np.arange(500) % 100, np.arange(500)
    options: dict[str, Any] = {"n_items": 20_000, "planned": CLAIM}
    exact = mechanisms.release_popularity(users, items, non_private=True, **options).values
    return ((mechanisms.release_popularity(users, items, **options).values - exact) / CLAIM.noise_std).ravel()


def gram_residuals(part: str) -> npt.NDArray[np.float64]:
    """Standardised noise of 20 releases of 60 items: the 1,200 numbers on the diagonal, or the 35,400 above it."""
    rows = sparse.random_array((100, 60), density=0.2, rng=np.random.default_rng(2), format="csr")
    exact = gram.release_gram(rows, planned=GRAM_CLAIM, non_private=True).values
    noise = [gram.release_gram(rows, planned=GRAM_CLAIM).values - exact for _ in range(20)]
    if part == "diagonal":
        return np.concatenate([np.diagonal(one) for one in noise]) / GRAM_CLAIM.noise_std
    above = np.triu_indices(60, 1)
    return np.concatenate([one[above] for one in noise]) / (GRAM_CLAIM.noise_std / np.sqrt(2))


class Gram(Attacked):
    """Two items that nobody else has: the shift is half on the diagonal, half off it, so both noises count."""

    claim = GRAM_CLAIM.mu

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        others = sparse.csr_array(rng.integers(1, 5, (99, 4)) * (rng.random((99, 4)) < 0.5), dtype=np.float64)
        worst = sparse.csr_array(np.array([[0.0, 0.0, 7.0, 7.0]]))
        self.rows = {False: others, True: sparse.csr_array(sparse.vstack([others, worst]))}
        self.known = self.weigh(gram.release_gram(others, planned=GRAM_CLAIM, non_private=True).values)

    def weigh(self, values: Any) -> float:
        return float((values[2, 2] + values[3, 3]) / 2 + values[2, 3]) / GRAM_CLAIM.bound**2

    def observe(self, is_in: bool) -> float:
        return self.weigh(gram.release_gram(self.rows[is_in], planned=GRAM_CLAIM).values) - self.known


class Table(Attacked):
    """Purchases in two cells of a table, clipped together."""

    claim = CLAIM.mu

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        others = tuple(rng.integers(0, high, 400) for high in (99, 3, 4))
        worst = (np.full(60, 99), np.repeat([1, 2], 30), np.full(60, 3))
        self.rows = {False: others, True: tuple(np.append(*pair) for pair in zip(others, worst, strict=True))}
        self.known = self.release(False, non_private=True)

    def release(self, is_in: bool, **options: Any) -> float:
        found = contingency.release_table(*self.rows[is_in], shape=(3, 4), planned=CLAIM, **options)
        return float(found.values[1, 3] + found.values[2, 3])

    def observe(self, is_in: bool) -> float:
        return (self.release(is_in) - self.known) / (CLAIM.bound * np.sqrt(2))


class Shape(Attacked):
    """A user with a thousand rows."""

    claim = ONE_USER.mu

    def observe(self, is_in: bool) -> float:
        users = np.concatenate([np.arange(99), np.full(1000 if is_in else 0, 99)])
        return shape.release_shape(users, planned=ONE_USER).population.users - 99


class Selection(Attacked):
    """A vote that turns a lead of half its size for the other candidate round."""

    claim = CHOICE_CLAIM.mu

    def observe(self, is_in: bool) -> float:
        users, votes = np.arange(100), np.append(np.ones(99), 50.0)
        candidates = np.append(np.arange(99) % 2, 1)  # 50 votes for 0, 49 for 1
        votes[0] = 0.5
        rows = slice(None) if is_in else slice(99)
        found = exponential.release_selection(
            users[rows], candidates[rows], n_candidates=2, planned=CHOICE_CLAIM, weight=votes[rows]
        )
        return float(found.index)


class Quantile(Attacked):
    """A value between two candidates that are equally good without it: not the worst that a range allows."""

    claim = CHOICE_CLAIM.mu

    def observe(self, is_in: bool) -> float:
        values = np.append(np.full(49, 0.0), np.full(50, 9.0))  # at 1 and 2 alike: 49 below, 50 above
        values = np.append(values, np.full(1 if is_in else 0, 1.5))
        found = exponential.release_quantile(
            np.arange(len(values)), values, candidates=np.array([1.0, 2.0]), alpha=0.5, planned=CHOICE_CLAIM
        )
        return float(found.index)


class KMeans(Attacked):
    """A point in a corner of its own, in every one of three iterations, whose totals the attacker sees."""

    claim = STEPS_CLAIM.mu

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        points = rng.normal(size=(100, 2)) * 0.3 + [0.5, 0.0]
        self.worst = np.array([[-3.0, 4.0]])
        self.rows = {False: points[:99], True: np.concatenate([points[:99], self.worst])}
        self.start = np.array([[0.5, 0.0], [-0.5, 0.5]])

    def observe(self, is_in: bool) -> float:
        released = kmeans.release_kmeans(self.rows[is_in], n_clusters=2, planned=STEPS_CLAIM, start=self.start)
        centres, found = self.start, []
        for total in released.totals:
            known, mine = (self.exact(rows, centres) for rows in (self.rows[False], self.worst))
            found.append(float(((total - known) * mine).sum() / (mine**2).sum()))
            centres = kmeans.moved(
                centres, total, radius=1.0, noise_std=STEPS_CLAIM.noise_multiplier * STEPS_CLAIM.bound
            )
        return float(np.mean(found))

    def exact(self, rows: npt.NDArray[np.float64], centres: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        parts = kmeans.cluster_contributions(rows, centres, bound=STEPS_CLAIM.bound)
        return mechanisms.in_units(parts.total(), parts, (2, 3))


def bag_of(features: npt.NDArray[np.float32], label: npt.NDArray[np.bool_]) -> Bags:
    """Bags of one head that ranks everything."""
    return Bags(features, np.ones_like(label[:, None]), label[:, None])


class Ranker(Attacked):
    """A bag whose gradient is longer than the clip norm and always points the same way, in two full-batch steps.

    Steps are so short that everybody's gradient stays what it was, and the attacker knows it.
    """

    steps, sample_rate = 2, 1.0
    noise_multiplier = np.sqrt(2) / 2
    claim = np.sqrt(steps) / noise_multiplier
    others_teach = True

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        features = rng.normal(size=(100, 3, 2)).astype(np.float32)
        label = (rng.random((100, 3)) < 0.4) & self.others_teach
        features[99], label[99] = [[0, 50], [0, -50], [0, 0]], [True, False, False]
        self.bags = {False: [bag_of(features[:99], label[:99])], True: [bag_of(features, label)]}
        self.config = TrainingConfig(
            steps=self.steps, learning_rate=1e-4, max_grad_norm=0.5, n_averaged=1, declared_users=100,
            sample_rate=self.sample_rate,
        )  # fmt: skip
        self.known, self.top = (self.trained(is_in, noise_multiplier=0, non_private=True) for is_in in (False, True))

    def trained(self, is_in: bool, **options: Any) -> float:
        return float(train_listwise(self.bags[is_in], np.zeros((1, 2)), self.config, **options).weights[0, 1])

    def observe(self, is_in: bool) -> float:
        return (self.trained(is_in, noise_multiplier=self.noise_multiplier) - self.known) / (self.top - self.known)


class SampledRanker(Ranker):
    """The same bag in one Poisson step, where he is in with probability a half; the 99 others teach nothing.

    What is held against the claim is the attacker's advantage, 1 - false alarms - misses: that of the event is its
    delta at epsilon 0, by privacy loss distributions.
    """

    steps, sample_rate = 1, 0.5
    noise_multiplier = 0.25
    others_teach = False

    def __init__(self) -> None:
        super().__init__()
        event = PoissonGaussianEvent(
            sample_rate=0.5, steps=1, noise_multiplier=self.noise_multiplier, bound=0.5, randomness="opendp"
        )
        self.claim = float(composed_loss([event], 1e-4).get_delta_for_epsilon(0.0))
        self.known, self.top = 0.0, 1e-4 * 0.5 / (100 * self.sample_rate)

    def strength(self, false_alarms: float, misses: float) -> float:
        return 1 - false_alarms - misses


CASES: list[type[Attacked]] = [Popularity, Gram, Table, Shape, Selection, KMeans, Ranker]
"""Attacks that reach the claim."""

LONG_CASES: list[type[Attacked]] = [*CASES, SampledRanker, Quantile]
"""Those, and attacks that need more runs to be told from 0.7 of the claim."""
