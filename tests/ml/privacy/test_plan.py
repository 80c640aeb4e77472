"""The default plan carries what a declared population carries; and what a release is said to buy."""

import math
import re

import pytest

from ml.privacy.accounting import PrivacyPlan, Slot, compose
from ml.privacy.plan import PlanConstants, default_plan, has_ranker, head_size, noise_of, worth


@pytest.mark.parametrize(
    ("name", "users", "mu", "says"),
    [
        ("gram", 2469, 0.15, "do not: users x mu is 370, below about 500"),
        ("gram", 2469, 0.502, "which items go together"),
        ("head_ease", 1_000_000, 0.0004, "do not"),
        ("gram_2018_01", 100_000, 0.06, "which items go together"),
        ("ranker_w07", 2469, 0.037, "do not: .* without a release$"),
        ("popularity_2018_01", 2469, 0.268 / 13**0.5, "do not: .* without a release$"),
        ("popularity_2018_01", 100_000, 0.214 / 13**0.5, "what sells"),
        ("popularity", 10, 0.01, "what sells"),
        ("ranker", 2469, 0.1, "weights of the lists"),
        ("encoder", 100_000, 1.0, "do not: up to 100,000 users the Gram matrix"),
    ],
)
def test_what_a_release_buys_depends_on_population_and_noise(name: str, users: int, mu: float, says: str) -> None:
    found = worth(name, users, mu)
    assert found is not None and re.match(f"^{says}" if says.startswith("do") else f"^.*{says}", found), found


@pytest.mark.parametrize("name", ["segments", "quantiles_2018"])
def test_what_nobody_measured_has_no_answer(name: str) -> None:
    assert worth(name, 1_000_000, 1.0) is None


def test_the_gate_of_the_gram_matrix_is_where_it_says() -> None:
    below, above = (worth("gram", 1000, mu * PlanConstants().gram_users_mu / 1000) for mu in (0.999, 1.0))
    assert below is not None and above is not None
    assert below.startswith("do not") and not above.startswith("do not")


def test_the_default_plan_buys_something_with_every_slot_at_the_embedded_shop_s_size() -> None:
    plan = default_plan(4, 1 / (100 * 2469), 2469)
    for slot, event in zip(plan.slots, plan.events().values(), strict=True):
        said = worth(slot.name, plan.declared_users, event.mu)
        assert said is not None and not said.startswith("do not"), slot.name


def test_noise_is_told_in_the_units_of_what_is_summed() -> None:
    slots = (
        Slot(name="counts", mechanism="discrete_gaussian", share=0.5, bound=3),
        Slot(name="steps", mechanism="gaussian", share=0.25, bound=0.5, steps=16),
        Slot(name="sampled", mechanism="poisson_gaussian", share=0.25, bound=2, steps=4, sample_rate=0.5),
    )
    events = PrivacyPlan(epsilon=1, delta=1e-6, declared_users=1000, slots=slots).events()
    mu = events["counts"].mu
    assert noise_of(events["counts"]) == f"{3 / mu:.4g}"
    steps = events["steps"]
    assert noise_of(steps) == f"{0.5 * 4 / steps.mu:.4g} on each of 16 sums"
    assert noise_of(events["sampled"]) == f"{2 * events['sampled'].noise_multiplier:.4g} on each of 4 sums"


@pytest.mark.parametrize(
    ("epsilon", "users", "slots"),
    [
        (4, 1, ["popularity"]),
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
    at = default_plan(4, 4e-6, 2_469).events()["gram"].mu * 2_469
    open_, shut = (PlanConstants(gram_users_mu=at * factor) for factor in (0.999, 1.001))
    assert "gram" in default_plan(4, 4e-6, 2_469, open_).events()
    assert "gram" not in default_plan(4, 4e-6, 2_469, shut).events()


def test_the_head_grows_with_the_population_within_limits() -> None:
    assert [head_size(users, 0.5) for users in (100, 2_500, 10_000, 10**6)] == [100, 100, 312, 2_000]
