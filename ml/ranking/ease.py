"""What goes with what: a linear item-to-item model from the released Gram matrix of the head. All of it is free.

The matrix is a sum over users with noise on it. The noise is taken off as far as its known law allows, the closed form
of EASE turns the rest into weights between items, and a user's score of an item is the user's own row times its column.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import linalg, sparse

from ml.privacy.gram import unit_direction, unit_rows
from ml.ranking.inputs import Float32, Float64, Indices, Int32, ReleasedGram, ReleasedPopularity
from ml.ranking.popularity import posterior_counts

_EDGE_MARGIN: Final = 1.03
"""An eigenvalue counts as signal from this multiple of the noise's spectral edge on."""

_N_DIAGONALS: Final = 6
"""How often the diagonal is filled anew; scores have settled by then."""

_RIDGE: Final = 3.0
"""Ridge of the closed form in multiples of the mean diagonal."""

_FLOOR: Final = 0.003
"""From products of this size on scores grow as the logarithm does, as the log of the odds that an item is taken; one
candidate in a hundred has ten times as much on public benchmarks."""

_UNITS: Final = 2.0**20
"""Rows and weights are whole numbers of 1 / `_UNITS`: every sum of products is exact in float64 as long as a column of
weights has norm below 2^13, so that no bit of a score depends on which other users are multiplied in the same block."""

_DIRECTION_POWER: Final = 0.25
"""Users' rows are projected off released popularity to this power: what everybody buys says little about tastes."""


@dataclass(frozen=True, eq=False)
class Together:
    """Item-to-item weights over the head, ready for scoring."""

    head: Int32
    """(n_head,) catalogue positions."""
    column: Int32
    """(n_items,) place of each item of the catalogue in the head, or -1."""
    direction: Float64
    """(n_head,) direction that users' rows are projected off."""
    weights: Float64
    """(n_head, n_head) whole units; column j holds the weights of all items for item j, 0 for itself."""
    along: Float64
    """(n_head,) whole units: what the direction itself scores."""

    @property
    def n_head(self) -> int:
        """Items of the head."""
        return len(self.head)


def together(gram: ReleasedGram, n_items: int) -> Together:
    """Weights between the items of a released head.

    Args:
        gram: the release.
        n_items: size of the catalogue.

    Returns:
        The weights; without items in the head, every score is 0.

    Source: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (WWW 2019), section 3.1, on the matrix that
    `denoised` gives.
    """
    head, column = gram.item_index, _columns(gram.item_index, n_items)
    clean = denoised(gram.values, gram.noise_std)
    mean = float(np.trace(clean)) / max(len(clean), 1)
    direction = unit_direction(gram.direction)
    if mean <= 0:  # no release, or nothing but noise in it
        return Together(head, column, direction, np.zeros_like(clean), np.zeros(len(clean)))
    inverse = np.linalg.inv(clean + _RIDGE * mean * np.eye(len(clean)))
    weights = -inverse / np.diagonal(inverse)
    np.fill_diagonal(weights, 0.0)
    weights = np.rint(weights * _UNITS)
    return Together(head, column, direction, weights, np.rint(direction @ weights))


def denoised(gram: Float64, noise_std: float) -> Float64:
    """What a noisy Gram matrix says about the exact one: few strong directions, and a diagonal.

    Which items go with which stands off the diagonal; the diagonal says how often each is taken, and would make each
    popular item a strong direction of its own. So directions are looked for in the matrix without it: its cells are
    those of the directions found, over and over until they agree. The noise's spectrum ends at sqrt(2 M) noise_std:
    eigenvalues beyond are shrunk by the law that such noise moves them by; the others cannot be told from noise. What
    all this leaves of the diagonal is kept: its numbers are far above their noise.

    Args:
        gram: (n, n) symmetric, noise of `noise_std` on the diagonal and root 2 less off it.
        noise_std: 0 takes the matrix as it is.

    Returns:
        (n, n) symmetric, positive semi-definite.

    Source: Zhang, Cai, Wu, "Heteroskedastic PCA" (Annals of Statistics 2022), algorithm 1, for the diagonal;
    Benaych-Georges, Nadakuditi (Advances in Mathematics 2011), Theorem 2.1 with example 3.1, for where an eigenvalue w
    comes from under noise of this law; sqrt(w^2 - edge^2) is the shrinkage of least squared error for the same law:
    Gavish, Donoho (IEEE Transactions on Information Theory 2017), section IV, in its symmetric form.
    """
    if noise_std == 0 or len(gram) == 0:
        return gram
    edge = np.sqrt(2 * len(gram)) * noise_std
    diagonal = np.maximum(np.diagonal(gram), 0.0)
    hollow, low_rank = gram.copy(), np.zeros_like(gram)
    for _ in range(_N_DIAGONALS):
        np.fill_diagonal(hollow, np.diagonal(low_rank))
        values, vectors = linalg.eigh(hollow, subset_by_value=(_EDGE_MARGIN * edge, np.inf))
        low_rank = (vectors * np.sqrt(values**2 - edge**2)) @ vectors.T
    rest = np.maximum(diagonal - np.diagonal(low_rank), 0.0)
    clean: Float64 = (low_rank + low_rank.T) / 2 + np.diag(rest)
    return clean


def head_of(released: ReleasedPopularity, size: int) -> tuple[Int32, Float64]:
    """The items that a Gram matrix is released for, and the direction that users' rows are projected off.

    Args:
        released: popularity up to the instant that the matrix is released for.
        size: items wanted; fewer if the catalogue is smaller.

    Returns:
        (n_head,) catalogue positions, most popular first, and (n_head,) components >= 0.
    """
    head = np.argsort(-released.counts, kind="stable")[:size].astype(np.int32)
    counts = posterior_counts(released.counts, released.noise_std)[0][head]
    return head, np.maximum(counts, 1e-9) ** _DIRECTION_POWER


def head_rows(user: Indices, item: Indices, head: Int32, *, n_users: int, n_items: int) -> sparse.csr_array:
    """Users' rows over the head: 1 for every item of it that the user has.

    Args:
        user: (n,) users, each pair of user and item once.
        item: (n,) catalogue positions.
        head: (n_head,) catalogue positions.
        n_users: rows.
        n_items: size of the catalogue.

    Returns:
        (n_users, n_head) float64.
    """
    column = _columns(head, n_items)[item]
    known = column >= 0
    shape = (n_users, len(head))
    return sparse.csr_array((np.ones(int(known.sum())), (user[known], column[known])), shape=shape)


def _columns(head: Int32, n_items: int) -> Int32:
    """(n_items,) place of each item in the head, or -1."""
    column = np.full(n_items, -1, dtype=np.int32)
    column[head] = np.arange(len(head), dtype=np.int32)
    return column


def scores(user: Indices, item: Indices, index: Together, n_users: int) -> Float32:
    """Each user's score of each item of the head, from the user's own items alone: log1p of the positive part.

    Args:
        user: (n,) users in [0, n_users).
        item: (n,) their items.
        index: the weights.
        n_users: users.

    Returns:
        (n_users, n_head + 1) float32, >= 0; the last column, for items outside the head, is 0.
    """
    if index.n_head == 0:
        return np.zeros((n_users, 1), dtype=np.float32)
    cells = head_rows(user, item, index.head, n_users=n_users, n_items=len(index.column))
    product = products(cells, index)
    found: Float32 = np.log1p(np.maximum(product / _FLOOR, 0.0)).astype(np.float32)
    return np.pad(found, ((0, 0), (0, 1)))


def products(cells: sparse.csr_array, index: Together) -> Float64:
    """(n_users, n_head) unit rows off the direction, times the weights; a user's own items alone take work.

    Args:
        cells: as `head_rows` gives them.
        index: the weights.
    """
    unit, along = unit_rows(cells, index.direction)
    unit.data = np.rint(unit.data * _UNITS)
    found: Float64 = unit @ index.weights - np.rint(along * _UNITS)[:, None] * index.along
    return found / _UNITS**2
