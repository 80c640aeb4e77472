"""EASE on a released Gram matrix of head items: a closed-form item model, and the scores it gives a user.

Class `release` for the matrix, all of it post-processing, free of charge; `per_user` for scores: they read one user's
row and the matrix.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import linalg, sparse

from ml.ranking.inputs import Float64

_KEPT: Final = 1.03
"""Eigenvalues count as signal from so many times the noise's spectral edge on."""


@dataclass(frozen=True, eq=False)
class Ease:
    """A fitted item model."""

    similarity: Float64
    """(n_items, n_items), diagonal 0: column j holds the weights with which items of a row speak for item j."""
    mean_direction: Float64 | None
    """(n_items,) unit vector that rows were projected off when the Gram matrix was made, and are when scored."""
    n_components: int
    """Eigenvalues that stood out of the noise; 0 means that the release says nothing, and all scores are 0."""

    def scores(self, rows: sparse.csr_array) -> Float64:
        """How much each item of the head fits each user.

        Args:
            rows: (n_users, n_items) sparse weights of users' items in the head, as in the release; an empty row scores
                0 everywhere.

        Returns:
            (n_users, n_items) float64: the user's unit row, off the mean direction, times `similarity`. A user's scores
            depend on that user's row and the released matrix alone, to the last bit.
        """
        norm = np.sqrt(rows.multiply(rows).sum(axis=1))
        scaled = sparse.csr_array(rows.multiply((1 / np.where(norm > 0, norm, 1.0))[:, None]))
        found: Float64 = scaled @ self.similarity
        if self.mean_direction is None:
            return found
        along = scaled @ self.mean_direction
        return found - along[:, None] * (self.mean_direction @ self.similarity)


def unit_direction(direction: Float64) -> Float64:
    """A direction at unit length; all zero stays zero, and projects nothing off.

    Raises:
        ValueError: if it is not finite.
    """
    if not bool(np.all(np.isfinite(direction))):
        raise ValueError("the mean direction is not finite; take it from a release or a constant")
    norm = float(np.linalg.norm(direction))
    return np.asarray(direction, dtype=np.float64) / (norm if norm > 0 else 1.0)


def denoised(gram: Float64, noise_std: float) -> tuple[Float64, Float64]:
    """The part of a released Gram matrix that stands out of its noise.

    Symmetric noise with standard deviation sigma on the diagonal and sigma / sqrt 2 off it has eigenvalues up to
    sqrt(2 M) sigma. What lies beyond is signal plus an upward bias, which the shrinkage takes off.

    Args:
        gram: (n_items, n_items) symmetric.
        noise_std: sigma; 0 keeps every positive eigenvalue as it is.

    Returns:
        (n_components,) eigenvalues > 0 and (n_items, n_components) orthonormal eigenvectors.

    Source: Shabalin, Nobel (2013) and Gavish, Donoho, "Optimal Shrinkage of Singular Values" (2017), section 3: the
    Frobenius shrinker sqrt(w^2 - edge^2), for the semicircle law's edge.
    """
    edge = float(np.sqrt(2 * len(gram)) * noise_std)
    smallest = max(_KEPT * edge, np.finfo(np.float64).eps * len(gram) * float(np.abs(gram).max(initial=0.0)))
    values, vectors = linalg.eigh(gram, subset_by_value=(smallest, np.inf))
    return np.sqrt(values**2 - edge**2), vectors


def fit_ease(gram: Float64, noise_std: float, *, reg: float, mean_direction: Float64 | None = None) -> Ease:
    """Fit the item model in closed form, on the denoised Gram matrix.

    With G = V diag(w) V^T the inverse P = (G + reg I)^-1 is (I - V diag(w / (w + reg)) V^T) / reg: no M x M inversion.

    >>> import numpy as np
    >>> gram = np.array([[2.0, 1.0], [1.0, 2.0]])
    >>> fit_ease(gram, 0.0, reg=1.0).similarity.round(6).tolist()  # by hand: B_ij = G_ij / (G_ii + reg) for two items
    [[0.0, 0.333333], [0.333333, 0.0]]

    Args:
        gram: (n_items, n_items) released.
        noise_std: standard deviation of its noise on the diagonal; 0 for a twin.
        reg: L2 regularisation lambda > 0, in units of the Gram matrix (users, where rows have unit norm). A constant.
        mean_direction: what rows were projected off, if anything; any length.

    Returns:
        The model.

    Raises:
        ValueError: if the matrix is not square, symmetric and finite, or a constant is out of range.

    Source: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (WWW 2019), equation 8.
    """
    n_items = len(gram)
    if gram.shape != (n_items, n_items) or not bool(np.all(np.isfinite(gram))) or not bool(np.all(gram == gram.T)):
        raise ValueError(
            f"a Gram matrix of shape {gram.shape} is not square, symmetric and finite; take it as released"
        )
    if not (reg > 0 and np.isfinite(reg) and noise_std >= 0 and np.isfinite(noise_std)):
        raise ValueError(f"reg {reg} must be > 0 and noise_std {noise_std} >= 0, both finite")
    values, vectors = denoised(gram, noise_std)
    inverse = np.eye(n_items) - (vectors * (values / (values + reg))) @ vectors.T  # times 1 / reg, which cancels
    similarity = -inverse / np.diagonal(inverse)
    np.fill_diagonal(similarity, 0.0)
    direction = None if mean_direction is None else unit_direction(mean_direction)
    return Ease(similarity=similarity, mean_direction=direction, n_components=len(values))
