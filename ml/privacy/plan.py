"""The default plan: what is released, the constants of it, and what a release buys at which size.

Chosen on the validation period of public benchmarks (labels of the 28 days before the test window), in git before a
shop's data is seen. Nothing here reads data: the population is declared.
"""

import calendar
import math
import re
from datetime import date
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ml.privacy.accounting import PrivacyPlan, Slot
from ml.privacy.events import ExponentialEvent, GaussianEvent, PoissonGaussianEvent, PrivateEvent
from ml.privacy.gaussian import mu_from_epsilon

PROCESSES_GATE: Final = 100_000
"""Users from which training may be spread over processes."""

_AGAIN: Final = re.compile(r"_(\d+|w\d+)(_\d+)*$")
"""The ending of a slot that releases something once more: `ranker_2018_01`, `popularity_w07`."""
_BUYS: Final = {
    "popularity": "what sells, for people without history too; at 2,469 users and epsilon 1, discovery NDCG@20 is .037 "
    "with the whole budget",
    "ranker": "the weights of the lists; at 2,469 users within .0006 NDCG@20 of weights without noise",
    "encoder": "do not: up to 100,000 users the Gram matrix with the same share does better, and beside it adapters on "
    "public item vectors add nothing",
}
_GRAM: Final = "which items go together; at 100,000 users and epsilon 1, discovery NDCG .072 against .052 of popularity"


YEAR: Final = 12
"""Monthly releases that follow the first one where the population carries them."""


class PlanConstants(BaseModel):
    """Bounds, shares and gates of the default releases.

    The gates are products of declared users and the release's own mu: noise is relative to how many contribute.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_days: int = Field(default=28, ge=1)
    """Length of one popularity window and of the ranker's label period, days."""
    popularity_bound: float = Field(default=1.0, gt=0)
    """L2 bound of one user's counts over all windows."""
    popularity_users_mu: float = Field(default=8_000.0, gt=0)
    """Popularity has no more than brings declared users x mu to this; what is over goes to the Gram matrix."""
    gram_share: float = Field(default=0.45, gt=0, lt=1)
    """Part of mu^2 for the Gram matrix, at least."""
    gram_users_mu: float = Field(default=500.0, gt=0)
    """The Gram matrix is released from so many declared users x mu on."""
    monthly_users_mu: float = Field(default=5_000.0, gt=0)
    """A year of monthly releases is planned where the Gram matrix of each has so many declared users x mu: with a third
    of it, noise cost discovery more than a year's age."""
    gram_sensitivity: int = Field(default=2**15, ge=2**10)
    """Whole units of a user's row in the Gram matrix: their products stay exact for any number of users."""
    ranker_share: float = Field(default=0.15, gt=0, lt=1)
    """Part of mu^2 for the ranker; popularity has what the other releases leave."""
    ranker_users_mu: float = Field(default=600.0, gt=0)
    """The ranker is trained from so many declared users x mu on; below, its public prior ranks, and popularity is
    counted in one window of twice the length, which halves its noise."""
    ranker_users: int = Field(default=5_000, ge=1)
    """At least about so many users train the ranker where the population has them, and as many as bring users x mu to
    twice its gate: a few weights need no more, and memory stays bounded."""
    steps: int = Field(default=32, ge=1)
    """Full-batch gradient steps of the ranker."""
    max_grad_norm: float = Field(default=2.0, gt=0)
    """Clip norm of one user's gradient over both heads, in the coordinates of `ml.ranking.coordinates`."""
    learning_rate: float = Field(default=3.0, gt=0)
    """Step size on the mean gradient in these coordinates; no benchmark's loss is curved by more than .55 there, and
    steps of less than 2 over the curvature do not swing."""


def has_ranker(plan: PrivacyPlan) -> bool:
    """Whether the plan trains a ranker; then popularity has two windows, one before its labels and one up to date."""
    return any(slot.name == "ranker" for slot in plan.slots)


def head_size(declared_users: int, mu: float) -> int:
    """How many items the Gram matrix is released for: more cells only where the population outweighs their noise.

    Args:
        declared_users: the publicly declared number of users.
        mu: of the Gram matrix's slot.

    Returns:
        In [100, 2000].
    """
    return int(np.clip(declared_users * mu / 16, 100, 2000))


def months_after(first: date, months: int) -> date:
    """The same day of a later month, or that month's last day where it is shorter.

    >>> months_after(date(2023, 12, 31), 2)
    datetime.date(2024, 2, 29)

    Args:
        first: a day.
        months: at least 0.
    """
    year, month = divmod(first.year * 12 + first.month - 1 + months, 12)
    return date(year, month + 1, min(first.day, calendar.monthrange(year, month + 1)[1]))


def due_days(plan: PrivacyPlan) -> tuple[date, ...]:
    """The days on which releases of a plan fall due, ascending; none for a plan of one release."""
    return tuple(sorted({slot.due for slot in plan.slots if slot.due}))


def slots_by_kind(plan: PrivacyPlan) -> dict[str, list[Slot]]:
    """The slots that release the same thing, by the name of the first of them, in the plan's order."""
    found: dict[str, list[Slot]] = {}
    for slot in plan.slots:
        found.setdefault(_AGAIN.sub("", slot.name) if slot.due else slot.name, []).append(slot)
    return found


def slot_due(plan: PrivacyPlan, first: str, day: date) -> str:
    """The slot that releases something from the days before one that is due; the only slot of it otherwise.

    Args:
        plan: the plan.
        first: the name of the first slot of its kind, such as `gram`.
        day: a due day.
    """
    return next((slot.name for slot in slots_by_kind(plan).get(first, []) if slot.due == day), first)


def ranker_users(declared_users: int, mu: float, constants: PlanConstants | None = None) -> int:
    """About how many users train the ranker; each enters with the same probability, whoever else there is.

    >>> ranker_users(2469, 0.34), ranker_users(100_000, 0.08), ranker_users(1_000_000, 0.28)
    (2469, 15000, 5000)

    Args:
        declared_users: the publicly declared number of users.
        mu: of the ranker's slot; inf for a twin without noise.
        constants: the least number, and the gate.

    Returns:
        At most `declared_users`.
    """
    c = constants or PlanConstants()
    return min(declared_users, max(c.ranker_users, math.ceil(2 * c.ranker_users_mu / mu)))


def default_plan(
    epsilon: float,
    delta: float,
    declared_users: int,
    constants: PlanConstants | None = None,
    *,
    first_due: date | None = None,
    monthly: int | None = None,
) -> PrivacyPlan:
    """The plan for a declared population: one release, and a year of monthly ones where the population carries them.

    Every release of a year has an equal share of mu^2, and the year a gate of its own. Slots, days and noise are fixed
    before data is read, so that they compose as one plan.

    >>> [(slot.name, round(slot.share, 2)) for slot in default_plan(4, 4e-6, 2469).slots]
    [('popularity', 0.4), ('gram', 0.45), ('ranker', 0.15)]
    >>> [(slot.name, round(slot.share, 2)) for slot in default_plan(2, 4e-6, 2469).slots]
    [('popularity', 0.55), ('gram', 0.45)]
    >>> [(slot.name, round(slot.share, 2)) for slot in default_plan(1, 4e-6, 2469).slots]
    [('popularity', 1.0)]
    >>> [len(due_days(default_plan(4, 1e-7, users, first_due=date(2018, 1, 31)))) for users in (2469, 100_000)]
    [0, 13]
    >>> [(slot.name, round(slot.share, 2)) for slot in default_plan(1, 1e-7, 100_000).slots]
    [('popularity', 0.14), ('gram', 0.71), ('ranker', 0.15)]

    Args:
        epsilon: for the lifetime of the ledger.
        delta: at most 1 / (100 declared_users).
        declared_users: the publicly declared number of users.
        constants: bounds and shares.
        first_due: the day before which the first release ends; None: no later release can have a day of its own.
        monthly: releases after the first; None: `YEAR` where the population carries them, else none.

    Returns:
        The plan; its slots use up the whole budget.

    Raises:
        ValueError: if delta exceeds its bound.
    """
    c = constants or PlanConstants()
    users_mu = declared_users * mu_from_epsilon(epsilon, delta)
    if monthly is None:
        monthly = YEAR if _carries(users_mu / math.sqrt(1 + YEAR), c) else 0
    if first_due is None or monthly == 0:
        slots = _one_release(users_mu, c)
    else:
        one = _one_release(users_mu / math.sqrt(1 + monthly), c)
        dues = [months_after(first_due, n) for n in range(1 + monthly)]
        slots = [
            slot.model_copy(
                update={
                    "name": slot.name if day == first_due else f"{slot.name}_{day:%Y_%m}",
                    "due": day,
                    "share": slot.share / (1 + monthly),
                }
            )
            for day in dues
            for slot in one
        ]
    return PrivacyPlan(epsilon=epsilon, delta=delta, declared_users=declared_users, slots=tuple(slots))


def _carries(users_mu: float, c: PlanConstants) -> bool:
    """Whether each release of a year has enough with so many users x mu."""
    return users_mu * math.sqrt(c.gram_share) >= c.monthly_users_mu


def _one_release(users_mu: float, c: PlanConstants) -> list[Slot]:
    """The slots of one release that has users x mu for itself; shares add up to 1."""
    trains = users_mu * math.sqrt(c.ranker_share) >= c.ranker_users_mu
    later: list[Slot] = []
    if users_mu * math.sqrt(c.gram_share) >= c.gram_users_mu:
        units = c.gram_sensitivity
        rest = 1 - c.ranker_share * trains - (c.popularity_users_mu / users_mu) ** 2
        share = max(c.gram_share, rest)
        later.append(Slot(name="gram", mechanism="gram_gaussian", share=share, bound=1.0, sensitivity=units))
    if trains:
        ranker = {"mechanism": "gaussian", "share": c.ranker_share, "bound": c.max_grad_norm, "steps": c.steps}
        later.append(Slot.model_validate({"name": "ranker", **ranker}))
    popularity = Slot(
        name="popularity",
        mechanism="discrete_gaussian",
        share=1 - sum(slot.share for slot in later),
        bound=c.popularity_bound,
    )
    return [popularity, *later]


def worth(slot_name: str, declared_users: int, mu: float) -> str | None:
    """What a release buys at a population, as far as it was measured on public and synthetic data.

    >>> worth("gram", 2469, 0.15)
    'do not: users x mu is 370, below about 500; popularity, own history and content do as well'
    >>> worth("gram", 100_000, 0.214)
    'which items go together; at 100,000 users and epsilon 1, discovery NDCG .072 against .052 of popularity'
    >>> worth("ranker_w07", 2469, 0.268 / 52**0.5)
    'do not: users x mu is 92, below about 500; profiles and lists follow new events without a release'

    Args:
        slot_name: name of the slot; a number at its end says that it releases something once more.
        declared_users: the publicly declared number of users.
        mu: Gaussian differential privacy parameter of this release alone.

    Returns:
        One phrase, beginning with `do not` where the release is not worth its budget; None where nothing was measured.
        For a repeated release the gate is the Gram matrix's: none of its own was measured.
    """
    first = _AGAIN.sub("", slot_name)
    power, gate = declared_users * mu, PlanConstants().gram_users_mu
    short = f"do not: users x mu is {power:,.0f}, below about {gate:,.0f}"
    if first != slot_name and power < gate:
        return f"{short}; profiles and lists follow new events without a release"
    if {"gram", "ease"} & set(first.split("_")):
        return _GRAM if power >= gate else f"{short}; popularity, own history and content do as well"
    return _BUYS.get(first)


def noise_of(event: PrivateEvent) -> str:
    """The noise of a release in its own units, in words.

    >>> noise_of(GaussianEvent(steps=16, noise_multiplier=10, bound=0.5, randomness="opendp"))
    '5 on each of 16 sums'

    Args:
        event: what the plan allows.

    Returns:
        The standard deviation on every cell, in the units of what is summed; of a selection the scale of its noise.
    """
    if isinstance(event, GaussianEvent | PoissonGaussianEvent):
        return f"{event.noise_multiplier * event.bound:.4g} on each of {event.steps} sums"
    if isinstance(event, ExponentialEvent):
        return f"{event.scale * event.bound / event.sensitivity:.4g}"
    return f"{event.noise_std:.4g}"
