"""Unusual events or users for an operator's eye: an isolation forest, DBSCAN, and the feature that sets a row apart.

Everything here is learnt across users, so results are of class `internal`: a report that decides nothing, drops
nothing, and reaches neither a release nor a profile.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from sklearn.cluster import DBSCAN
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors

Floats = NDArray[np.float64]

EVENT_FEATURES = ("log1p_quantity", "log1p_value", "unit_price", "hour")
"""Columns of `event_features`."""

NO_HOUR = -1.0
"""Hour of an event without a time."""


class OutlierConfig(BaseModel):
    """Hyperparameters of the forest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_trees: int = Field(default=100, ge=1)
    """Trees of the forest."""
    sample_size: int = Field(default=1024, ge=2)
    """Rows that each tree sees. The paper's 256 finds rows that are odd in several features; a row that is odd in one
    alone (an hour at night) needs more."""
    top: int = Field(default=20, ge=0)
    """How many rows are named."""
    reach: float = Field(default=0.5, gt=0)
    """DBSCAN's eps, in the features' own spreads (half the distance of their 10th and 90th percentiles)."""
    min_neighbours: int = Field(default=10, ge=1)
    """Rows within reach, itself included, that make a row the core of a cluster."""
    cluster_rows: int = Field(default=5000, ge=1)
    """Rows that clusters are found among at most: DBSCAN keeps the neighbours of each."""


@dataclass(frozen=True)
class Unusual:
    """One row that stands out."""

    row: int
    """Its position in the input."""
    score: float
    """Of the forest, in (0, 1): about 0.5 for an ordinary row, near 1 for a lone one. Of DBSCAN, a distance."""
    feature: str
    """The feature that sets it apart most: of the forest, whose replacement by its median lowers the score most."""
    value: float
    """The row's value of it."""
    median: float
    """The median of it."""


@dataclass(frozen=True, eq=False)
class OutlierReport:
    """What `find` returns."""

    scores: Floats
    """(n,) anomaly scores in (0, 1), by input row."""
    top: tuple[Unusual, ...]
    """The most unusual rows, highest score first, ties by row."""


def event_features(quantity: Floats, value: Floats, hour: Floats) -> Floats:
    """The features of single events.

    Args:
        quantity: (n,) units, 0 or more.
        value: (n,) money of the whole line, 0 or more.
        hour: (n,) hour of the day, 0 to 24; NaN where an event has no time.

    Returns:
        (n, 4) float64, columns `EVENT_FEATURES`; the unit price of nothing is the value of the line.
    """
    unit_price = np.asarray(value) / np.where(np.asarray(quantity) > 0, quantity, 1.0)
    hours = np.where(np.isnan(hour), NO_HOUR, hour)
    return np.stack([np.log1p(quantity), np.log1p(value), unit_price, hours], axis=1)


def find(features: Floats, names: tuple[str, ...], config: OutlierConfig, seed: int) -> OutlierReport:
    """Score rows with an isolation forest and explain the most unusual ones.

    Args:
        features: (n, d) float64, finite; one row an event or a user.
        names: d names of the columns.
        config: hyperparameters.
        seed: of the forest; the same seed and rows give the same report.

    Returns:
        The report; empty for no rows.

    Raises:
        ValueError: the names do not fit the columns, or a feature is not finite.

    Source:
        Liu, Ting, Zhou: Isolation Forest, ICDM 2008, section 4 (score s(x, n), equation 2).
    """
    _require_usable(features, names)
    if not len(features):
        return OutlierReport(np.empty(0), ())
    samples = min(config.sample_size, len(features))
    forest = IsolationForest(n_estimators=config.n_trees, max_samples=samples, random_state=seed).fit(features)
    scores = -forest.score_samples(features)
    rows = np.argsort(-scores, kind="stable")[: config.top]
    return OutlierReport(scores, tuple(_explained(forest, features, names, scores, rows)))


def find_apart(features: Floats, names: tuple[str, ...], config: OutlierConfig, seed: int) -> tuple[Unusual, ...]:
    """Name the rows that lie farthest from every cluster: the noise of DBSCAN.

    Clusters are found among a drawn part of the rows; any row out of reach of all their core rows is noise.

    Args:
        features: (n, d) float64, finite; one row an event or a user.
        names: d names of the columns.
        config: hyperparameters.
        seed: of the draw; the same seed and rows give the same report.

    Returns:
        The most distant noise first, ties by row; `score` is the distance to the nearest core row in spreads, `feature`
        the one that differs most from it. Empty where no row is core.

    Raises:
        ValueError: as `find`.

    Source:
        Ester, Kriegel, Sander, Xu: A Density-Based Algorithm for Discovering Clusters, KDD 1996, section 3.
    """
    _require_usable(features, names)
    if not len(features):
        return ()
    low, medians, high = np.percentile(features, (10, 50, 90), axis=0)
    scaled = (features - medians) / np.where(high > low, (high - low) / 2, 1.0)
    drawn = np.random.default_rng(seed).permutation(len(scaled))[: config.cluster_rows]
    clusters = DBSCAN(eps=config.reach, min_samples=config.min_neighbours).fit(scaled[drawn])
    core = clusters.components_
    if not len(core):
        return ()
    distance, nearest = (found[:, 0] for found in NearestNeighbors(n_neighbors=1).fit(core).kneighbors(scaled))
    rows = [row for row in np.argsort(-distance, kind="stable")[: config.top].tolist() if distance[row] > config.reach]
    columns = [int(np.abs(scaled[row] - core[nearest[row]]).argmax()) for row in rows]
    return tuple(
        Unusual(row, float(distance[row]), names[c], float(features[row, c]), float(medians[c]))
        for row, c in zip(rows, columns, strict=True)
    )


def _require_usable(features: Floats, names: tuple[str, ...]) -> None:
    if features.ndim != 2 or features.shape[1] != len(names):
        raise ValueError(f"Features of shape {features.shape} have {len(names)} names; give one name a column.")
    if not np.isfinite(features).all():
        column = names[int(np.argmin(np.isfinite(features).all(axis=0)))]
        raise ValueError(f"Feature {column} has a value that is not finite; fill it with a constant before here.")


def _explained(
    forest: IsolationForest, features: Floats, names: tuple[str, ...], scores: Floats, rows: NDArray[np.intp]
) -> list[Unusual]:
    """Name the feature that each row stands out by: the one whose median in its place lowers the score most."""
    if not len(rows):
        return []
    medians = np.median(features, axis=0)
    lowered = np.empty((len(rows), len(names)))
    for column in range(len(names)):
        occluded = features[rows].copy()
        occluded[:, column] = medians[column]
        lowered[:, column] = scores[rows] + forest.score_samples(occluded)
    best = lowered.argmax(axis=1)
    return [
        Unusual(int(row), float(scores[row]), names[c], float(features[row, c]), float(medians[c]))
        for row, c in zip(rows.tolist(), best.tolist(), strict=True)
    ]
