"""The default plan: what is released, and the constants of it.

Chosen on the validation period of public benchmarks (labels of the 28 days before the test window), in git before a
shop's data is seen. Nothing here reads data: the population is declared.
"""

from pydantic import BaseModel, ConfigDict, Field

from ml.privacy.accounting import PrivacyPlan, Slot


class PlanConstants(BaseModel):
    """Bounds and shares of the default releases."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_days: int = Field(default=28, ge=1)
    """Length of one popularity window and of the ranker's label period, days."""
    popularity_share: float = Field(default=0.8, gt=0, lt=1)
    """Part of mu^2 for the popularity of the whole catalogue in two windows; the ranker has the rest."""
    popularity_bound: float = Field(default=1.0, gt=0)
    """L2 bound of one user's counts over both windows."""
    steps: int = Field(default=16, ge=1)
    """Full-batch gradient steps of the ranker."""
    max_grad_norm: float = Field(default=0.5, gt=0)
    """Clip norm of one user's gradient over both heads."""
    learning_rate: float = Field(default=2.0, gt=0)
    """Step size on the mean gradient."""


def default_plan(
    epsilon: float, delta: float, declared_users: int, constants: PlanConstants | None = None
) -> PrivacyPlan:
    """The plan of one release for a declared population.

    >>> plan = default_plan(4, 4e-6, 2469)
    >>> [(slot.name, round(slot.share, 2)) for slot in plan.slots]
    [('popularity', 0.8), ('ranker', 0.2)]

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
    constants = constants or PlanConstants()
    popularity = Slot(
        name="popularity",
        mechanism="discrete_gaussian",
        share=constants.popularity_share,
        bound=constants.popularity_bound,
    )
    ranker = Slot(
        name="ranker",
        mechanism="gaussian",
        share=1 - constants.popularity_share,
        bound=constants.max_grad_norm,
        steps=constants.steps,
    )
    return PrivacyPlan(epsilon=epsilon, delta=delta, declared_users=declared_users, slots=(popularity, ranker))
