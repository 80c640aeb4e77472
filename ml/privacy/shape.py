"""How many users there are, as one cheap release: what gates and the bound on delta read where none is declared.

Sensitivity: a user counts 1, whatever he did; adding or removing him changes the count by 1.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from ml.privacy.bounding import bound_contributions
from ml.privacy.events import DiscreteGaussianEvent, MechanismEvent, NonPrivateEvent
from ml.privacy.gaussian import mu_from_epsilon
from ml.privacy.mechanisms import DiscreteGaussianNoise
from ml.privacy.slots import Slot

SHAPE_MU: Final = 0.02
"""What the count may cost: 0.6 percent of the mu^2 of epsilon 1 at delta 1e-5, and a standard deviation of 50 users."""

_SURE: Final = 3.0
"""Standard deviations to a side: a bound fails once in 740 releases."""


class Population(BaseModel):
    """The released number of users."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    users: int = Field(ge=0)
    """Noisy number, rounded, never negative."""
    noise_std: float = Field(ge=0)
    """Standard deviation of its noise, users; 0 for a twin."""

    @property
    def at_least(self) -> int:
        """So many there surely are: what a gate is held against, so that noise opens none."""
        return max(0, int(self.users - _SURE * self.noise_std))

    @property
    def at_most(self) -> int:
        """More there surely are not: what delta is held against. At least 1."""
        return max(1, int(np.ceil(self.users + _SURE * self.noise_std)))

    @property
    def largest_delta(self) -> float:
        """1 / (100 N) for the largest population that the release allows."""
        return 1 / (100 * self.at_most)

    def check_delta(self, delta: float) -> None:
        """Refuse a delta that is too large for this population.

        Args:
            delta: of the privacy policy.

        Raises:
            ValueError: if it exceeds `largest_delta`.
        """
        if delta > self.largest_delta * (1 + 1e-12):
            raise ValueError(
                f"delta {delta:g} is above 1 / (100 x {self.at_most} users) = {self.largest_delta:g}, the population "
                "of the shape release at its largest; lower delta in the privacy policy"
            )


@dataclass(frozen=True)
class ShapeRelease:
    """The population with the event that made it."""

    population: Population
    """What was released."""
    event: MechanismEvent
    """What ran, for the ledger."""


def shape_slot(epsilon: float, delta: float) -> Slot:
    """The slot of a plan that costs `SHAPE_MU`.

    >>> round(shape_slot(1, 1e-5).share, 4)
    0.0056

    Args:
        epsilon: of the whole plan.
        delta: of the whole plan.

    Returns:
        A slot named `shape`.

    Raises:
        ValueError: if the whole plan is worth less than this slot.
    """
    share = (SHAPE_MU / mu_from_epsilon(epsilon, delta)) ** 2
    if share > 1:
        raise ValueError(f"epsilon {epsilon} at delta {delta} is worth less than the shape release; raise epsilon")
    return Slot(name="shape", mechanism="discrete_gaussian", share=share, bound=1.0)


def release_shape(
    user_index: npt.NDArray[Any], *, planned: DiscreteGaussianEvent, non_private: bool = False
) -> ShapeRelease:
    """Release the number of users.

    Args:
        user_index: (n,) integers, any number of rows a user; a negative one is nobody.
        planned: what the plan allows; its bound is 1 user.
        non_private: leave the noise out, for a twin on a public benchmark.

    Returns:
        The population and the event read back from the noise.

    Raises:
        ValueError: if the planned bound is not 1, or the indices are no integers.
    """
    if planned.bound != 1:
        raise ValueError(
            f"the planned bound is {planned.bound:g}, but a user counts 1; plan the slot with `shape_slot`"
        )
    users = np.asarray(user_index)
    parts = bound_contributions(
        users,
        np.zeros(len(users), dtype=np.int64),
        n_cells=1,
        bound=1.0,
        sensitivity=planned.sensitivity,
        cell_cap=1.0,
    )
    if non_private:
        count = round(int(parts.total()[0]) / planned.sensitivity)
        return ShapeRelease(Population(users=count, noise_std=0.0), NonPrivateEvent())
    noise = DiscreteGaussianNoise(planned.scale)
    count = round(int(noise.add_to(parts)[0]) / planned.sensitivity)
    return ShapeRelease(Population(users=max(count, 0), noise_std=noise.event.noise_std), noise.event)
