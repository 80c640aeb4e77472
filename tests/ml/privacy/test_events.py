"""Events survive JSON, compare by value, and cannot be changed or made up."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import norm

from ml.privacy.events import (
    DiscreteGaussianEvent,
    ExponentialEvent,
    GaussianEvent,
    GramGaussianEvent,
    MechanismEvent,
    NonPrivateEvent,
    PoissonGaussianEvent,
    gradient_event,
    parse_event,
)
from ml.privacy.gaussian import bounded_range_from_mu, mu_of_bounded_range

positive = st.floats(1e-6, 1e12)
randomness = st.sampled_from(["opendp", "os_seeded, not cryptographic", "seeded: not private"])
any_event = st.one_of(
    st.builds(
        DiscreteGaussianEvent,
        sensitivity=st.integers(2**10, 2**31 - 1),
        scale=positive,
        bound=positive,
        randomness=randomness,
    ),
    st.builds(
        GaussianEvent, steps=st.integers(1, 10**6), noise_multiplier=positive, bound=positive, randomness=randomness
    ),
    st.builds(
        PoissonGaussianEvent,
        sample_rate=st.floats(1e-9, 1),
        steps=st.integers(1, 10**6),
        noise_multiplier=positive,
        bound=positive,
        randomness=randomness,
    ),
    st.builds(
        GramGaussianEvent,
        sensitivity=st.integers(2**10, 2**20),
        diagonal_scale=positive,
        off_diagonal_scale=positive,
        bound=positive,
        randomness=randomness,
    ),
    st.builds(
        ExponentialEvent,
        sensitivity=st.integers(2**10, 2**20),
        scale=st.floats(2**17, 1e12),
        bound=positive,
        randomness=randomness,
    ),
    st.just(NonPrivateEvent()),
)


@given(any_event)
def test_events_survive_json(event: MechanismEvent) -> None:
    assert parse_event(json.loads(json.dumps(event.model_dump(mode="json")))) == event


def test_mu_and_rho_are_those_of_the_papers() -> None:
    discrete = DiscreteGaussianEvent(sensitivity=2**20, scale=2.0**22, bound=1.5, randomness="opendp")
    assert (discrete.mu, discrete.rho, discrete.noise_std) == (0.25, 0.03125, 6.0)
    steps = GaussianEvent(steps=100, noise_multiplier=20.0, bound=1, randomness="os_seeded, not cryptographic")
    assert (steps.mu, steps.rho) == (0.5, 0.125)
    assert NonPrivateEvent().mu == math.inf


def test_mu_of_a_choice_is_dominated_by_no_pair_of_its_range() -> None:
    for epsilon in (0.01, 0.1, 0.5, 1.0, 3.0, 8.0, 16.0):
        mu = mu_of_bounded_range(epsilon)
        loss = epsilon * np.linspace(0.0005, 0.9995, 2001)  # the larger of the two losses; the other is epsilon below
        out = np.expm1(epsilon - loss) / np.expm1(epsilon) * np.exp(loss)
        vertex = norm.ppf(out) - norm.ppf(out * np.exp(-loss))
        assert vertex.max() <= mu * (1 + 1e-9)
        assert vertex[1000] == pytest.approx(mu)
        assert bounded_range_from_mu(mu) == pytest.approx(epsilon)
    with pytest.raises(ValidationError, match="above 16"):
        ExponentialEvent(sensitivity=1700, scale=100, bound=1, randomness="opendp")


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "laplace"},
        {"scale": 0},
        {"scale": float("nan")},
        {"sensitivity": 1023},
        {"sensitivity": 1024.5},
        {"randomness": "dice"},
        {"seed": 1},
    ],
)
def test_events_out_of_the_schema_are_refused(change: dict[str, object]) -> None:
    good = {"kind": "discrete_gaussian", "sensitivity": 1024, "scale": 1.0, "bound": 1.0, "randomness": "opendp"}
    assert parse_event(good).kind == "discrete_gaussian"
    with pytest.raises(ValidationError):
        parse_event({**good, **change})


def test_events_are_frozen() -> None:
    event = GaussianEvent(steps=1, noise_multiplier=1, bound=1, randomness="opendp")
    with pytest.raises(ValidationError, match="frozen"):
        event.steps = 2


@pytest.mark.parametrize(
    ("noise_multiplier", "sample_rate", "kind"),
    [(2.0, 1.0, "gaussian"), (2.0, 0.1, "poisson_gaussian"), (0.0, 1.0, "none"), (0.0, 0.1, "none")],
)
def test_a_training_reports_the_event_that_ran(noise_multiplier: float, sample_rate: float, kind: str) -> None:
    ran = {"noise_multiplier": noise_multiplier, "steps": 3, "sample_rate": sample_rate}
    event = gradient_event(**ran, bound=1.0, randomness="opendp")
    assert event.kind == kind
    reported = event.model_dump()
    assert all(reported[name] == value for name, value in ran.items() if name in reported)
    assert event.kind == "none" or reported["steps"] == 3
