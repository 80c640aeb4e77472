"""Gaussian differential privacy: what mu means in epsilon and delta, and what a bounded range of losses means in both.

Formulas alone: no event, no plan and no accounting library.
"""

import math

import numpy as np
import numpy.typing as npt
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
    inner vertex, so the convex one of a Gaussian lies below it as soon as it does at that vertex. Whatever t, the odds
    of the two points differ by e^epsilon: with x the smaller of their logits the vertex asks for a mu of
    g(x + epsilon) - g(x), where g = Phi^-1 o sigmoid. The slope of g is Phi(z) Phi(-z) / phi(z) at z = g(x), even and
    falling with |z| (by Sampford 1953: h (h - z) < 1 for the normal hazard rate h), so the steepest step of epsilon is
    the one around 0: t = epsilon / 2, a randomised response of epsilon / 2. Tested on a grid.

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


def bounded_range_delta(size: float, epsilon: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Smallest delta at each epsilon that covers every mechanism whose privacy losses lie within `size`.

    The two points with losses t and t - size have delta (e^size - e^t)(1 - e^(epsilon - t)) / (e^size - 1) at an
    epsilon from 0 on, which is largest at t = (size + epsilon) / 2: the square of e^(size / 2) - e^(epsilon / 2), over
    e^size - 1. The same expression holds down to -size, by the symmetry of adding and removing. It is a convex function
    of e^epsilon, hence the curve of a pair of distributions: losses on [-size, size] with densities proportional to
    e^(loss / 2) and e^(-loss / 2). That pair dominates every mechanism of the range, and for a single one it costs no
    more than `size`, where the Gaussian of `mu_of_bounded_range` costs up to twice that.

    >>> bounded_range_delta(1.0, np.array([-1.0, 0.0, 1.0])).round(4).tolist()
    [0.6321, 0.2449, 0.0]

    Args:
        size: range of the privacy loss, > 0.
        epsilon: (n,) float64, of either sign.

    Returns:
        (n,) float64 in [0, 1].

    Source: the two points as in `mu_of_bounded_range`; a curve's pair: Zhu, Dong, Wang (AISTATS 2022), Lemma 9.
    """
    inside = np.clip(epsilon, -size, size)
    curve = np.exp(inside) * np.expm1((size - inside) / 2) ** 2 / math.expm1(size)
    delta: npt.NDArray[np.float64] = np.where(epsilon < -size, -np.expm1(epsilon), curve)
    return delta


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
