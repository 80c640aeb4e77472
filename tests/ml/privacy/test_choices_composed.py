"""Choices in a composition, against brute force: what the plan says they cost is never less than what they do.

Two brute forces. Real ones: the outcomes of exponential mechanisms on two neighbouring data sets, all of them counted
out. The worst one: an adversary who picks, round after round and knowing what came out, whichever two points have
losses within the range; his best strategy is found from the last round back. The second bounds the first.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import brentq

from ml.privacy.accounting import compose
from ml.privacy.events import ExponentialEvent, GaussianEvent, MechanismEvent
from ml.privacy.gaussian import epsilon_from_mu, gaussian_delta

DELTA = 1e-4
Float64 = npt.NDArray[np.float64]


def choice(epsilon: float) -> ExponentialEvent:
    return ExponentialEvent(sensitivity=2**20, scale=2**20 / epsilon, bound=1.0, randomness="opendp")


def softmax(scores: Float64) -> Float64:
    odds = np.exp(scores - scores.max())
    return odds / odds.sum()


def hockey_stick(p: Float64, q: Float64, epsilon: float) -> float:
    """The delta of two distributions over the same outcomes."""
    return float(np.maximum(p - math.exp(epsilon) * q, 0.0).sum())


def pairs(epsilon: float, seed: int) -> list[tuple[Float64, Float64]]:
    """Outcomes of a choice with and without a user who moves the scores by a range of `epsilon`, in units of the noise.

    Random moves of random scores, and the worst ones: a user who moves one candidate or one half alone, all others far
    behind or on a par.
    """
    rng = np.random.default_rng(seed)
    found = []
    for n in (2, 3, 5):
        for spread in (0.0, 1.0, 4.0):
            scores = rng.normal(size=n) * spread
            moved = rng.random(n)
            moved = (moved - moved.min()) / np.ptp(moved)
            for move in (moved, np.eye(n)[0], 1.0 - np.eye(n)[0], np.arange(n) % 2):
                found.append((softmax(scores), softmax(scores + epsilon * move)))
    for ahead in np.linspace(-epsilon, 0, 9):  # of two candidates, one is so far ahead
        found.append((softmax(np.array([ahead, 0.0])), softmax(np.array([ahead + epsilon, 0.0]))))
    return found + [(after, before) for before, after in found]


def product(distributions: Sequence[Float64]) -> Float64:
    """All outcomes of independent draws."""
    return np.array([math.prod(outcome) for outcome in itertools.product(*distributions)])


def worst_delta(ranges: Sequence[float], epsilon: float, parts: int = 40) -> float:
    """The largest delta that an adaptive adversary reaches with losses within these ranges, in this order.

    A pair of losses t and t - range has probabilities that follow from t. With the loss so far, the best t is the one
    that leads on to the most; t is taken from `parts` steps of the range, so that this is a lower bound of his best.
    """

    def best(round_: int, loss: Float64) -> Float64:
        if round_ == len(ranges):
            return np.maximum(-np.expm1(epsilon - loss), 0.0)
        size = ranges[round_]
        high = size * np.arange(1, parts) / parts
        p = np.expm1(size - high) / np.expm1(size) * np.exp(high)
        values, inverse = np.unique(np.round(loss[:, None] + np.append(high, high - size), 9), return_inverse=True)
        after = best(round_ + 1, values)[inverse.reshape(len(loss), -1)]
        return np.max(p * after[:, : parts - 1] + (1 - p) * after[:, parts - 1 :], axis=1)

    return float(best(0, np.zeros(1))[0])


@pytest.mark.parametrize("ranges", [[0.1], [1.0], [4.0], [0.3, 0.3], [1.0, 0.5, 0.2], [0.7] * 5, [0.2] * 6])
def test_no_choices_cost_more_than_their_composition_says(ranges: list[float]) -> None:
    cost = compose([choice(size) for size in ranges], DELTA)
    sides = [pairs(size, seed) for seed, size in enumerate(ranges)]
    for number in range(0, len(sides[0]), 1 if len(ranges) < 4 else 5):
        chosen = [side[number] for side in sides]
        p, q = (product([pair[side] for pair in chosen]) for side in (0, 1))
        for epsilon in (cost.epsilon, cost.epsilon_zcdp):
            assert hockey_stick(p, q, epsilon) <= DELTA, (ranges, number)


@pytest.mark.parametrize("ranges", [[0.5], [2.0], [1.0, 0.5, 0.25], [0.4] * 8, [0.1] * 24])
def test_the_worst_adaptive_adversary_gets_no_more_than_the_composition_says_and_most_of_it(
    ranges: list[float],
) -> None:
    cost = compose([choice(size) for size in ranges], DELTA)
    assert worst_delta(ranges, cost.epsilon) <= DELTA
    assert worst_delta(ranges, cost.epsilon_zcdp) <= DELTA
    reached = brentq(lambda epsilon: worst_delta(ranges, epsilon) - DELTA, 0.0, sum(ranges))
    assert reached >= (0.98 if len(ranges) <= 3 else 0.85) * cost.epsilon
    assert cost.epsilon <= sum(ranges)  # what pure differential privacy says of them
    assert cost.epsilon <= epsilon_from_mu(cost.mu, DELTA)


@pytest.mark.parametrize("noise_multiplier", [1.0, 5.0])
def test_choices_beside_a_gaussian_cost_no_more_than_the_composition_says(noise_multiplier: float) -> None:
    ranges = [1.0, 0.4]
    gaussian = GaussianEvent(steps=1, noise_multiplier=noise_multiplier, bound=1.0, randomness="opendp")
    events: list[MechanismEvent] = [gaussian, *(choice(size) for size in ranges)]
    epsilon = compose(events, DELTA).epsilon
    for first, second in itertools.product(pairs(ranges[0], 0)[::3], pairs(ranges[1], 1)[::5]):
        p, q = (product([first[side], second[side]]) for side in (0, 1))
        loss = np.log(p / q)
        delta = sum(
            weight * gaussian_delta(gaussian.mu, epsilon - one) if epsilon >= one else weight
            for weight, one in zip(p, loss, strict=True)
        )
        assert delta <= DELTA
