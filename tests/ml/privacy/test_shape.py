"""The population release: right to about 50 users, cheap, and what gates and delta read of it."""

import numpy as np
import pytest

from ml.privacy.accounting import PrivacyPlan, Slot, compose
from ml.privacy.events import NonPrivateEvent
from ml.privacy.shape import SHAPE_MU, Population, release_shape, shape_slot
from tests.ml.privacy.cases import CLAIM
from tests.ml.privacy.checks import check_residuals


def test_the_count_is_right_to_about_50_users_at_half_a_percent_of_the_budget() -> None:
    slot = shape_slot(1, 1e-5)
    assert 0.005 < slot.share < 0.006
    rest = Slot(name="ranker", mechanism="gaussian", share=1 - slot.share, bound=1)
    plan = PrivacyPlan(epsilon=1, delta=1e-5, declared_users=1000, slots=(slot, rest))
    event = plan.events()["shape"]
    assert event.mu == pytest.approx(SHAPE_MU, rel=1e-4) and event.mu <= SHAPE_MU
    assert compose(list(plan.events().values()), 1e-5).epsilon <= 1
    users = np.repeat(np.arange(5000), 3)
    found = [release_shape(users, planned=event) for _ in range(40)]
    errors = np.array([one.population.users - 5000 for one in found])
    assert 0.6 * 50 < np.sqrt((errors**2).mean()) < 1.5 * 50
    assert {one.event for one in found} == {event}
    assert found[0].population.noise_std == pytest.approx(50, rel=1e-3)


def test_noise_has_the_claimed_size() -> None:
    event = CLAIM.model_copy(update={"bound": 1.0, "scale": CLAIM.sensitivity * 30.0})
    users = np.arange(10_000)

    def residuals() -> np.ndarray:
        drawn = [release_shape(users, planned=event).population.users for _ in range(800)]
        return (np.array(drawn) - 10_000) / 30.0

    check_residuals(residuals)


def test_a_user_counts_one_whatever_he_did() -> None:
    users = np.array([4, 4, 4, 9, -1, -1, 2**40])
    planned = CLAIM.model_copy(update={"bound": 1.0})
    twin = release_shape(users, planned=planned, non_private=True)
    assert (twin.population, twin.event) == (Population(users=3, noise_std=0), NonPrivateEvent())
    assert release_shape(users[:0], planned=planned, non_private=True).population.users == 0


def test_gates_read_the_lower_end_and_delta_the_upper() -> None:
    population = Population(users=1000, noise_std=50)
    assert (population.at_least, population.at_most) == (850, 1150)
    assert population.largest_delta == 1 / 115_000
    population.check_delta(1 / 115_000)
    with pytest.raises(ValueError, match="above 1 / .100 x 1150 users"):
        population.check_delta(1 / 114_000)
    few = Population(users=10, noise_std=50)
    assert (few.at_least, few.at_most) == (0, 160)
    assert Population(users=0, noise_std=0).largest_delta == 0.01


def test_plans_that_cannot_be_get_one_sentence() -> None:
    with pytest.raises(ValueError, match="worth less than the shape release"):
        shape_slot(0.01, 1e-7)
    with pytest.raises(ValueError, match="a user counts 1"):
        release_shape(np.array([0]), planned=CLAIM)
    with pytest.raises(ValueError, match="must be integers"):
        release_shape(np.array([0.5]), planned=CLAIM.model_copy(update={"bound": 1.0}))
