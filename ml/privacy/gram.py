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

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import sparse

from ml.privacy.bounding import Float64, Int64, bound_rows
from ml.privacy.events import GramGaussianEvent, MechanismEvent, NonPrivateEvent
from ml.privacy.mechanisms import checked_scale, with_discrete_gaussian

_EXACT: Final = 2**53
"""Whole numbers up to here are exact in float64, sums of products included."""

_FAINT: Final = 0.05
"""A row of which less than this is left off the direction stays as short as it is: its rest is mostly rounding."""

_CELLS_AT_ONCE: Final = 2**22
"""Dense cells of users' rows held at once: 32 MB an array."""


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
    gram = gram_of_units(rows, bound=planned.bound, sensitivity=planned.sensitivity, mean_direction=mean_direction)
    if non_private:
        return GramRelease(gram.astype(np.float64) * unit, 0.0, NonPrivateEvent())
    noise = GramNoise(planned.diagonal_scale, planned.off_diagonal_scale)
    noisy = noise.add_to(gram, sensitivity=planned.sensitivity, bound=planned.bound)
    return GramRelease(noisy.astype(np.float64) * unit, noise.event.noise_std, noise.event)


def gram_of_units(
    rows: sparse.csr_array, *, bound: float, sensitivity: int, mean_direction: Float64 | None = None
) -> Int64:
    """The exact Gram matrix of the users' bounded whole-number rows.

    Products are taken in float64, for so many users at once that every partial sum is below 2^53, and summed in int64.

    Args:
        rows: as in `release_gram`.
        bound: clip norm of one row.
        sensitivity: S.
        mean_direction: as in `release_gram`.

    Returns:
        (n_items, n_items) int64: the sum over users of k k^T, exactly.

    Raises:
        ValueError: as `release_gram`; or if there are so many users that int64 could overflow.
    """
    n_users, n_items = rows.shape
    if n_users * sensitivity**2 >= 2**62:
        raise ValueError(f"{n_users} users of {sensitivity} units overflow the Gram sum; lower the slot's sensitivity")
    gram = np.zeros((n_items, n_items), dtype=np.int64)
    for units in _units(rows, bound, sensitivity, mean_direction):
        exact = units.astype(np.float64)
        gram += (exact.T @ exact).astype(np.int64)
    return gram


def _units(rows: sparse.csr_array, bound: float, sensitivity: int, mean_direction: Float64 | None) -> Iterator[Int64]:
    """The users' bounded rows, some users at a time."""
    n_users, n_items = rows.shape
    at_once = max(1, min((_EXACT - 1) // sensitivity**2, _CELLS_AT_ONCE // max(n_items, 1)))
    for start in range(0, n_users, at_once):
        dense = unit_rows(rows[start : start + at_once], mean_direction)
        norm = np.sqrt(np.sum(dense * dense, axis=1, keepdims=True))
        dense *= np.where(norm > _FAINT, bound / np.maximum(norm, _FAINT), 1.0)
        yield bound_rows(dense, bound=bound, sensitivity=sensitivity)


def unit_rows(rows: sparse.csr_array, mean_direction: Float64 | None = None) -> Float64:
    """Users' rows scaled to unit L2 norm, minus their part along a direction.

    Args:
        rows: (n_users, n_items) sparse, finite; an empty row stays zero.
        mean_direction: (n_items,) of any length; none, or all zero, leaves the unit rows as they are.

    Returns:
        (n_users, n_items) float64, dense, of norm at most 1.

    Raises:
        ValueError: if a weight is not finite or too large, or the direction has another length.
    """
    if not bool(np.all(np.abs(rows.data) <= 1e100)):
        raise ValueError("users' weights must be finite and at most 1e100; repair them before the release")
    dense: Float64 = rows.toarray().astype(np.float64)
    norm = np.sqrt(np.sum(dense * dense, axis=1, keepdims=True))
    dense /= np.where(norm > 0, norm, 1.0)
    if mean_direction is None:
        return dense
    direction = unit_direction(mean_direction)
    if direction.shape != (rows.shape[1],):
        raise ValueError(f"the mean direction has shape {direction.shape}, the head {rows.shape[1]} items")
    # Not a matrix product: how BLAS cuts it, and with that the last bit of a user, depends on the other users.
    along = np.sum(dense * direction, axis=1, keepdims=True)
    dense -= along * direction
    return dense


def unit_direction(direction: Float64) -> Float64:
    """A direction at unit length; all zero stays zero, and projects nothing off.

    Raises:
        ValueError: if it is not finite.
    """
    if not bool(np.all(np.isfinite(direction))):
        raise ValueError("the mean direction is not finite; take it from a release or a constant")
    norm = float(np.linalg.norm(direction))
    return np.asarray(direction, dtype=np.float64) / (norm if norm > 0 else 1.0)
