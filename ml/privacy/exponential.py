"""Choices over all users: the best of public candidates, and quantiles, by the exponential mechanism.

The noise is OpenDP's Gumbel noise on whole-number scores, and the largest noisy score wins. What counts is the range of
what one user does to the scores: the most by which he changes the difference of two of them.

Source: McSherry, Talwar (FOCS 2007); quantiles: Smith, "Privacy-preserving statistical estimation with optimal
convergence rates" (STOC 2011), section 3; the event's docstring has the sources of its price.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ml.privacy.bounding import Float64, Int64, sum_by_cell
from ml.privacy.events import ExponentialEvent, MechanismEvent, NonPrivateEvent
from ml.privacy.mechanisms import checked_scale


@dataclass(frozen=True, eq=False)
class Choice:
    """A released choice with the event that made it."""

    index: int
    """Position of the chosen candidate."""
    event: MechanismEvent
    """What ran, for the ledger."""


class ExponentialNoise:
    """Gumbel noise of one scale on whole-number scores, of which the largest is released, once.

    Sensitivity: the scores' functions below keep what one user does to them within a range of S units, so the privacy
    loss of a choice has a range of epsilon = S / scale.
    """

    def __init__(self, scale: float) -> None:
        """Take the scale.

        Args:
            scale: of the Gumbel noise, in units, > 0 and finite.

        Raises:
            ValueError: if the scale is not positive and finite.
        """
        self._scale = checked_scale(scale)
        self._event: ExponentialEvent | None = None

    def choose(self, scores: Int64, *, sensitivity: int, bound: float) -> int:
        """Draw the noise and choose.

        Args:
            scores: (n_candidates,) int64.
            sensitivity: S, the range of what one user does to them.
            bound: what S stands for in the caller's units.

        Returns:
            The chosen position, safe to publish at the cost of `event`.

        Raises:
            RuntimeError: if this noise was used before.
            ArithmeticError: if OpenDP proves less privacy than the event claims.
        """
        if self._event is not None:
            raise RuntimeError("this noise was already released; a second release needs a slot and an event of its own")
        event = ExponentialEvent(sensitivity=sensitivity, scale=self._scale, bound=bound, randomness="opendp")
        measurement = _opendp_noisy_max(self._scale)
        proven = measurement.map(sensitivity)
        if not proven <= event.rho * (1 + 1e-9):
            raise ArithmeticError(f"OpenDP proves rho {proven}, the event claims {event.rho}; nothing is released")
        chosen = int(measurement(scores))
        self._event = event
        return chosen

    @property
    def event(self) -> ExponentialEvent:
        """What ran.

        Raises:
            RuntimeError: if nothing ran yet.
        """
        if self._event is None:
            raise RuntimeError("no noise was drawn yet, so there is no event to read back; call choose first")
        return self._event


def _opendp_noisy_max(scale: float) -> Any:
    """OpenDP's measurement: the position of the largest score after Gumbel noise.

    Its monotonic distance is the size of a change that moves all scores one way. A change of range S is one, for to add
    a constant to all scores changes no choice.
    """
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.linf_distance(T="i64", monotonic=True)
    return dp.m.make_noisy_max(*space, dp.zero_concentrated_divergence(), scale=scale)


def release_quantile(
    user_index: npt.NDArray[Any],
    value: Float64,
    *,
    candidates: Float64,
    alpha: float,
    planned: ExponentialEvent,
    non_private: bool = False,
) -> Choice:
    """Choose the public candidate nearest to a quantile of users' values: a learnt bound, a price cap.

    Args:
        user_index: (n,) integers; rows with a negative user enter nothing. A user's value is the mean of his rows.
        value: (n,) finite.
        candidates: (n_candidates,) strictly ascending, public.
        alpha: in (0, 1), a constant: 0.5 is the median.
        planned: what the plan allows; its bound is 2 max(alpha, 1 - alpha) users, and the scores' unit follows from it.
        non_private: choose the best without noise, for a twin on a public benchmark.

    Returns:
        The candidate's position, and the event read back from the noise. Without users every candidate is as likely.

    Raises:
        ValueError: if a value is not finite, candidates are not ascending, alpha is out of range or the bound not its.
    """
    if not (0 < alpha < 1):
        raise ValueError(f"alpha is {alpha}; a quantile lies strictly between 0 and 1")
    if not np.isclose(planned.bound, quantile_range(alpha)):
        raise ValueError(
            f"the planned bound is {planned.bound:g}, a quantile at {alpha:g} has {quantile_range(alpha):g}"
        )
    _check_candidates(candidates)
    scores = quantile_scores(user_index, value, candidates=candidates, alpha=alpha, sensitivity=planned.sensitivity)
    return _chosen(scores, planned, non_private)


def release_selection(
    user_index: npt.NDArray[Any],
    candidate_index: npt.NDArray[Any],
    *,
    n_candidates: int,
    planned: ExponentialEvent,
    weight: npt.NDArray[Any] | None = None,
    non_private: bool = False,
) -> Choice:
    """Choose the candidate that most users vote for.

    Args:
        user_index: (n,) integers; rows with a negative user enter nothing.
        candidate_index: (n,) integers below n_candidates; rows with a negative candidate are dropped.
        n_candidates: how many public candidates there are.
        planned: what the plan allows; `bound` is the most that one user adds to one candidate.
        weight: (n,) what a row counts; 1 if absent. A user's sum for a candidate is clipped to [0, bound].
        non_private: choose the best without noise, for a twin on a public benchmark.

    Returns:
        The candidate's position, and the event read back from the noise.

    Raises:
        ValueError: if an argument does not fit, see `bound_contributions`.
    """
    scores = vote_scores(
        user_index,
        candidate_index,
        n_candidates=n_candidates,
        bound=planned.bound,
        sensitivity=planned.sensitivity,
        weight=weight,
    )
    return _chosen(scores, planned, non_private)


def quantile_range(alpha: float) -> float:
    """The range of what one user does to the scores of a quantile, in users: the `bound` of its slot.

    >>> quantile_range(0.5), quantile_range(0.9)
    (1.0, 1.8)
    """
    return 2 * max(alpha, 1 - alpha)


def quantile_scores(
    user_index: npt.NDArray[Any], value: Float64, *, candidates: Float64, alpha: float, sensitivity: int
) -> Int64:
    """Minus how far each candidate is from splitting the users' values as alpha : 1 - alpha.

    Sensitivity: a user moves (1 - alpha) #below - alpha #above of a candidate by at most max(alpha, 1 - alpha) either
    way, so two scores by at most twice that apart; this is mapped to S, truncated.

    Args:
        user_index: as in `release_quantile`.
        value: as in `release_quantile`.
        candidates: as in `release_quantile`.
        alpha: as in `release_quantile`.
        sensitivity: S.

    Returns:
        (n_candidates,) int64, at most 0.

    Raises:
        ValueError: if a value is not finite.
    """
    owner, _, total = sum_by_cell(user_index, np.zeros(len(user_index), dtype=np.int64), value, n_cells=1)
    rows = sum_by_cell(user_index, np.zeros(len(user_index), dtype=np.int64), None, n_cells=1)[2]
    mean = np.sort(total / rows)
    unit = sensitivity / quantile_range(alpha)
    below = np.searchsorted(mean, candidates, side="left").astype(np.int64)
    above = len(owner) - np.searchsorted(mean, candidates, side="right").astype(np.int64)
    scores: Int64 = -np.abs(int((1 - alpha) * unit) * below - int(alpha * unit) * above)
    return scores


def vote_scores(
    user_index: npt.NDArray[Any],
    candidate_index: npt.NDArray[Any],
    *,
    n_candidates: int,
    bound: float,
    sensitivity: int,
    weight: npt.NDArray[Any] | None = None,
) -> Int64:
    """The sum of users' votes for each candidate.

    Sensitivity: a user adds between 0 and S units to every candidate, so he moves no two of them more than S apart.

    Args:
        user_index: as in `release_selection`.
        candidate_index: as in `release_selection`.
        n_candidates: as in `release_selection`.
        bound: most that one user adds to one candidate.
        sensitivity: S.
        weight: as in `release_selection`.

    Returns:
        (n_candidates,) int64, at least 0.

    Raises:
        ValueError: if an argument does not fit.
    """
    _, cell, value = sum_by_cell(user_index, candidate_index, weight, n_cells=n_candidates)
    units = np.trunc(np.clip(value / bound, 0.0, 1.0) * sensitivity).astype(np.int64)
    scores = np.zeros(n_candidates, dtype=np.int64)
    np.add.at(scores, cell, units)
    return scores


def _check_candidates(candidates: Float64) -> None:
    """Refuse what is no ladder of public values."""
    if len(candidates) == 0 or not bool(np.all(np.isfinite(candidates)) and np.all(np.diff(candidates) > 0)):
        raise ValueError("candidates must be finite and strictly ascending, at least one; they are public constants")


def _chosen(scores: Int64, planned: ExponentialEvent, non_private: bool) -> Choice:
    """The choice with noise, or the best."""
    if non_private:
        return Choice(int(np.argmax(scores)), NonPrivateEvent())
    noise = ExponentialNoise(planned.scale)
    index = noise.choose(scores, sensitivity=planned.sensitivity, bound=planned.bound)
    return Choice(index, noise.event)
