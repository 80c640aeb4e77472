"""The Gram matrix of a released head of items: which items go together, over all users, in one noisy draw.

Belongs here: bounding, the exact sum and its symmetric noise. What is made of the matrix is free: `ml.ranking.ease`.

Why one draw costs mu = S^2 / sigma. Each user has one row: his weights over the head, of unit L2 norm, minus their part
along a released mean direction, scaled to norm `bound`, cut into whole numbers k with |k| <= S. Adding or removing the
user shifts the diagonal of the integer sum by k_i^2 and each entry above it by k_i k_j; entries below are copies. The
noise is independent, discrete Gaussian, of scale sigma on the diagonal and sigma / sqrt 2 above it. In Renyi order
alpha the divergence of such a draw from its shifted self is at most alpha / 2 times the sum of squared shifts over
squared scales, and these add up over independent cells:

    sum_i k_i^4 / sigma^2 + sum_{i<j} k_i^2 k_j^2 / (sigma^2 / 2) = (sum_i k_i^2)^2 / sigma^2 = |k|^4 / sigma^2

so rho = |k|^4 / (2 sigma^2) <= S^4 / (2 sigma^2): diagonal and triangle together cost what either would alone. The same
law is that of the Gaussian orthogonal ensemble, whose spectrum ends at sqrt(2 M) sigma.

Source: Canonne, Kamath, Steinke (NeurIPS 2020), Proposition 5 and Theorem 14. Gaussian noise on X^T X with one row a
user: Dwork, Talwar, Thakurta, Zhang, "Analyze Gauss" (STOC 2014), whose noise is the same above the diagonal.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import sparse

from ml.privacy.bounding import Float64, Int64
from ml.privacy.events import GramGaussianEvent, MechanismEvent, NonPrivateEvent
from ml.privacy.mechanisms import checked_scale, with_discrete_gaussian

_FAINT: Final = 0.05
"""A row of which less than this is left off the direction stays as short as it is: its rest is mostly rounding."""

_USERS_AT_ONCE: Final = 2**16
"""Users whose products are summed at once: bounds the memory and changes nothing else."""


@dataclass(frozen=True, eq=False)
class GramRelease:
    """A released Gram matrix with the event that made it."""

    values: Float64
    """(n_items, n_items) symmetric: sum over users of x x^T plus noise, in the units of the users' unit rows."""
    noise_std: float
    """Standard deviation of the noise on the diagonal, in the same units; root 2 less off it. 0 for a twin."""
    event: MechanismEvent
    """What ran, for the ledger."""


class GramNoise:
    """Symmetric discrete Gaussian noise of two scales on a Gram matrix of whole numbers, once.

    The sensitivity argument is the module's.
    """

    def __init__(self, diagonal_scale: float, off_diagonal_scale: float) -> None:
        """Take the scales.

        Args:
            diagonal_scale: standard deviation on the diagonal, in integer units, > 0 and finite.
            off_diagonal_scale: standard deviation above the diagonal; the plan gives the diagonal's over root 2.

        Raises:
            ValueError: if a scale is not positive and finite.
        """
        self._diagonal = checked_scale(diagonal_scale)
        self._off_diagonal = checked_scale(off_diagonal_scale)
        self._event: GramGaussianEvent | None = None

    def add_to(self, gram: Int64, *, sensitivity: int, bound: float) -> Int64:
        """Draw the noise and add it to the users' sum.

        Args:
            gram: (n_items, n_items) exact sum of k k^T.
            sensitivity: S; no user's |k| exceeds it.
            bound: what S stands for in the caller's units.

        Returns:
            (n_items, n_items) int64, symmetric, safe to publish at the cost of `event`.

        Raises:
            RuntimeError: if this noise was used before: a second release needs a second event.
            ArithmeticError: if OpenDP proves less privacy than the event claims.
        """
        if self._event is not None:
            raise RuntimeError("this noise was already released; a second release needs a slot and an event of its own")
        event = GramGaussianEvent(
            sensitivity=sensitivity,
            diagonal_scale=self._diagonal,
            off_diagonal_scale=self._off_diagonal,
            bound=bound,
            randomness="opendp",
        )
        # The triangle's shift is at most S^2 / sqrt 2 where the diagonal's is 0: half the squared norm, twice the rho.
        size, (rows, columns) = sensitivity**2, np.triu_indices(len(gram), 1)
        diagonal = with_discrete_gaussian(np.diagonal(gram), self._diagonal, sensitivity=size, rho=event.rho)
        above = with_discrete_gaussian(gram[rows, columns], self._off_diagonal, sensitivity=size, rho=2 * event.rho)
        noisy = np.empty_like(gram)
        noisy[rows, columns] = above
        noisy[columns, rows] = above
        np.fill_diagonal(noisy, diagonal)
        self._event = event
        return noisy

    @property
    def event(self) -> GramGaussianEvent:
        """What ran.

        Raises:
            RuntimeError: if nothing ran yet.
        """
        if self._event is None:
            raise RuntimeError("no noise was drawn yet, so there is no event to read back; call add_to first")
        return self._event


def release_gram(
    rows: sparse.csr_array,
    *,
    planned: GramGaussianEvent,
    mean_direction: Float64 | None = None,
    non_private: bool = False,
) -> GramRelease:
    """Release how items of the head go together, over all users.

    Args:
        rows: (n_users, n_items) sparse, one user a row, columns in the order of the released head; weights of any
            scale, finite. A user without weights in the head adds nothing.
        planned: what the plan allows: the norm that every row is scaled to after projection, integer sensitivity
            and both scales are taken from here.
        mean_direction: (n_items,) released or public direction that every row is projected off, of any length; none
            leaves rows as they are.
        non_private: leave the noise out, for a twin on a public benchmark.

    Returns:
        The matrix and the event read back from the noise.

    Raises:
        ValueError: if shapes differ or a weight is not finite.
    """
    unit = float(planned.bound / planned.sensitivity) ** 2
    gram = gram_of_units(rows, sensitivity=planned.sensitivity, mean_direction=mean_direction)
    if non_private:
        return GramRelease(gram.astype(np.float64) * unit, 0.0, NonPrivateEvent())
    noise = GramNoise(planned.diagonal_scale, planned.off_diagonal_scale)
    noisy = noise.add_to(gram, sensitivity=planned.sensitivity, bound=planned.bound)
    return GramRelease(noisy.astype(np.float64) * unit, noise.event.noise_std, noise.event)


def gram_of_units(rows: sparse.csr_array, *, sensitivity: int, mean_direction: Float64 | None = None) -> Int64:
    """The exact Gram matrix of the users' bounded whole-number rows.

    A row without its part along a direction has a number in every cell, but only the user's own items take work: it is
    k = x - c d, with x sparse and d the direction in whole numbers, one for all. So the sum over users of k k^T is that
    of x x^T, of c x and of c^2, all in whole numbers.

    Args:
        rows: as in `release_gram`.
        sensitivity: S, which the bound of a row is mapped to.
        mean_direction: as in `release_gram`; its components are rounded to multiples of S^(-2/3).

    Returns:
        (n_items, n_items) int64: the sum over users of k k^T, exactly.

    Raises:
        ValueError: as `release_gram`; or if there are so many users that int64 could overflow.
        ArithmeticError: if a user's row exceeds S in norm: a proof that failed; nothing may be released.
    """
    n_users, n_items = rows.shape
    if n_users * (sensitivity / _FAINT) ** 2 >= 2**62:
        raise ValueError(f"{n_users} users of {sensitivity} units overflow the Gram sum; lower the slot's sensitivity")
    direction = np.zeros(n_items) if mean_direction is None else mean_direction
    whole = np.rint(unit_direction(direction) * sensitivity ** (2 / 3)).astype(np.int64)
    gram, crossed, squared = np.zeros((n_items, n_items), dtype=np.int64), np.zeros(n_items, dtype=np.int64), 0
    for start in range(0, n_users, _USERS_AT_ONCE):
        own, steps = _units(rows[start : start + _USERS_AT_ONCE], whole, sensitivity)
        gram += (own.T @ own).toarray()
        crossed += own.T @ steps
        squared += int(steps @ steps)
    # Where these sums pass int64 they wrap and come back: the result is a sum of at most n_users x S^2.
    gram -= np.outer(crossed, whole) + np.outer(whole, crossed) - squared * np.outer(whole, whole)
    return gram


def _units(rows: sparse.csr_array, whole: Int64, sensitivity: int) -> tuple[sparse.csr_array, Int64]:
    """Bounded rows of some users, own - steps * whole: (n_users, n_items) sparse and (n_users,), both int64.

    Cutting n own cells adds at most root n / 2 to a norm. Taking whole steps off leaves half a step at most, at a right
    angle to what is wanted, where there is nothing else. What is wanted is so much shorter than S; each row is checked.
    """
    unit, along = unit_rows(rows, whole.astype(np.float64))
    step = float(np.linalg.norm(whole))
    room = np.maximum(sensitivity - np.sqrt(np.diff(unit.indptr)) / 2 - 1, 0.0)
    wanted = np.sqrt(np.maximum(room**2 - (step / 2) ** 2, 0.0))
    left = np.sqrt(np.maximum(1.0 - along**2, 0.0))
    factor = np.where(left > _FAINT, wanted / np.maximum(left, _FAINT), wanted)
    steps = np.rint(factor * along / max(step, 1.0)).astype(np.int64)
    cells = np.rint(unit.data * np.repeat(factor, np.diff(unit.indptr))).astype(np.int64)
    own = sparse.csr_array((cells, unit.indices, unit.indptr), shape=unit.shape)
    squared = (own * own).sum(axis=1) - 2 * steps * (own @ whole) + steps**2 * int(whole @ whole)
    if bool(np.any(squared > sensitivity**2)):
        raise ArithmeticError("a user's bounded row exceeds the sensitivity; nothing is released")
    return own, steps


def unit_rows(rows: sparse.csr_array, mean_direction: Float64 | None = None) -> tuple[sparse.csr_array, Float64]:
    """Users' rows at unit L2 norm, and how much of each lies along a direction.

    Args:
        rows: (n_users, n_items) sparse, finite; an empty row stays zero.
        mean_direction: (n_items,) of any length; none, or all zero, lies along nothing.

    Returns:
        (n_users, n_items) sparse float64, and (n_users,) in [-1, 1]: no bit of a user depends on the others.

    Raises:
        ValueError: if a weight is not finite or too large, or the direction has another length.
    """
    if not bool(np.all(np.abs(rows.data) <= 1e100)):
        raise ValueError("users' weights must be finite and at most 1e100; repair them before the release")
    norm = np.sqrt((rows * rows).sum(axis=1))
    unit = rows.astype(np.float64)
    unit.data /= np.repeat(np.where(norm > 0, norm, 1.0), np.diff(rows.indptr))
    if mean_direction is None:
        return unit, np.zeros(len(norm))
    direction = unit_direction(mean_direction)
    if direction.shape != (rows.shape[1],):
        raise ValueError(f"the mean direction has shape {direction.shape}, the head {rows.shape[1]} items")
    return unit, unit @ direction


def unit_direction(direction: Float64) -> Float64:
    """A direction at unit length; all zero stays zero, and projects nothing off.

    Raises:
        ValueError: if it is not finite.
    """
    if not bool(np.all(np.isfinite(direction))):
        raise ValueError("the mean direction is not finite; take it from a release or a constant")
    norm = float(np.linalg.norm(direction))
    return np.asarray(direction, dtype=np.float64) / (norm if norm > 0 else 1.0)
