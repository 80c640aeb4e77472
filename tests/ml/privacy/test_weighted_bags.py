"""Weights of a user's positives: a weighted mean in his gradient, nothing to the sensitivity, nothing where alike."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.privacy.gradients import SENSITIVITY
from ml.privacy.training import train_listwise
from ml.ranking.bags import Bags, bags_of_users
from tests.ml.privacy.bags import N_HEADS, gradient_units, make_bags, manual_gradients, one_step

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")
START = np.full((N_HEADS, 5), 0.1)


def weighed(seed: int, n_users: int = 12) -> Bags:
    """Random bags with random weights between a thousandth and 1."""
    bags = make_bags(n_users, seed=seed)
    drawn = 10 ** np.random.default_rng(seed).uniform(-3, 0, size=bags.features.shape[:2])
    return replace(bags, weight=drawn.astype(np.float32))


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10**6))
def test_a_gradient_is_the_weighted_mean_of_the_users_positives(seed: int) -> None:
    bags, config = weighed(seed), one_step(max_grad_norm=100.0)
    trained = train_listwise([bags], START, config, noise_multiplier=0, non_private=True)
    manual = manual_gradients(bags, START)
    np.testing.assert_allclose((START - trained.weights) * 50, manual.sum(axis=0), atol=1e-3)
    span = bags.features.max(axis=1) - bags.features.min(axis=1)  # a difference of means of a user's own vectors
    assert (np.abs(manual) <= span[:, None, :] + 1e-9).all()
    alike = manual_gradients(replace(bags, weight=None), START)
    assert np.abs(manual - alike).max() > 1e-3, "the weights said nothing"


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10**6))
def test_equal_weights_give_the_bits_of_none(seed: int) -> None:
    plain = make_bags(12, seed=seed, scale=2.0)
    ones = replace(plain, weight=np.ones(plain.features.shape[:2], np.float32))
    np.testing.assert_array_equal(gradient_units(ones, START, 0), gradient_units(plain, START, 0))
    found = (train_listwise([b], START, one_step(), noise_multiplier=0, non_private=True) for b in (ones, plain))
    np.testing.assert_array_equal(*(trained.weights for trained in found))


@settings(max_examples=2, deadline=None)
@given(st.integers(0, 10**6))
def test_leaving_a_user_out_moves_the_sum_by_that_users_clipped_gradient(seed: int) -> None:
    bags = weighed(seed)
    everybody = gradient_units(bags, START, 0)
    for left_out in range(12):
        others = bags_of_users([bags], [user for user in range(12) if user != left_out])
        alone = gradient_units(bags_of_users([bags], [left_out]), START, 0)
        assert np.linalg.norm(everybody - gradient_units(others, START, 0) - alone) <= 8  # float32, see test_training
        assert int((alone.astype(object) ** 2).sum()) <= SENSITIVITY**2


def test_weights_are_within_reach_and_follow_their_users() -> None:
    bags, plain = weighed(1), make_bags(3, width=9)
    found = bags_of_users([bags, plain], [2, 12])
    assert found.weight is not None and bags.weight is not None
    np.testing.assert_array_equal(found.weight[0, :7], bags.weight[2])
    assert (found.weight[0, 7:] == 1).all() and (found.weight[1] == 1).all()
    assert bags_of_users([plain], [0]).weight is None
    for wrong in (np.zeros((3, 9), np.float32), np.full((3, 9), 1.1, np.float32), np.ones((3, 8), np.float32)):
        with pytest.raises(ValueError, match="weights of shape"):
            replace(plain, weight=wrong)
