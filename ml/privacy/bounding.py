"""What one user may add to a sum over users: clip in L2 over all cells together, then whole numbers.

Every function reads one user's rows and public constants to decide what happens to these rows, so that
sum(D) - sum(D without u) is exactly u's own contribution, for every u. Tested as an identity of integers.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

_MAX_WEIGHT = 1e100
"""Largest absolute event weight: its square still has room for any number of cells in float64."""

_MARGIN = 2.0**-32
"""Relative shrinkage before truncation. It exceeds the rounding of a float64 norm over up to a million cells."""


@dataclass(frozen=True, eq=False)
class Contributions:
    """The bounded, whole-number contributions of all users, sparse, sorted by user and cell."""

    user_index: Int64
    """(m,) whose contribution; one entry a user and cell."""
    cell_index: Int64
    """(m,) which cell of the release, in [0, n_cells)."""
    units: Int64
    """(m,) how much, in units of bound / sensitivity."""
    n_cells: int
    """How many cells the release has, over all windows and segments."""
    bound: float
    """Clip norm C in the caller's units."""
    sensitivity: int
    """S: the sum of squares of one user's units is at most S^2, exactly."""

    def total(self) -> Int64:
        """Sum over users.

        Returns:
            (n_cells,) int64. Exact: no user adds more than S < 2^31 to a cell, so 2^32 users fit.
        """
        total = np.zeros(self.n_cells, dtype=np.int64)
        np.add.at(total, self.cell_index, self.units)
        return total


def bound_contributions(
    user_index: npt.NDArray[Any],
    cell_index: npt.NDArray[Any],
    *,
    n_cells: int,
    bound: float,
    sensitivity: int,
    weight: npt.NDArray[Any] | None = None,
    cell_cap: float | None = None,
) -> Contributions:
    """Sum each user's rows by cell, clip the user's vector to L2 norm `bound`, cut it into whole units.

    Truncation is toward zero, so it can only shrink a vector; the integer sum of squares is then checked for every
    user, and nothing leaves this function unless all are within `sensitivity`^2.

    Args:
        user_index: (n,) integers; negative means no known user, and the row enters nothing.
        cell_index: (n,) integers below n_cells; negative means an item outside the universe, and the row is dropped.
        n_cells: length of a user's vector, over ALL cells of the release: every window, segment and item.
        bound: clip norm C, > 0, in the units of the weights.
        sensitivity: S, the integer norm that C is mapped to.
        weight: (n,) finite floats, at most 1e100 in size; 1 a row if absent.
        cell_cap: largest absolute value of one user in one cell, applied before the norm; none if absent.

    Returns:
        The contributions.

    Raises:
        ValueError: if shapes differ, a cell is out of range, a weight is not finite or a constant not positive.
        ArithmeticError: if a user's units exceed S in norm: a proof that failed; nothing may be released.

    Source: clipping as in Dwork, Roth (2014), section 3.5; integers as in Kairouz, Liu, Steinke (ICML 2021), section 3.
    """
    if not (bound > 0 and sensitivity > 0 and (cell_cap is None or cell_cap > 0)):
        raise ValueError(
            f"bound {bound}, sensitivity {sensitivity} and cell_cap {cell_cap} must be > 0; "
            "they are constants of the privacy plan"
        )
    user, cell, value = sum_by_cell(user_index, cell_index, weight, n_cells=n_cells)
    names, owner = np.unique(user, return_inverse=True)
    if cell_cap is not None:
        value = np.clip(value, -cell_cap, cell_cap)
    norm = np.sqrt(np.bincount(owner, weights=value**2, minlength=len(names)))
    units = np.trunc(value * (sensitivity * (1 - _MARGIN) / np.maximum(norm, bound))[owner]).astype(np.int64)
    squares = np.zeros(len(names), dtype=np.int64)
    np.add.at(squares, owner, units * units)
    if len(names) and int(squares.max()) > sensitivity**2:
        raise ArithmeticError(f"a bounded user has squared norm {squares.max()} > {sensitivity}^2; nothing is released")
    return Contributions(user, cell, units, n_cells, float(bound), int(sensitivity))


def sum_by_cell(
    user_index: npt.NDArray[Any], cell_index: npt.NDArray[Any], weight: npt.NDArray[Any] | None, *, n_cells: int
) -> tuple[Int64, Int64, Float64]:
    """Sum each user's rows by cell; rows without a user or a cell drop out.

    Args:
        user_index: (n,) integers; negative means no known user.
        cell_index: (n,) integers below n_cells; negative means none.
        weight: (n,) finite floats, at most 1e100 in size; 1 a row if absent.
        n_cells: how many cells there are.

    Returns:
        (m,) user, (m,) cell and (m,) sum, one entry a user and cell, sorted by both.

    Raises:
        ValueError: if shapes differ, a cell is out of range or a weight is not finite.
    """
    users, cells, weights = _checked(user_index, cell_index, weight, n_cells)
    known = (users >= 0) & (cells >= 0)
    names, rank = np.unique(users[known], return_inverse=True)
    keys, inverse = np.unique(rank.astype(np.int64) * n_cells + cells[known], return_inverse=True)
    owner, cell = np.divmod(keys, n_cells)
    total: Float64 = np.bincount(inverse, weights=weights[known], minlength=len(keys)).astype(np.float64)
    return names[owner], cell, total


def bound_rows(rows: Float64, *, bound: float, sensitivity: int) -> Int64:
    """Clip every user's dense vector to L2 norm `bound` and cut it into whole units, toward zero.

    Args:
        rows: (n_users, n_cells) float64, one user a row, finite.
        bound: clip norm C, > 0.
        sensitivity: S, the integer norm that C is mapped to.

    Returns:
        (n_users, n_cells) int64; the sum of squares of a row is at most S^2, checked for every row. What a row becomes
        depends on that row alone, to the last bit.

    Raises:
        ValueError: if a value is not finite or a constant not positive.
        ArithmeticError: if a row exceeds S in norm: a proof that failed; nothing may be released.

    Source: as `bound_contributions`.
    """
    if not (bound > 0 and sensitivity > 0):
        raise ValueError(f"bound {bound} and sensitivity {sensitivity} must be > 0; they are constants of the plan")
    if not bool(np.all(np.abs(rows) <= _MAX_WEIGHT)):
        raise ValueError(f"users' vectors must be finite and at most {_MAX_WEIGHT:g}; repair them before the release")
    norm = np.sqrt(np.sum(rows * rows, axis=1))
    units: Int64 = np.trunc(rows * (sensitivity * (1 - _MARGIN) / np.maximum(norm, bound))[:, None]).astype(np.int64)
    largest = int(np.sum(units * units, axis=1).max(initial=0))
    if largest > sensitivity**2:
        raise ArithmeticError(f"a bounded user has squared norm {largest} > {sensitivity}^2; nothing is released")
    return units


def _checked(
    user_index: npt.NDArray[Any], cell_index: npt.NDArray[Any], weight: npt.NDArray[Any] | None, n_cells: int
) -> tuple[Int64, Int64, Float64]:
    """The arguments as (n,) int64, int64, float64, or a ValueError that names the fault."""
    if not (np.issubdtype(user_index.dtype, np.integer) and np.issubdtype(cell_index.dtype, np.integer)):
        raise ValueError(f"indices must be integers, not {user_index.dtype} and {cell_index.dtype}")
    users, cells = user_index.astype(np.int64), cell_index.astype(np.int64)
    weights = np.ones(len(users)) if weight is None else weight.astype(np.float64)
    if not users.shape == cells.shape == weights.shape == (len(users),):
        raise ValueError(f"users {users.shape}, cells {cells.shape} and weights {weights.shape} must be one length")
    if n_cells < 1 or (len(cells) and int(cells.max()) >= n_cells):
        raise ValueError(f"cell {cells.max(initial=-1)} is outside the {n_cells} cells of the release")
    if not bool(np.all(np.abs(weights) <= _MAX_WEIGHT)):
        raise ValueError(f"event weights must be finite and at most {_MAX_WEIGHT:g}; repair them before the release")
    return users, cells, weights
