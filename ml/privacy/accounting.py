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
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ml.privacy.events import MechanismEvent, NonPrivateEvent, PoissonGaussianEvent, PrivateEvent, parse_event
from ml.privacy.gaussian import mu_from_epsilon
from ml.privacy.losses import composed_loss
from ml.privacy.slots import Slot as Slot
from ml.privacy.slots import calibrated

UNIT: Final = "all rows of one user id, add or remove one user"
"""The privacy unit and the neighbouring relation of every plan."""


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


def _renyi_epsilon(events: Sequence[MechanismEvent], delta: float) -> float:
    """Proven epsilon: zero-concentrated where nothing is sampled, Mironov et al. (2019) where it is."""
    import dp_accounting as dpa
    from dp_accounting import rdp

    orders = np.concatenate([np.arange(1.25, 11, 0.25), np.unique(np.geomspace(11, 2_000, 100).astype(int))])
    accountant = rdp.RdpAccountant(orders)
    for event in events:
        if isinstance(event, PoissonGaussianEvent):
            one_step = dpa.PoissonSampledDpEvent(event.sample_rate, dpa.GaussianDpEvent(event.noise_multiplier))
            accountant.compose(one_step, event.steps)
        else:
            accountant.compose(dpa.ZCDpEvent(event.rho))
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
    return _composed(tuple(events), delta, interval)


@lru_cache(maxsize=256)
def _composed(events: tuple[MechanismEvent, ...], delta: float, interval: float) -> Cost:
    """See `compose`; remembered, for a run asks for the same few sums again and again, a second each."""
    private = [event for event in events if not isinstance(event, NonPrivateEvent)]
    if len(private) < len(events):
        return Cost(epsilon=math.inf, epsilon_zcdp=math.inf, delta=delta, mu=math.inf)
    if not events:
        return Cost(epsilon=0.0, epsilon_zcdp=0.0, delta=delta, mu=0.0)
    epsilon = float(composed_loss(private, interval).get_epsilon_for_delta(delta))
    unsampled = [event for event in private if not isinstance(event, PoissonGaussianEvent)]
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
        return dict(_events(self))

    def document(self) -> dict[str, Any]:
        """What a ledger stores as row 0: the declared plan, its unit and limits, and every slot's event."""
        return {
            "plan": self.model_dump(mode="json"),
            "unit": UNIT,
            "epsilon": self.epsilon,
            "delta": self.delta,
            "slots": {name: event.model_dump(mode="json") for name, event in self.events().items()},
        }


@lru_cache(maxsize=64)
def _events(plan: PrivacyPlan) -> tuple[tuple[str, PrivateEvent], ...]:
    """Every slot's event, calibrated once a plan."""
    return calibrated(plan.slots, plan.mu, plan.delta)
