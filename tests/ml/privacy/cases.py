"""Whole release functions with a worst-case user: what an attacker sees of them, and how he weighs it.

Every case has 99 other users with random rows, and claims mu = 2: near one half of all outcomes, so that a few hundred
runs say much.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ml.privacy import gram, mechanisms
from ml.privacy.events import DiscreteGaussianEvent, GramGaussianEvent
from tests.ml.privacy.checks import Attacked, S

CLAIM = DiscreteGaussianEvent(sensitivity=S, scale=S / 2, bound=3.0, randomness="opendp")
GRAM_CLAIM = GramGaussianEvent(
    sensitivity=2**12,
    diagonal_scale=2**24 / 2,
    off_diagonal_scale=float(np.ceil(2**23 / np.sqrt(2))),
    bound=0.9,
    randomness="opendp",
)


class Popularity:
    """50 purchases of one item, clipped to the bound."""

    mu = CLAIM.mu

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


class Gram:
    """Two items that nobody else has: the shift is half on the diagonal, half off it, so both noises count."""

    mu = GRAM_CLAIM.mu

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


CASES: list[type[Attacked]] = [Popularity, Gram]
