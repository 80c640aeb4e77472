"""What a sequence of mechanism events costs, and the plan that fixes every event before data is read.

Three numbers stand side by side: `epsilon` from privacy loss distributions (numerical and tight), `epsilon_zcdp` from
Renyi orders (proven and looser), and `mu`, in which the plan is drawn up because squares of mu simply add.
dp_accounting is imported when a cost is computed, not when this module is.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.optimize import brentq
from scipy.special import log_ndtr

from ml.privacy.events import (
    MIN_SENSITIVITY,
    DiscreteGaussianEvent,
    GaussianEvent,
    MechanismEvent,
    NonPrivateEvent,
    PoissonGaussianEvent,
    PrivateEvent,
    parse_event,
)

UNIT: Final = "all rows of one user id, add or remove one user"
"""The privacy unit and the neighbouring relation of every plan."""

_SLACK: Final = 1e-6
"""Relative surplus of planned noise: it pays for the pessimistic rounding of numerical composition."""


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


class Cost(BaseModel):
    """What a sequence of events costs together, at one delta."""

    model_config = ConfigDict(frozen=True)

    epsilon: float
    """Composed by privacy loss distributions: numerical, rounded towards more cost."""
    epsilon_zcdp: float
    """Composed in Renyi orders (zero-concentrated where nothing is sampled): proven, never smaller than the truth."""
    delta: float
    """The delta at which both hold."""
    mu: float
    """Root of the sum of mu^2; with sampled events among them, the mu that has the same epsilon at this delta."""


def to_dp_event(event: MechanismEvent) -> Any:
    """Translate an event into dp_accounting's vocabulary (whose objects do not survive JSON, hence our own).

    A discrete Gaussian enters as a Gaussian of the same ratio: from 2^10 units on the two differ by far less than the
    rounding of the composition. The proven figure does not rest on this, see `compose`.

    Args:
        event: any event.

    Returns:
        A `dp_accounting.DpEvent`.
    """
    import dp_accounting as dpa

    if isinstance(event, DiscreteGaussianEvent):
        return dpa.GaussianDpEvent(event.scale / event.sensitivity)
    if isinstance(event, GaussianEvent):
        return dpa.SelfComposedDpEvent(dpa.GaussianDpEvent(event.noise_multiplier), event.steps)
    if isinstance(event, PoissonGaussianEvent):
        one_step = dpa.PoissonSampledDpEvent(event.sample_rate, dpa.GaussianDpEvent(event.noise_multiplier))
        return dpa.SelfComposedDpEvent(one_step, event.steps)
    return dpa.NonPrivateDpEvent()


def _renyi_epsilon(events: Sequence[MechanismEvent], delta: float) -> float:
    """Proven epsilon: zero-concentrated where nothing is sampled, Mironov et al. (2019) where it is."""
    import dp_accounting as dpa
    from dp_accounting import rdp

    orders = np.concatenate([np.arange(1.25, 11, 0.25), np.unique(np.geomspace(11, 2_000, 100).astype(int))])
    accountant = rdp.RdpAccountant(orders)
    for event in events:
        accountant.compose(to_dp_event(event) if isinstance(event, PoissonGaussianEvent) else dpa.ZCDpEvent(event.rho))
    return float(accountant.get_epsilon(delta))


def compose(events: Sequence[MechanismEvent], delta: float, *, interval: float = 1e-4) -> Cost:
    """Compose events whose parameters were all fixed beforehand (a plan): PLD needs exactly that.

    Args:
        events: any number of events; none costs nothing.
        delta: in (0, 1).
        interval: discretisation of the privacy loss; smaller is tighter and slower.

    Returns:
        The cost; all infinite if any event is `NonPrivateEvent`.

    Source: Koskela et al. (AISTATS 2020) for PLD; Canonne, Kamath, Steinke (2020), Proposition 12 for the conversion.
    """
    if any(isinstance(event, NonPrivateEvent) for event in events):
        return Cost(epsilon=math.inf, epsilon_zcdp=math.inf, delta=delta, mu=math.inf)
    if not events:
        return Cost(epsilon=0.0, epsilon_zcdp=0.0, delta=delta, mu=0.0)
    from dp_accounting import pld

    accountant = pld.PLDAccountant(value_discretization_interval=interval)
    for event in events:
        accountant.compose(to_dp_event(event))
    epsilon = float(accountant.get_epsilon(delta))
    unsampled = [event for event in events if not isinstance(event, PoissonGaussianEvent)]
    if len(unsampled) == len(events):
        mu = math.sqrt(math.fsum(event.mu**2 for event in unsampled))
    else:
        mu = mu_from_epsilon(epsilon, delta) if epsilon > 0 else 0.0
    return Cost(epsilon=epsilon, epsilon_zcdp=_renyi_epsilon(events, delta), delta=delta, mu=mu)


def ledger_composer(delta: float) -> Callable[[Sequence[Mapping[str, Any]]], dict[str, float]]:
    """The composition as a ledger calls it: events as plain JSON in, plain numbers out.

    Args:
        delta: the plan's delta.

    Returns:
        A function from event documents to `{"epsilon", "epsilon_zcdp", "delta", "mu"}`.
    """

    def composed(documents: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        return compose([parse_event(document) for document in documents], delta).model_dump()

    return composed


class Slot(BaseModel):
    """One release that a plan allows, once."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Unique name, such as `popularity` or `ranker_2018_01`."""
    mechanism: Literal["discrete_gaussian", "gaussian", "poisson_gaussian"]
    """Kind of the event."""
    share: float = Field(gt=0, le=1)
    """Part of the plan's mu^2."""
    bound: float = Field(gt=0)
    """Clip norm C of one user's contribution, in the units of what is summed."""
    sensitivity: int = Field(default=2**20, ge=MIN_SENSITIVITY, lt=2**31)
    """Discrete Gaussian only: integer units that C is cut into. Truncation loses less than one unit a cell."""
    steps: int = Field(default=1, ge=1)
    """Gradient mechanisms only: how many noisy sums are taken."""
    sample_rate: float | None = Field(default=None, gt=0, le=1)
    """Poisson sampling only: the probability of a user entering a step."""
    randomness: Literal["opendp", "os_seeded, not cryptographic"] = "opendp"
    """Source of the noise; OpenDP below 1e5 parameters, a generator seeded by the operating system above."""

    @model_validator(mode="after")
    def _check_fields_fit_mechanism(self) -> "Slot":
        if (self.sample_rate is not None) != (self.mechanism == "poisson_gaussian"):
            raise ValueError(
                f"slot {self.name!r}: sample_rate is {self.sample_rate} but the mechanism is {self.mechanism!r}; "
                "give a sample_rate to poisson_gaussian and to nothing else"
            )
        if self.mechanism == "discrete_gaussian" and self.steps != 1:
            raise ValueError(f"slot {self.name!r}: a discrete_gaussian release is one step, not {self.steps}")
        if self.mechanism == "discrete_gaussian" and self.randomness != "opendp":
            raise ValueError(f"slot {self.name!r}: discrete_gaussian noise is OpenDP's, not {self.randomness!r}")
        return self


class PrivacyPlan(BaseModel):
    """Everything that may ever be learnt across users, fixed before data is read. A ledger's row 0.

    >>> plan = PrivacyPlan(epsilon=4, delta=4e-6, declared_users=2500, slots=(
    ...     Slot(name="popularity", mechanism="discrete_gaussian", share=0.25, bound=2.0),
    ...     Slot(name="ranker", mechanism="gaussian", share=0.75, bound=1.0, steps=36)))
    >>> round(plan.mu, 4), [round(event.mu, 4) for event in plan.events().values()]
    (0.8874, [0.4437, 0.7685])
    >>> compose(list(plan.events().values()), plan.delta).epsilon <= 4
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epsilon: float = Field(gt=0)
    """What all slots together may cost, at `delta`."""
    delta: float = Field(gt=0, lt=1)
    """At most 1 / (100 declared_users)."""
    declared_users: int = Field(ge=1)
    """Population as declared by the shop's owner, never the exact count."""
    slots: tuple[Slot, ...] = Field(min_length=1)
    """The releases."""

    @model_validator(mode="after")
    def _check_budget(self) -> "PrivacyPlan":
        limit = 1 / (100 * self.declared_users)
        if self.delta > limit * (1 + 1e-12):
            raise ValueError(
                f"delta {self.delta:g} is above 1 / (100 x {self.declared_users} declared users) = {limit:g}; "
                "lower delta in the privacy policy"
            )
        total = math.fsum(slot.share for slot in self.slots)
        if total > 1 + 1e-12:
            raise ValueError(f"the slots' shares add up to {100 * total:g} percent; lower them to at most 100")
        names = [slot.name for slot in self.slots]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"slot {twice[0]!r} stands in the plan twice; every slot needs a name of its own")
        return self

    @property
    def mu(self) -> float:
        """Gaussian differential privacy parameter of the whole plan."""
        return mu_from_epsilon(self.epsilon, self.delta)

    def canonical_json(self) -> str:
        """The plan as declared: sorted keys, no spaces, so that equal plans give equal bytes."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)

    def digest(self) -> str:
        """SHA-256 of `canonical_json`, 64 hexadecimal digits."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()

    def events(self) -> dict[str, PrivateEvent]:
        """The event each slot is allowed, by slot name: noise calibrated so that all together cost `epsilon`."""
        return dict(_calibrated(self))

    def document(self) -> dict[str, Any]:
        """What a ledger stores as row 0: the declared plan, its unit and limits, and every slot's event."""
        return {
            "plan": self.model_dump(mode="json"),
            "unit": UNIT,
            "epsilon": self.epsilon,
            "delta": self.delta,
            "slots": {name: event.model_dump(mode="json") for name, event in self.events().items()},
        }


def _rounded_up(noise: float) -> float:
    """Noise with six decimals, never less than asked, so that a ledger row reads well."""
    return math.ceil(noise * (1 + _SLACK) * 1e6) / 1e6


def _gaussian_slot(slot: Slot, mu: float) -> DiscreteGaussianEvent | GaussianEvent:
    """The event of an unsampled slot of at most `mu`."""
    if slot.mechanism == "discrete_gaussian":
        scale = float(math.ceil(slot.sensitivity / mu * (1 + _SLACK)))
        return DiscreteGaussianEvent(sensitivity=slot.sensitivity, scale=scale, bound=slot.bound, randomness="opendp")
    return GaussianEvent(
        steps=slot.steps,
        noise_multiplier=_rounded_up(math.sqrt(slot.steps) / mu),
        bound=slot.bound,
        randomness=slot.randomness,
    )


def _poisson_slot(slot: Slot, mu: float, factor: float) -> PoissonGaussianEvent:
    """The event of a sampled slot: `factor` times the noise that would be right if it were very large."""
    assert slot.sample_rate is not None  # by the slot's own validator
    return PoissonGaussianEvent(
        sample_rate=slot.sample_rate,
        steps=slot.steps,
        noise_multiplier=_rounded_up(factor * slot.sample_rate * math.sqrt(slot.steps) / mu),
        bound=slot.bound,
        randomness=slot.randomness,
    )


@lru_cache(maxsize=64)
def _calibrated(plan: PrivacyPlan) -> tuple[tuple[str, PrivateEvent], ...]:
    """Every slot's event, in the plan's order.

    An unsampled slot takes mu x sqrt(share), exactly. A sampled slot has no mu; it starts from the law for large noise,
    mu = sample_rate sqrt(steps) / noise_multiplier, and all sampled slots share the one smallest factor on their noise
    with which the composition of the whole plan fits what the shares add up to.
    """
    mus = {slot.name: plan.mu * math.sqrt(slot.share) for slot in plan.slots}
    if all(slot.mechanism != "poisson_gaussian" for slot in plan.slots):
        return tuple((slot.name, _gaussian_slot(slot, mus[slot.name])) for slot in plan.slots)
    import dp_accounting as dpa
    from dp_accounting import pld

    def events(factor: float) -> tuple[tuple[str, PrivateEvent], ...]:
        return tuple(
            (slot.name, _poisson_slot(slot, mus[slot.name], factor))
            if slot.mechanism == "poisson_gaussian"
            else (slot.name, _gaussian_slot(slot, mus[slot.name]))
            for slot in plan.slots
        )

    factor = dpa.calibrate_dp_mechanism(
        lambda: pld.PLDAccountant(value_discretization_interval=1e-3),  # coarse is quick, and errs towards noise
        lambda factor: dpa.ComposedDpEvent([to_dp_event(event) for _, event in events(factor)]),
        epsilon_from_mu(math.sqrt(math.fsum(mu**2 for mu in mus.values())), plan.delta),
        plan.delta,
        dpa.LowerEndpointAndGuess(0.5, 2.0),
        tol=1e-5,
    )
    return events(float(factor))
