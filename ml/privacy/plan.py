"""The default plan: what is released, and the constants of it.

Chosen on the validation period of public benchmarks (labels of the 28 days before the test window), in git before a
shop's data is seen. Nothing here reads data: the population is declared.
"""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ml.privacy.accounting import PrivacyPlan, Slot
from ml.privacy.gaussian import mu_from_epsilon


class PlanConstants(BaseModel):
    """Bounds, shares and gates of the default releases.

    The gates are products of declared users and mu of the whole plan: noise is relative to how many contribute.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_days: int = Field(default=28, ge=1)
    """Length of one popularity window and of the ranker's label period, days."""
    popularity_bound: float = Field(default=1.0, gt=0)
    """L2 bound of one user's counts over all windows."""
    gram_share: float = Field(default=0.45, gt=0, lt=1)
    """Part of mu^2 for the Gram matrix."""
    gram_users_mu: float = Field(default=800.0, gt=0)
    """The Gram matrix is released from so many declared users x mu on."""
    gram_sensitivity: int = Field(default=2**15, ge=2**10)
    """Whole units of a user's row in the Gram matrix: their products stay exact for any number of users."""
    ranker_share: float = Field(default=0.15, gt=0, lt=1)
    """Part of mu^2 for the ranker; popularity has what the other releases leave."""
    ranker_users_mu: float = Field(default=1500.0, gt=0)
    """The ranker is trained from so many declared users x mu on; below, its public prior ranks, and popularity is
    counted in one window of twice the length, which halves its noise."""
    steps: int = Field(default=16, ge=1)
    """Full-batch gradient steps of the ranker."""
    max_grad_norm: float = Field(default=0.5, gt=0)
    """Clip norm of one user's gradient over both heads."""
    learning_rate: float = Field(default=2.0, gt=0)
    """Step size on the mean gradient."""


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
    return int(np.clip(declared_users * mu / 5, 100, 2000))


def default_plan(
    epsilon: float, delta: float, declared_users: int, constants: PlanConstants | None = None
) -> PrivacyPlan:
    """The plan of one release for a declared population.

    >>> [(slot.name, round(slot.share, 2)) for slot in default_plan(4, 4e-6, 2469).slots]
    [('popularity', 0.4), ('gram', 0.45), ('ranker', 0.15)]
    >>> [(slot.name, round(slot.share, 2)) for slot in default_plan(2, 4e-6, 2469).slots]
    [('popularity', 0.55), ('gram', 0.45)]
    >>> [(slot.name, round(slot.share, 2)) for slot in default_plan(1, 4e-6, 2469).slots]
    [('popularity', 1.0)]

    Args:
        epsilon: for the lifetime of the ledger.
        delta: at most 1 / (100 declared_users).
        declared_users: the publicly declared number of users.
        constants: bounds and shares.

    Returns:
        The plan; its slots use up the whole budget.

    Raises:
        ValueError: if delta exceeds its bound.
    """
    c = constants or PlanConstants()
    users_mu = declared_users * mu_from_epsilon(epsilon, delta)
    later: list[Slot] = []
    if users_mu >= c.gram_users_mu:
        units = c.gram_sensitivity
        later.append(Slot(name="gram", mechanism="gram_gaussian", share=c.gram_share, bound=1.0, sensitivity=units))
    if users_mu >= c.ranker_users_mu:
        ranker = {"mechanism": "gaussian", "share": c.ranker_share, "bound": c.max_grad_norm, "steps": c.steps}
        later.append(Slot.model_validate({"name": "ranker", **ranker}))
    popularity = Slot(
        name="popularity",
        mechanism="discrete_gaussian",
        share=1 - sum(slot.share for slot in later),
        bound=c.popularity_bound,
    )
    return PrivacyPlan(epsilon=epsilon, delta=delta, declared_users=declared_users, slots=(popularity, *later))
