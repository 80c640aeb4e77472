"""Noisy releases of bounded sums. The event of a release is read back from the noise that really ran.

OpenDP takes seconds to import and is imported when noise is drawn. Its noise comes from a cryptographic generator that
cannot be seeded; that is a feature.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ml.privacy.bounding import Contributions, Float64, Int64, bound_contributions
from ml.privacy.events import DiscreteGaussianEvent, GaussianEvent, MechanismEvent, NonPrivateEvent

_DRAWN_AT_ONCE: Final = 2**16
"""Cells whose noise one call of OpenDP draws, about a second; it returns Python integers, so memory follows this."""


@dataclass(frozen=True, eq=False)
class Release:
    """Released numbers with the event that made them."""

    values: Float64
    """The released numbers, in the caller's units."""
    event: MechanismEvent
    """What ran, for the ledger."""


def with_discrete_gaussian(total: Int64, scale: float, *, sensitivity: int, rho: float) -> Int64:
    """Add discrete Gaussian noise of one scale to a vector of whole numbers, if OpenDP proves what is claimed of it.

    Cells are independent, so long vectors are drawn in parts.

    Args:
        total: (n_cells,) int64.
        scale: standard deviation of the noise.
        sensitivity: an L2 norm of what one user may change in `total`.
        rho: zero-concentrated differential privacy that the caller claims at this sensitivity.

    Returns:
        (n_cells,) int64.

    Raises:
        ArithmeticError: if OpenDP proves less privacy than `rho` claims; nothing is drawn.

    Source: Canonne, Kamath, Steinke (NeurIPS 2020), Theorem 14; sampler and its proof: OpenDP `make_gaussian`.
    """
    parts = [total[start : start + _DRAWN_AT_ONCE] for start in range(0, max(len(total), 1), _DRAWN_AT_ONCE)]
    measurements = {len(part): _opendp_gaussian(len(part), scale) for part in parts}
    for measurement in measurements.values():
        proven = measurement.map(sensitivity)
        if not proven <= rho * (1 + 1e-9):
            raise ArithmeticError(f"OpenDP proves rho {proven}, the event claims {rho}; nothing is released")
    return np.concatenate([np.asarray(measurements[len(part)](part), dtype=np.int64) for part in parts])


def checked_scale(scale: float) -> float:
    """The scale of a noise.

    Raises:
        ValueError: if it is not positive and finite: OpenDP itself would take 0 as "no noise".
    """
    if not (scale > 0 and np.isfinite(scale)):
        raise ValueError(f"noise scale {scale} must be positive and finite; it comes from the plan's event")
    return float(scale)


class DiscreteGaussianNoise:
    """Discrete Gaussian noise of one scale on the sum of bounded contributions, once.

    Sensitivity: adding or removing a user changes the integer sum by that user's units, whose L2 norm over all cells
    is at most S, checked in whole numbers by `bound_contributions`. So rho = S^2 / (2 scale^2).

    Source: Canonne, Kamath, Steinke (NeurIPS 2020), Theorem 14; sampler and its proof: OpenDP `make_gaussian`.
    """

    def __init__(self, scale: float) -> None:
        """Take the scale.

        Args:
            scale: standard deviation of the noise in integer units, > 0 and finite.

        Raises:
            ValueError: if the scale is not positive and finite.
        """
        self._scale = checked_scale(scale)
        self._event: DiscreteGaussianEvent | None = None

    def add_to(self, contributions: Contributions) -> Int64:
        """Draw the noise and add it to the users' sum.

        Args:
            contributions: every user's bounded contribution.

        Returns:
            (n_cells,) int64, safe to publish at the cost of `event`.

        Raises:
            RuntimeError: if this noise was used before: a second release needs a second event.
            ArithmeticError: if OpenDP proves less privacy than the event claims.
        """
        if self._event is not None:
            raise RuntimeError("this noise was already released; a second release needs a slot and an event of its own")
        size = contributions.sensitivity
        event = DiscreteGaussianEvent(
            sensitivity=size, scale=self._scale, bound=contributions.bound, randomness="opendp"
        )
        noisy = with_discrete_gaussian(contributions.total(), self._scale, sensitivity=size, rho=event.rho)
        self._event = event
        return noisy

    @property
    def event(self) -> DiscreteGaussianEvent:
        """What ran.

        Raises:
            RuntimeError: if nothing ran yet.
        """
        if self._event is None:
            raise RuntimeError("no noise was drawn yet, so there is no event to read back; call add_to first")
        return self._event


def event_of_steps(steps: Sequence[DiscreteGaussianEvent]) -> GaussianEvent:
    """The event of several adaptive draws of one kind, read back from each of them.

    Args:
        steps: the events of the draws, in order, at least one.

    Returns:
        One event of so many steps.

    Raises:
        RuntimeError: if the draws differ: the plan allows one kind of step.
    """
    if any(step != steps[0] for step in steps):
        raise RuntimeError(f"the noise changed between steps: {sorted({step.scale for step in steps})}")
    first = steps[0]
    return GaussianEvent(
        steps=len(steps),
        noise_multiplier=first.scale / first.sensitivity,
        bound=first.bound,
        randomness=first.randomness,
    )


def _opendp_gaussian(n_cells: int, scale: float) -> Any:
    """OpenDP's measurement: discrete Gaussian noise on an int64 vector, L2 distance in whole units."""
    import opendp.prelude as dp

    dp.enable_features("contrib")
    domain = dp.vector_domain(dp.atom_domain(T="i64"), n_cells)
    return dp.m.make_gaussian(domain, dp.l2_distance(T="i64"), scale=scale)


def release_popularity(
    user_index: npt.NDArray[Any],
    item_index: npt.NDArray[Any],
    *,
    n_items: int,
    planned: DiscreteGaussianEvent,
    weight: npt.NDArray[Any] | None = None,
    window_index: npt.NDArray[Any] | None = None,
    n_windows: int = 1,
    cell_cap: float | None = None,
    non_private: bool = False,
) -> Release:
    """Release how popular every item of the public catalogue is, in every window, in one draw.

    The item universe is the whole public catalogue: items nobody bought get noise too. A second stage on a shortlist is
    another call under another slot, with `item_index` set to -1 off the (released) shortlist.

    Args:
        user_index: (n,) integers; rows with a negative user enter nothing.
        item_index: (n,) integers below n_items; rows with a negative (unknown) item are dropped.
        n_items: size of the public catalogue.
        planned: what the plan allows: clip norm, integer sensitivity and noise scale are taken from here.
        weight: (n,) what an event counts, for instance its time decay; 1 if absent.
        window_index: (n,) integers in [0, n_windows); an event that lies in two windows is two rows. 0 if absent.
        n_windows: how many windows share the draw, and each user's one clip norm.
        cell_cap: largest value of one user in one cell; 1 with unit weights means "bought at all".
        non_private: leave the noise out, for a twin on a public benchmark. The event is then of kind "none", which no
            ledger accepts.

    Returns:
        `values` (n_windows, n_items) float64 in units of weights (may be negative), and the event read back.

    Raises:
        ValueError: if an argument does not fit, see `bound_contributions`.
    """
    if n_items < 1 or n_windows < 1 or (len(item_index) and int(np.max(item_index)) >= n_items):
        raise ValueError(f"item index {np.max(item_index, initial=-1)} does not fit a catalogue of {n_items} items")
    windows = np.zeros(len(item_index), dtype=np.int64) if window_index is None else window_index
    if len(windows) and not (int(np.min(windows)) >= 0 and int(np.max(windows)) < n_windows):
        raise ValueError(f"window index must lie in [0, {n_windows}), got {np.min(windows)} to {np.max(windows)}")
    contributions = bound_contributions(
        user_index,
        np.where(item_index >= 0, windows * n_items + item_index, -1),
        n_cells=n_windows * n_items,
        bound=planned.bound,
        sensitivity=planned.sensitivity,
        weight=weight,
        cell_cap=cell_cap,
    )
    shape = (n_windows, n_items)
    if non_private:
        return Release(in_units(contributions.total(), contributions, shape), NonPrivateEvent())
    noise = DiscreteGaussianNoise(planned.scale)
    return Release(in_units(noise.add_to(contributions), contributions, shape), noise.event)


def in_units(total: Int64, parts: Contributions, shape: tuple[int, ...]) -> Float64:
    """Whole units back in the caller's units, of this shape, float64."""
    return (total.astype(np.float64) * (parts.bound / parts.sensitivity)).reshape(shape)
