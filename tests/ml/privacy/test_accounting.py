"""Costs against published and independently computed numbers; plans that must be refused."""

import json
import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ml.privacy.accounting import PrivacyPlan, Slot, compose, ledger_composer
from ml.privacy.events import DiscreteGaussianEvent, GaussianEvent, NonPrivateEvent, PoissonGaussianEvent, parse_event
from ml.privacy.gaussian import epsilon_from_mu, gaussian_delta, mu_from_epsilon

OS = "os_seeded, not cryptographic"
POISSON = PoissonGaussianEvent(sample_rate=0.0125, steps=2000, noise_multiplier=1.1, bound=1, randomness=OS)


def gaussian(noise_multiplier: float, steps: int = 1) -> GaussianEvent:
    return GaussianEvent(steps=steps, noise_multiplier=noise_multiplier, bound=1, randomness=OS)


def plan(**changes: object) -> PrivacyPlan:
    fields: dict[str, object] = {
        "epsilon": 4,
        "delta": 4e-6,
        "declared_users": 2500,
        "slots": (
            Slot(name="popularity", mechanism="discrete_gaussian", share=0.25, bound=2),
            Slot(name="ranker", mechanism="gaussian", share=0.75, bound=1, steps=36),
        ),
    }
    return PrivacyPlan.model_validate({**fields, **changes})


@pytest.mark.parametrize(("epsilon", "mu"), [(1, 0.268), (2, 0.502), (4, 0.925), (8, 1.666)])
def test_mu_at_delta_1e_5_is_the_known_one(epsilon: float, mu: float) -> None:
    assert mu_from_epsilon(epsilon, 1e-5) == pytest.approx(mu, abs=6e-4)


def test_balle_wang_delta_at_a_point_computed_by_hand() -> None:
    # delta(mu=1, epsilon=1) = Phi(-0.5) - e Phi(-1.5) = 0.30853754 - 2.71828183 * 0.06680720
    assert gaussian_delta(1, 1) == pytest.approx(0.30853754 - 2.71828183 * 0.06680720, abs=1e-7)


@given(st.floats(0.01, 60), st.floats(1e-12, 0.1))
def test_epsilon_and_mu_are_inverse(epsilon: float, delta: float) -> None:
    assert epsilon_from_mu(mu_from_epsilon(epsilon, delta), delta) == pytest.approx(epsilon, rel=1e-6)


@pytest.mark.parametrize(
    ("events", "epsilon", "epsilon_zcdp"),
    [([POISSON], 2.7675, 3.0418), ([POISSON, gaussian(20), gaussian(30), gaussian(30)], 2.7830, 3.0580)],
)
def test_sampled_composition_is_the_known_one(events: list[object], epsilon: float, epsilon_zcdp: float) -> None:
    cost = compose(events, 1e-5)
    assert cost.epsilon == pytest.approx(epsilon, abs=2e-4)
    assert cost.epsilon_zcdp == pytest.approx(epsilon_zcdp, abs=1e-3)


@settings(deadline=None, max_examples=8)
@given(st.lists(st.floats(0.05, 1.0), min_size=1, max_size=5))
def test_gaussians_compose_by_the_sum_of_mu_squared(mus: list[float]) -> None:
    events = [DiscreteGaussianEvent(sensitivity=2**20, scale=2**20 / mu, bound=1, randomness="opendp") for mu in mus]
    cost = compose(events, 1e-6)
    mu = math.sqrt(sum(mu**2 for mu in mus))
    exact = epsilon_from_mu(mu, 1e-6)
    assert cost.mu == pytest.approx(mu)
    assert exact * (1 - 1e-9) <= cost.epsilon <= exact * (1 + 1e-4)
    rho = mu**2 / 2
    assert cost.epsilon < cost.epsilon_zcdp <= rho + 2 * math.sqrt(rho * math.log(1e6))


def test_a_discrete_gaussian_costs_what_the_gaussian_of_its_ratio_costs() -> None:
    from dp_accounting.pld import privacy_loss_distribution as pld

    discrete = pld.from_discrete_gaussian_mechanism(sigma=2048, sensitivity=1024, value_discretization_interval=1e-4)
    event = DiscreteGaussianEvent(sensitivity=1024, scale=2048, bound=1, randomness="opendp")
    assert compose([event], 1e-5).epsilon == pytest.approx(discrete.get_epsilon_for_delta(1e-5), rel=1e-4)


def test_nothing_costs_nothing_and_no_noise_costs_everything() -> None:
    assert compose([], 1e-5).model_dump() == {"epsilon": 0, "epsilon_zcdp": 0, "delta": 1e-5, "mu": 0}
    assert compose([gaussian(10), NonPrivateEvent()], 1e-5).epsilon == math.inf


def test_the_ledger_composer_prices_plain_json() -> None:
    event = gaussian(2)
    document = json.loads(json.dumps(event.model_dump(mode="json")))
    assert ledger_composer(1e-5)([document]) == compose([event], 1e-5).model_dump()


@settings(deadline=None, max_examples=8)
@given(st.lists(st.floats(0.02, 1), min_size=1, max_size=12), st.sampled_from([0.5, 1, 2, 4, 8]))
def test_a_full_plan_costs_what_it_declares_and_never_more(weights: list[float], epsilon: float) -> None:
    slots = tuple(
        Slot(
            name=f"s{number}",
            mechanism="gaussian" if number % 2 else "discrete_gaussian",
            share=0.999999999 * weight / math.fsum(weights),
            bound=1,
            steps=30 if number % 2 else 1,
        )
        for number, weight in enumerate(weights)
    )
    full = plan(epsilon=epsilon, slots=slots)
    cost = compose(list(full.events().values()), full.delta)
    assert 0.9999 * epsilon <= cost.epsilon <= epsilon
    for slot, event in zip(slots, full.events().values(), strict=True):
        assert event.mu == pytest.approx(full.mu * math.sqrt(slot.share), rel=1e-5)


def test_a_plan_with_sampled_slots_keeps_the_budget_too() -> None:
    slots = (
        Slot(name="popularity", mechanism="discrete_gaussian", share=0.4, bound=2),
        Slot(name="heads", mechanism="poisson_gaussian", share=0.6, bound=1, steps=300, sample_rate=0.05),
    )
    mixed = plan(slots=slots)
    cost = compose(list(mixed.events().values()), mixed.delta)
    assert 0.99 * mixed.epsilon <= cost.epsilon <= mixed.epsilon
    assert cost.mu == pytest.approx(mixed.mu, rel=0.01)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"delta": 4.1e-6}, "above 1 / .100 x 2500 declared users"),
        (
            {"slots": [{"name": n, "mechanism": "gaussian", "share": 0.6, "bound": 1} for n in "ab"]},
            "add up to 120 percent",
        ),
        ({"slots": [{"name": "a", "mechanism": "gaussian", "share": 0.1, "bound": 1}] * 2}, "'a' stands in .* twice"),
        ({"slots": [{"name": "a", "mechanism": "laplace", "share": 0.1, "bound": 1}]}, "discrete_gaussian"),
        ({"slots": [{"name": "a", "mechanism": "poisson_gaussian", "share": 0.1, "bound": 1}]}, "sample_rate is None"),
        (
            {"slots": [{"name": "a", "mechanism": "discrete_gaussian", "share": 0.1, "bound": 1, "steps": 2}]},
            "one step",
        ),
        (
            {"slots": [{"name": "a", "mechanism": "discrete_gaussian", "share": 0.1, "bound": 1, "randomness": OS}]},
            "OpenDP's",
        ),
        (
            {"slots": [{"name": "a", "mechanism": "gram_gaussian", "share": 0.1, "bound": 1, "steps": 2}]},
            "a gram_gaussian release is one step",
        ),
        (
            {"slots": [{"name": "a", "mechanism": "gram_gaussian", "share": 0.1, "bound": 1, "sensitivity": 2**21}]},
            "not exact in float64",
        ),
        (
            {"slots": [{"name": "a", "mechanism": "exponential", "share": 0.1, "bound": 1, "randomness": OS}]},
            "exponential noise is OpenDP's",
        ),
        ({"slots": []}, "at least 1"),
        ({"epsilon": 0}, "greater than 0"),
    ],
)
def test_impossible_plans_are_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        plan(**changes)


def test_a_gradient_slot_says_where_its_noise_comes_from() -> None:
    slot = Slot(name="encoder", mechanism="gaussian", share=1, bound=1, steps=5, randomness=OS)
    assert plan(slots=(slot,)).events()["encoder"].randomness == OS
    assert plan().events()["ranker"].randomness == "opendp"


def test_the_digest_follows_every_field_and_nothing_else() -> None:
    slots = plan().slots
    assert plan().digest() == plan(slots=[slot.model_dump() for slot in slots]).digest()
    changed = [plan(epsilon=4.5), plan(delta=3e-6), plan(declared_users=2499), plan(slots=slots[::-1])]
    assert len({plan().digest(), *(other.digest() for other in changed)}) == 5


def test_the_documents_that_ledgers_were_founded_on_stay_as_they_are() -> None:
    assert plan().canonical_json() == (
        '{"declared_users":2500,"delta":4e-06,"epsilon":4.0,"slots":['
        '{"bound":2.0,"mechanism":"discrete_gaussian","name":"popularity","randomness":"opendp","sample_rate":null,'
        '"sensitivity":1048576,"share":0.25,"steps":1},'
        '{"bound":1.0,"mechanism":"gaussian","name":"ranker","randomness":"opendp","sample_rate":null,'
        '"sensitivity":1048576,"share":0.75,"steps":36}]}'
    )
    assert plan().document()["slots"] == {
        "popularity": {
            "kind": "discrete_gaussian", "sensitivity": 1048576, "scale": 2363387.0, "bound": 2.0,
            "randomness": "opendp",
        },
        "ranker": {
            "kind": "gaussian", "steps": 36, "noise_multiplier": 7.807744, "bound": 1.0, "randomness": "opendp",
        },
    }  # fmt: skip


def test_every_mechanism_has_its_part_of_the_plan() -> None:
    shares = {"popularity": 0.2, "gram": 0.3, "price_cap": 0.05, "segments": 0.15, "ranker": 0.3}
    slots = (
        Slot(name="popularity", mechanism="discrete_gaussian", share=0.2, bound=1),
        Slot(name="gram", mechanism="gram_gaussian", share=0.3, bound=0.9),
        Slot(name="price_cap", mechanism="exponential", share=0.05, bound=1),
        Slot(name="segments", mechanism="gaussian", share=0.15, bound=1.4, steps=5),
        Slot(name="ranker", mechanism="gaussian", share=0.3, bound=0.5, steps=16),
    )
    full = plan(epsilon=1, slots=slots)
    events = full.events()
    for name, share in shares.items():
        assert events[name].mu == pytest.approx(full.mu * math.sqrt(share), rel=1e-5)
        assert events[name].mu <= full.mu * math.sqrt(share)
    cost = compose(list(events.values()), full.delta)
    assert 0.99 <= cost.epsilon <= 1  # the choice is composed for a little less than its share
    assert cost.epsilon < cost.epsilon_zcdp
    gram = events["gram"]
    assert gram.off_diagonal_scale == pytest.approx(gram.diagonal_scale / math.sqrt(2), rel=1e-6)
    assert parse_event(json.loads(json.dumps(full.document()))["slots"]["gram"]) == gram


def test_importing_the_room_loads_no_heavy_library() -> None:
    code = (
        "import sys, ml.privacy.mechanisms, ml.privacy.accounting, ml.privacy.gram, ml.ranking.ease;"
        "print(sorted({'opendp', 'torch', 'opacus', 'dp_accounting', 'dagster'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
