"""Privacy loss distributions of events: what dp_accounting composes, and how much noise keeps a composition in budget.

dp_accounting is imported when a distribution is made, not when this module is.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy.optimize import brentq

from ml.privacy.events import ExponentialEvent, PoissonGaussianEvent, PrivateEvent
from ml.privacy.gaussian import bounded_range_delta


def composed_loss(events: Iterable[PrivateEvent], interval: float) -> Any:
    """The privacy loss of all events together, rounded towards more of it.

    A discrete Gaussian, of a sum or of a Gram matrix, enters as a Gaussian of the same ratio: from 2^10 units on the
    two differ by far less than the rounding. The proven figure does not rest on this, see
    `ml.privacy.accounting.compose`. A choice enters as the pair of `bounded_range_delta`, which dominates it.

    Args:
        events: with parameters that were all fixed beforehand.
        interval: discretisation of the loss; smaller is tighter and slower.

    Returns:
        A `dp_accounting.pld.privacy_loss_distribution.PrivacyLossDistribution`.

    Source: Koskela et al. (AISTATS 2020); Doroshenko et al., "Connect the Dots" (PETS 2022); Zhu, Dong, Wang, "Optimal
    Accounting of Differential Privacy via Characteristic Function" (AISTATS 2022), Theorem 10: pairs that dominate
    mechanisms may be composed in their place, also where outcomes decide what is asked next. Gaussians: Dong, Roth, Su
    (2019), Corollary 3.3.
    """
    from dp_accounting.pld import privacy_loss_distribution as pld

    total, squares = pld.identity(interval), []
    for event in events:
        if isinstance(event, ExponentialEvent):
            total = total.compose(_loss_of_a_choice(event.epsilon, interval))
        elif isinstance(event, PoissonGaussianEvent):
            one = pld.from_gaussian_mechanism(
                event.noise_multiplier, value_discretization_interval=interval, sampling_prob=event.sample_rate
            )
            total = total.compose(one.self_compose(event.steps))
        else:
            squares.append(event.mu**2)
    if squares:  # Gaussians compose into one, exactly, and a year of releases as fast as one
        gaussian = pld.from_gaussian_mechanism(
            1 / math.sqrt(math.fsum(squares)), value_discretization_interval=interval
        )
        total = total.compose(gaussian)
    return total


def _loss_of_a_choice(size: float, interval: float) -> Any:
    """The privacy loss of a mechanism whose losses lie within a range, on a grid, rounded towards more of it."""
    from dp_accounting.pld import pld_pmf
    from dp_accounting.pld import privacy_loss_distribution as pld

    most = math.ceil(size / interval)
    deltas = bounded_range_delta(size, np.arange(-most, most + 1, dtype=np.float64) * interval)
    return pld.PrivacyLossDistribution(
        pld_pmf.create_pmf_pessimistic_connect_dots_fixed_gap(interval, -most, most, deltas)
    )


def smallest_factor(events: Callable[[float], Iterable[PrivateEvent]], epsilon: float, delta: float) -> float:
    """The factor on noise with which a composition costs at most epsilon, and hardly less.

    Args:
        events: by a factor on the noise of some of them, of which more never costs more.
        epsilon: what all of them may cost, at `delta`.
        delta: in (0, 1).

    Returns:
        The factor, at most 1e-5 too large.
    """

    def surplus(factor: float) -> float:
        coarse = composed_loss(events(factor), 1e-3)  # quick, and errs towards noise
        return float(coarse.get_epsilon_for_delta(delta)) - epsilon

    low = high = 1.0
    while surplus(high) > 0:
        high *= 2
    while surplus(low) <= 0:
        low /= 2
    return float(brentq(surplus, low, high, xtol=5e-6)) + 5e-6
