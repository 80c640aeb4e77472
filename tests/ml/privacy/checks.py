"""Checks of a whole release function, written once: run on the real one, and on each planted fault, which must fail."""

from collections.abc import Callable

import numpy as np
from scipy.stats import beta, norm

from ml.privacy.bounding import Contributions
from ml.privacy.events import DiscreteGaussianEvent
from ml.privacy.mechanisms import Release, release_popularity

S = 2**16
CLAIM = DiscreteGaussianEvent(sensitivity=S, scale=S / 2, bound=3.0, randomness="opendp")
"""mu = 2: near one half of all outcomes, so that a few thousand runs say much."""


def check_residuals(release: Callable[..., Release]) -> None:
    """The noise has the claimed standard deviation, and two runs share none of it.

    One honest attempt fails 1 time in 370; the better of three, 1 time in 5e7.
    """
    d = 20_000
    users, items = np.arange(500) % 100, np.arange(500)
    exact = release_popularity(users, items, n_items=d, planned=CLAIM, non_private=True).values
    deviations = []
    for _ in range(3):
        first, second = (
            ((release(users, items, n_items=d, planned=CLAIM).values - exact) / CLAIM.noise_std).ravel()
            for _ in range(2)
        )
        assert abs(float(first @ second)) / d < 6 / np.sqrt(d), "two runs share noise"
        deviations.append(abs(float(np.sqrt(np.mean(first**2))) - 1))
        if deviations[-1] <= 3 / np.sqrt(2 * d):
            return
    raise AssertionError(f"noise differs from the claim by the fractions {deviations}")


def check_distinguishing(release: Callable[..., Release], *, runs: int = 2000) -> float:
    """An attacker who knows the other 99 users guesses whether the worst-case user is in; his success fits the claim.

    The rule is fixed (is the value nearer to "in" or to "out"), so only the noise is random. Each error rate has a
    one-sided Clopper-Pearson bound at 1 - Phi(4.4). With mu = 2 and 2,000 runs a side the lower bound on mu is about
    1.70 with standard error 0.05, so the limits 1.4 and 2.0 are more than 6 standard errors away: false alarm < 1e-8.

    Source: Nasr et al., "Tight Auditing of Differentially Private Machine Learning" (USENIX Security 2023), section 4.
    """
    rng = np.random.default_rng(7)
    users, items = rng.integers(0, 99, 400), rng.integers(0, 3, 400)
    with_users, with_items = np.append(users, np.full(50, 99)), np.append(items, np.full(50, 2))
    known = release_popularity(users, items, n_items=3, planned=CLAIM, non_private=True).values[0, 2]

    def errors(is_in: bool) -> int:
        rows = (with_users, with_items) if is_in else (users, items)
        guesses = [release(*rows, n_items=3, planned=CLAIM).values[0, 2] - known > CLAIM.bound / 2 for _ in range(runs)]
        return sum(guess != is_in for guess in guesses)

    tail = norm.sf(4.4)
    rates = [
        float(beta.ppf(1 - tail, wrong + 1, runs - wrong)) if wrong < runs else 1.0
        for wrong in (errors(False), errors(True))
    ]
    mu = float(sum(norm.isf(rate) for rate in rates))
    assert 0.7 * CLAIM.mu <= mu <= CLAIM.mu, f"lower bound {mu} of mu does not fit the claim {CLAIM.mu}"
    return mu


def check_sensitivity(bound: Callable[..., Contributions]) -> None:
    """No user's whole-number vector is longer than S, exactly, over all cells together."""
    rng = np.random.default_rng(11)
    rows = {
        "one item, many times": (np.zeros(1000, dtype=np.int64), np.zeros(1000, dtype=np.int64), None),
        "every cell": (np.zeros(5000, dtype=np.int64), np.arange(5000), None),
        "random users": (rng.integers(0, 50, 5000), rng.integers(0, 5000, 5000), rng.lognormal(0, 3, 5000)),
    }
    for name, (users, cells, weight) in rows.items():
        found = bound(users, cells, n_cells=5000, bound=1.5, sensitivity=S, weight=weight)
        for user in np.unique(found.user_index):
            squares = sum(int(unit) ** 2 for unit in found.units[found.user_index == user])
            assert squares <= S**2, f"{name}: user {user} has squared norm {squares} > {S}^2"
