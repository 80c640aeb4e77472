"""The default plan: which releases a shop's population carries, and their constants.

Chosen on the validation period of public benchmarks (labels of the 28 days before the test window), in git before a
shop's data is seen. Nothing here reads data: the population is declared.
"""

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from ml.privacy.accounting import PrivacyPlan, Slot, mu_from_epsilon

GRAM_UNITS: Final = 2**14
"""Integer norm S of a bounded head row; n S^2 stays below 2^53 up to 33 million users."""

MIN_USERS_TIMES_MU: Final = 1000.0
"""Below this the head's Gram matrix drowns in its noise: popularity, personal and content signals do better."""


class PlanConstants(BaseModel):
    """Bounds and shares of the default releases."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_days: int = Field(default=28, ge=1)
    """Length of one popularity window and of the ranker's label period, days."""
    popularity_share: float = Field(default=0.3, gt=0, lt=1)
    """Part of mu^2 for the popularity of the whole catalogue in two windows."""
    popularity_bound: float = Field(default=4.0, gt=0)
    """L2 bound of one user's counts over both windows."""
    gram_share: float = Field(default=0.5, gt=0, lt=1)
    """Part of mu^2 for the head's Gram matrix, where the population carries it; else the ranker has it."""
    steps: int = Field(default=40, ge=1)
    """Full-batch gradient steps of the ranker."""
    max_grad_norm: float = Field(default=0.5, gt=0)
    """Clip norm of one user's gradient over both heads."""
    learning_rate: float = Field(default=2.0, gt=0)
    """Step size on the mean gradient."""


def default_plan(
    epsilon: float, delta: float, declared_users: int, constants: PlanConstants | None = None
) -> PrivacyPlan:
    """The plan of one release for a declared population.

    >>> [slot.name for slot in default_plan(4, 4e-6, 2469).slots]
    ['popularity', 'gram', 'ranker']
    >>> [slot.name for slot in default_plan(1, 4e-6, 500).slots]
    ['popularity', 'ranker']

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
    has_gram = declared_users * mu_from_epsilon(epsilon, delta) >= MIN_USERS_TIMES_MU
    gram = Slot(
        name="gram",
        mechanism="discrete_gaussian",
        share=constants.gram_share,
        bound=1.0,
        sensitivity=GRAM_UNITS**2,
    )
    rest = 1 - constants.popularity_share - (constants.gram_share if has_gram else 0)
    popularity = Slot(
        name="popularity",
        mechanism="discrete_gaussian",
        share=constants.popularity_share,
        bound=constants.popularity_bound,
    )
    ranker = Slot(
        name="ranker", mechanism="gaussian", share=rest, bound=constants.max_grad_norm, steps=constants.steps
    )
    return PrivacyPlan(
        epsilon=epsilon,
        delta=delta,
        declared_users=declared_users,
        slots=(popularity, *((gram,) if has_gram else ()), ranker),
    )
