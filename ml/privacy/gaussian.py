"""Gaussian differential privacy: what mu means in epsilon and delta, and what pure bounds mean in mu.

Formulas alone: no event, no plan and no accounting library.
"""

import math

from scipy.optimize import brentq
from scipy.special import expit, log_ndtr, logit, ndtr, ndtri


def gaussian_delta(mu: float, epsilon: float) -> float:
    """Smallest delta for which mu-Gaussian differential privacy implies (epsilon, delta).

    Args:
        mu: Gaussian differential privacy parameter, > 0.
        epsilon: >= 0.

    Returns:
        delta in [0, 1].

    Source: Balle, Wang (ICML 2018), Theorem 8; Dong, Roth, Su (2019), Corollary 1.
    """
    upper = float(log_ndtr(-epsilon / mu + mu / 2))
    lower = epsilon + float(log_ndtr(-epsilon / mu - mu / 2))
    return math.exp(upper) * -math.expm1(min(lower - upper, 0.0))


def mu_from_epsilon(epsilon: float, delta: float) -> float:
    """Largest mu whose Gaussian differential privacy implies (epsilon, delta): the exact conversion.

    >>> [round(mu_from_epsilon(epsilon, 1e-5), 3) for epsilon in (1, 2, 4, 8)]
    [0.268, 0.502, 0.925, 1.666]
    >>> round(mu_from_epsilon(1, 1e-7), 3)
    0.214

    Args:
        epsilon: > 0.
        delta: in (0, 1).

    Returns:
        mu > 0.

    Raises:
        ValueError: if epsilon or delta is out of range.
    """
    if not (epsilon > 0 and math.isfinite(epsilon) and 0 < delta < 1):
        raise ValueError(f"epsilon {epsilon} and delta {delta} give no mu: epsilon must be > 0 and 0 < delta < 1")
    high = 1.0
    while gaussian_delta(high, epsilon) < delta:
        high *= 2
    return float(brentq(lambda mu: gaussian_delta(mu, epsilon) - delta, 1e-9, high, xtol=1e-13, rtol=1e-13))


def epsilon_from_mu(mu: float, delta: float) -> float:
    """Smallest epsilon that mu-Gaussian differential privacy gives at delta: the inverse of `mu_from_epsilon`.

    >>> round(epsilon_from_mu(0.9249308977, 1e-5), 6)
    4.0

    Args:
        mu: >= 0.
        delta: in (0, 1).

    Returns:
        epsilon >= 0; 0 where mu is so small that delta alone covers it.
    """
    if mu <= 0 or gaussian_delta(mu, 0.0) <= delta:
        return 0.0
    high = 1.0
    while gaussian_delta(mu, high) > delta:
        high *= 2
    return float(brentq(lambda epsilon: gaussian_delta(mu, epsilon) - delta, 0.0, high, xtol=1e-13))


def mu_of_bounded_range(epsilon: float) -> float:
    """Gaussian differential privacy of a mechanism whose privacy losses on two neighbours lie within epsilon.

    The losses then lie in [t - epsilon, t] for some t in [0, epsilon], and the pair of outcome distributions is
    dominated by two points with the losses t and t - epsilon. Their trade-off function is piecewise linear with one
    inner vertex, so the convex one of a Gaussian lies below it as soon as it does at that vertex. That asks the most of
    mu at t = epsilon / 2 (tested on a grid), where the two points are a randomised response of epsilon / 2.

    >>> round(mu_of_bounded_range(1.0), 4)
    0.6239

    Args:
        epsilon: range of the privacy loss, in (0, 16].

    Returns:
        mu > 0.

    Source: Dong, Durfee, Rogers, "Optimal Differential Privacy Composition for Exponential Mechanisms" (ICML 2020),
    section 4, for the two points; Dong, Roth, Su (2019), Theorem 2 and section 3, for domination and composition.
    """
    return 2 * float(ndtri(expit(epsilon / 2)))


def bounded_range_from_mu(mu: float) -> float:
    """Range epsilon that is worth mu: the inverse of `mu_of_bounded_range`.

    >>> round(bounded_range_from_mu(mu_of_bounded_range(1.0)), 9)
    1.0

    Args:
        mu: > 0.

    Returns:
        epsilon > 0.
    """
    return 2 * float(logit(ndtr(mu / 2)))
