"""Slots of a plan, and how much noise each one needs: from a share of mu^2 to the event that may run."""

import math
from collections.abc import Sequence
from datetime import date
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ml.privacy.events import (
    MAX_GRAM_SENSITIVITY,
    MIN_SENSITIVITY,
    DiscreteGaussianEvent,
    ExponentialEvent,
    GaussianEvent,
    GramGaussianEvent,
    PoissonGaussianEvent,
    PrivateEvent,
)
from ml.privacy.gaussian import bounded_range_from_mu, epsilon_from_mu
from ml.privacy.losses import smallest_factor

_SLACK: Final = 1e-6
"""Relative surplus of planned noise: it pays for the pessimistic rounding of numerical composition."""

_ONE_DRAW: Final = ("discrete_gaussian", "gram_gaussian", "exponential")
"""Mechanisms that are one draw of OpenDP noise."""


class Slot(BaseModel):
    """One release that a plan allows, once."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Unique name, such as `popularity` or `ranker_2018_01`."""
    due: date | None = Field(default=None, exclude_if=lambda due: due is None)
    """The release reads the days before this one, once they have landed; None: the days that the shop file names."""
    mechanism: Literal["discrete_gaussian", "gram_gaussian", "exponential", "gaussian", "poisson_gaussian"]
    """Kind of the event: a sum or table; a Gram matrix; a quantile or selection; steps over all users (full-batch
    gradients, k-means); steps over samples of them."""
    share: float = Field(gt=0, le=1)
    """Part of the plan's mu^2."""
    bound: float = Field(gt=0)
    """Clip norm C of one user's contribution, in the units of what is summed; of a Gram matrix the norm of the user's
    vector, of a selection the range of what one user does to the scores."""
    sensitivity: int = Field(default=2**20, ge=MIN_SENSITIVITY, lt=2**31)
    """Draws of one step only: integer units that C is cut into. Truncation loses less than one unit a cell."""
    steps: int = Field(default=1, ge=1)
    """Gradients and k-means only: how many noisy sums are taken."""
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
        if self.mechanism in _ONE_DRAW and self.steps != 1:
            raise ValueError(f"slot {self.name!r}: a {self.mechanism} release is one step, not {self.steps}")
        if self.mechanism in _ONE_DRAW and self.randomness != "opendp":
            raise ValueError(f"slot {self.name!r}: {self.mechanism} noise is OpenDP's, not {self.randomness!r}")
        if self.mechanism == "gram_gaussian" and self.sensitivity > MAX_GRAM_SENSITIVITY:
            raise ValueError(
                f"slot {self.name!r}: products of {self.sensitivity} units are not exact in float64; give a "
                f"gram_gaussian at most {MAX_GRAM_SENSITIVITY}"
            )
        return self


def calibrated(slots: Sequence[Slot], mu: float, delta: float) -> tuple[tuple[str, PrivateEvent], ...]:
    """Every slot's event, in the plan's order.

    An unsampled slot takes mu x sqrt(share), exactly; of a choice it is the mu of the Gaussian that dominates it. A
    sampled slot has no mu; it starts from the law for large noise, mu = sample_rate sqrt(steps) / noise_multiplier, and
    all sampled slots share the one smallest factor on their noise with which the composition of the whole plan fits
    what the shares add up to.

    Args:
        slots: with shares that add up to at most 1.
        mu: of the whole plan.
        delta: at which sampled slots are composed.

    Returns:
        (name, event) pairs.
    """
    mus = {slot.name: mu * math.sqrt(slot.share) for slot in slots}
    if all(slot.mechanism != "poisson_gaussian" for slot in slots):
        return tuple((slot.name, _unsampled(slot, mus[slot.name])) for slot in slots)

    def events(factor: float) -> tuple[tuple[str, PrivateEvent], ...]:
        return tuple(
            (slot.name, _poisson(slot, mus[slot.name], factor))
            if slot.mechanism == "poisson_gaussian"
            else (slot.name, _unsampled(slot, mus[slot.name]))
            for slot in slots
        )

    whole = epsilon_from_mu(math.sqrt(math.fsum(mu**2 for mu in mus.values())), delta)
    return events(smallest_factor(lambda factor: [event for _, event in events(factor)], whole, delta))


def _rounded_up(noise: float) -> float:
    """Noise with six decimals, never less than asked, so that a ledger row reads well."""
    return math.ceil(noise * (1 + _SLACK) * 1e6) / 1e6


def _whole(scale: float) -> float:
    """A noise scale of whole units, never less than asked."""
    return float(math.ceil(scale * (1 + _SLACK)))


def _unsampled(slot: Slot, mu: float) -> PrivateEvent:
    """The event of an unsampled slot of at most `mu`."""
    bound, units = slot.bound, slot.sensitivity
    if slot.mechanism == "discrete_gaussian":
        return DiscreteGaussianEvent(sensitivity=units, scale=_whole(units / mu), bound=bound, randomness="opendp")
    if slot.mechanism == "gram_gaussian":
        diagonal = _whole(units**2 / mu)
        return GramGaussianEvent(
            sensitivity=units,
            diagonal_scale=diagonal,
            off_diagonal_scale=float(math.ceil(diagonal / math.sqrt(2))),
            bound=bound,
            randomness="opendp",
        )
    if slot.mechanism == "exponential":
        scale = _whole(units / bounded_range_from_mu(mu))
        return ExponentialEvent(sensitivity=units, scale=scale, bound=bound, randomness="opendp")
    return GaussianEvent(
        steps=slot.steps,
        noise_multiplier=_rounded_up(math.sqrt(slot.steps) / mu),
        bound=bound,
        randomness=slot.randomness,
    )


def _poisson(slot: Slot, mu: float, factor: float) -> PoissonGaussianEvent:
    """The event of a sampled slot: `factor` times the noise that would be right if it were very large."""
    assert slot.sample_rate is not None  # by the slot's own validator
    return PoissonGaussianEvent(
        sample_rate=slot.sample_rate,
        steps=slot.steps,
        noise_multiplier=_rounded_up(factor * slot.sample_rate * math.sqrt(slot.steps) / mu),
        bound=slot.bound,
        randomness=slot.randomness,
    )
