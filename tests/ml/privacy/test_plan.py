"""The default plan: what a declared population carries, and nothing that its noise would drown."""

import math

import pytest

from ml.privacy.accounting import compose
from ml.privacy.plan import PlanConstants, default_plan, has_ranker, head_size


@pytest.mark.parametrize(
    ("epsilon", "users", "slots"),
    [
        (4, 50, ["popularity"]),
        (1, 2_469, ["popularity"]),
        (2, 2_469, ["popularity", "gram"]),
        (4, 2_469, ["popularity", "gram", "ranker"]),
        (1, 100_000, ["popularity", "gram", "ranker"]),
    ],
)
def test_the_declared_population_decides_what_is_released(epsilon: float, users: int, slots: list[str]) -> None:
    plan = default_plan(epsilon, 1 / (100 * users), users)
    assert [slot.name for slot in plan.slots] == slots
    assert has_ranker(plan) == ("ranker" in slots)
    assert math.isclose(math.fsum(slot.share for slot in plan.slots), 1)
    assert compose(list(plan.events().values()), plan.delta).epsilon <= epsilon


def test_a_gate_opens_at_its_product_of_users_and_mu() -> None:
    at = default_plan(4, 4e-6, 2_469).mu * 2_469
    open_, shut = (PlanConstants(gram_users_mu=at * factor) for factor in (0.999, 1.001))
    assert "gram" in default_plan(4, 4e-6, 2_469, open_).events()
    assert "gram" not in default_plan(4, 4e-6, 2_469, shut).events()


def test_the_head_grows_with_the_population_within_limits() -> None:
    assert [head_size(users, 0.5) for users in (100, 2_500, 10_000, 10**6)] == [100, 250, 1_000, 2_000]
