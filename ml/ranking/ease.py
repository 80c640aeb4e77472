"""Item-to-item weights over a head of popular items, from one released Gram matrix.

Users enter by `release_gram` alone; denoising and the weights are post-processing of what it releases.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ml.privacy.events import DiscreteGaussianEvent, NonPrivateEvent
from ml.privacy.mechanisms import _opendp_gaussian
from ml.ranking.inputs import Float64, HeadWeights, Int32, Int64

_CHUNK_USERS: Final = 4096
"""Users whose dense rows are held at once."""


class HeadConfig(BaseModel):
    """Constants of the head model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_head: int = Field(default=300, ge=2)
    """Items of the head, the most popular of the released counts. 200 to 500 at some thousand users."""
    residual_clip: float = Field(default=0.9, gt=0, le=1)
    """Clip norm of a user's unit row after the mean direction is projected off; it is then scaled to norm 1."""
    reg: float = Field(default=60.0, gt=0)
    """Ridge added to the Gram's diagonal."""
    edge_factor: float = Field(default=1.03, ge=1)
    """Eigenvalues below this many spectral edges of the noise are dropped."""


@dataclass(frozen=True, eq=False)
class GramRelease:
    """A released Gram matrix of bounded user rows, in units of the norm-1 rows."""

    gram: Float64
    """(m, m) symmetric."""
    event: DiscreteGaussianEvent | NonPrivateEvent
    """What ran: sensitivity is the squared norm S^2 of an integer row, scale the noise on the diagonal."""


def mean_direction(popularity: Float64) -> Float64:
    """Unit vector along the released counts of the head.

    Args:
        popularity: (m,) released counts of the head's items.

    Returns:
        (m,) unit vector; the uniform one if no count is positive.
    """
    positive = np.maximum(popularity, 0.0)
    norm = float(np.linalg.norm(positive))
    uniform = np.full(len(popularity), 1 / np.sqrt(len(popularity)))
    return positive / norm if norm > 0 else uniform


def head_rows(items: Int32, user: Int32 | Int64, item: Int32, n_users: int, n_items: int) -> Float64:
    """(n_users, m) rows over the head: 1 for an item the user has, scaled to unit norm; 0 for a user with none."""
    place = np.full(n_items, -1, dtype=np.int64)
    place[items] = np.arange(len(items))
    known = place[item] >= 0
    rows = np.zeros((n_users, len(items)))
    rows[user[known], place[item[known]]] = 1.0
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Float64 = rows / np.maximum(norm, 1.0)
    return scaled


def bounded_rows(rows: Float64, mean: Float64, residual_clip: float, units: int) -> Float64:
    """Project the mean direction off, clip, cut into whole units.

    Args:
        rows: (n_users, m) of norm at most 1.
        mean: (m,) unit vector.
        residual_clip: clip norm, scaled to `units`.
        units: integer norm that no row exceeds.

    Returns:
        (n_users, m) whole numbers in float64, squared norm at most units^2, exactly.
    """
    residual = rows - np.outer(rows @ mean, mean)
    norm = np.maximum(np.linalg.norm(residual, axis=1, keepdims=True), residual_clip)
    return np.trunc(residual * (units * (1 - 2.0**-32) / norm))


def release_gram(
    user: Int32,
    item: Int32,
    *,
    items: Int32,
    mean: Float64,
    n_users: int,
    n_items: int,
    residual_clip: float,
    planned: DiscreteGaussianEvent,
    non_private: bool = False,
) -> GramRelease:
    """Release the Gram matrix of the users' bounded head rows, in one draw.

    Sensitivity: one user's integer row k of norm at most S moves the diagonal by k_i^2 and each off-diagonal pair by
    k_i k_j. With noise scale on the diagonal and scale / sqrt 2 off it, rho is
    (sum k_i^4 + 2 sum_{i<j} k_i^2 k_j^2) / (2 scale^2) = |k|^4 / (2 scale^2) <= S^4 / (2 scale^2).

    Args:
        user: (n,) users of the state's rows, 0 .. n_users - 1.
        item: (n,) their items.
        items: (m,) the head, from released counts.
        mean: (m,) unit vector from released counts.
        n_users: users, with or without rows.
        n_items: size of the catalogue.
        residual_clip: clip norm of a row.
        planned: the plan's event; its sensitivity is S^2, its scale the noise on the diagonal.
        non_private: leave the noise out: a twin on a public benchmark.

    Returns:
        The Gram matrix and the event read back.

    Raises:
        ArithmeticError: if a row exceeds S or OpenDP proves less privacy than the event claims.

    Source: Dwork et al., "Analyze Gauss" (STOC 2014), Algorithm 1, with noise of the Gaussian orthogonal ensemble.
    """
    units = int(np.sqrt(planned.sensitivity))
    if n_users * units**2 >= 2**53:
        raise ValueError(f"{n_users} users x {units}^2 units do not fit float64; lower the sensitivity of the Gram slot")
    gram = np.zeros((len(items), len(items)))
    order = np.argsort(user, kind="stable")
    user, item = user[order], item[order]
    for start in range(0, n_users, _CHUNK_USERS):
        stop = min(start + _CHUNK_USERS, n_users)
        low, high = np.searchsorted(user, [start, stop])
        rows = head_rows(items, user[low:high] - start, item[low:high], stop - start, n_items)
        bounded = bounded_rows(rows, mean, residual_clip, units)
        if len(bounded) and float(np.max(np.sum(bounded**2, axis=1))) > units**2:
            raise ArithmeticError(f"a bounded row exceeds {units} units; nothing is released")
        gram += bounded.T @ bounded
    if non_private:
        return GramRelease(gram / units**2, NonPrivateEvent())
    noisy, event = _with_noise(gram.astype(np.int64), units, planned)
    return GramRelease(noisy / units**2, event)


def _with_noise(gram: Int64, units: int, planned: DiscreteGaussianEvent) -> tuple[Float64, DiscreteGaussianEvent]:
    """Symmetric noise on a whole-number Gram matrix, and what ran."""
    upper = np.triu_indices(len(gram), k=1)
    diagonal = _opendp_gaussian(len(gram), planned.scale)
    off = _opendp_gaussian(len(upper[0]), planned.scale / np.sqrt(2))
    sensitivity = units**2
    event = DiscreteGaussianEvent(
        sensitivity=sensitivity, scale=planned.scale, bound=planned.bound, randomness="opendp"
    )
    # OpenDP's proof on the diagonal covers |k|^4 / (2 scale^2); off it, the same scale^2 is halved and pairs counted once
    if not diagonal.map(sensitivity) <= event.rho * (1 + 1e-9):
        raise ArithmeticError(f"OpenDP proves rho {diagonal.map(sensitivity)}, the event claims {event.rho}")
    noisy = np.zeros(gram.shape)
    noisy[upper] = off(gram[upper].tolist())
    noisy += noisy.T
    np.fill_diagonal(noisy, diagonal(np.diag(gram).tolist()))
    return noisy, event


def head_weights(release: GramRelease, items: Int32, mean: Float64, config: HeadConfig) -> HeadWeights:
    """Denoise the Gram's spectrum and solve for item-to-item weights: post-processing.

    Eigenvalues w above the noise's spectral edge e = sqrt(2 m) sigma are kept and shrunk to sqrt(w^2 - e^2).

    Args:
        release: the Gram matrix and its event.
        items: (m,) the head.
        mean: (m,) the direction that was projected off.
        config: constants.

    Returns:
        The weights; all 0 where noise drowned every direction.

    Source: Steck, "Embarrassingly Shallow Autoencoders" (WWW 2019), equation 8; Benaych-Georges, Nadakuditi (2011),
    section 3.1 for the spectrum of a low-rank matrix under Gaussian symmetric noise.
    """
    noise = release.event.scale / release.event.sensitivity if isinstance(release.event, DiscreteGaussianEvent) else 0.0
    edge = float(np.sqrt(2 * len(items)) * noise)
    value, vector = np.linalg.eigh(release.gram)
    keep = value > max(config.edge_factor * edge, 0.0)
    basis = vector[:, keep]
    gram = (basis * np.sqrt(value[keep] ** 2 - edge**2)) @ basis.T
    inverse = np.linalg.inv(gram + config.reg * np.eye(len(items)))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return HeadWeights(items=items, mean_direction=mean, weights=weights)


def head_scores(together: HeadWeights, user: Int32 | Int64, item: Int32, n_users: int, n_items: int) -> Float64:
    """(n_users, m) score of each head item from what the user has: one residual row times the weights."""
    rows = head_rows(together.items, user, item, n_users, n_items)
    residual = rows - np.outer(rows @ together.mean_direction, together.mean_direction)
    scores: Float64 = residual @ together.weights
    return scores
