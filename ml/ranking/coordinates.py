"""Coordinates in which the ranker's loss is about equally curved in every direction, so that few steps go everywhere.

Features of popularity and category say nearly the same, others vary little: in their own units gradient descent either
overshoots along the former or never gets anywhere along the latter. The coordinates are public constants, measured on
public benchmarks (`benchmarks/curvature.py`); a user's bag is put into them before his gradient is clipped, which costs
no privacy.
"""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from ml.ranking.bags import Bags
from ml.ranking.features import FEATURES
from ml.ranking.inputs import Float64

CURVATURE_FILE: Final = Path(__file__).with_name("curvature.json")
"""Features, and the matrix of `curvature`."""

_FLAT: Final = 0.02
"""Added to all curvatures: directions that are flatter on the benchmarks get no longer steps than this one would."""


def curvature() -> Float64:
    """(n_features, n_features) covariance of features within a user's candidates, as the prior weights rank them.

    Raises:
        ValueError: if it was measured on other features than this code computes.
    """
    known = json.loads(CURVATURE_FILE.read_text(encoding="utf-8"))
    if tuple(known["features"]) != FEATURES:
        raise ValueError(f"{CURVATURE_FILE.name} is of other features; run benchmarks/curvature.py --write")
    matrix: Float64 = np.array(known["curvature"], dtype=np.float64)
    return (matrix + matrix.T) / 2


@cache
def coordinates() -> Float64:
    """(n_features, n_features) A: weights w = A v have coordinates v, and scores are features @ A @ v.

    Source: preconditioning by the Cholesky factor of the Hessian; Nocedal, Wright, "Numerical Optimization" (2006),
    section 5.1. The Hessian is that of `ml.privacy.heads.listwise_loss` without the part of the positives.
    """
    lower = np.linalg.cholesky(curvature() + _FLAT * np.eye(len(FEATURES)))
    found: Float64 = np.linalg.inv(lower).T
    return found


def in_coordinates(bags: Bags) -> Bags:
    """Bags with features whose weights are coordinates; what a user has in them hangs on the own features alone."""
    return replace(bags, features=bags.features @ coordinates().astype(np.float32))


def to_coordinates(weights: Float64) -> Float64:
    """(n_heads, n_features) coordinates of weights."""
    return np.asarray(np.linalg.solve(coordinates(), weights.T).T, dtype=np.float64)


def from_coordinates(found: Float64) -> Float64:
    """(n_heads, n_features) weights of coordinates."""
    return found @ coordinates().T
