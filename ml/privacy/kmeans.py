"""Segment centres over all users, by k-means whose every iteration is one noisy sum of vectors and counts.

Sensitivity: in one iteration a user adds his point x, |x| <= r, to the sum of one cluster and r to its count (so both
count alike), a vector of L2 norm at most sqrt(r^2 + r^2) = sqrt 2 r over all cells. That is the `bound` of the slot. T
iterations are T adaptive Gaussian mechanisms, an event of kind `gaussian`; T, the start and what becomes of an empty
cluster are constants, or read releases alone.

Source: Blum, Dwork, McSherry, Nissim, "Practical Privacy: the SuLQ Framework" (PODS 2005), section 5; joint noise on
sums and counts as in Su et al., "Differentially Private k-Means Clustering" (CODASPY 2016), section 3.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from ml.privacy.bounding import Contributions, Float64, Int64, bound_rows
from ml.privacy.events import GaussianEvent, MechanismEvent, NonPrivateEvent
from ml.privacy.mechanisms import DiscreteGaussianNoise, event_of_steps, in_units

SENSITIVITY: Final = 2**20
"""Whole units that the bound is cut into."""

_SURE: Final = 2.0
"""A cluster moves if its noisy count is above so many standard deviations of the noise."""

_DRAWN: Final = 4096
"""Random directions that the start is chosen from."""


@dataclass(frozen=True, eq=False)
class KMeansRelease:
    """Released centres, and everything else that the noise paid for."""

    centres: Float64
    """(n_clusters, size), each of norm at most r."""
    totals: Float64
    """(steps, n_clusters, size + 1) noisy sum of points and, last, noisy number of users, of every iteration."""
    event: MechanismEvent
    """What ran, for the ledger."""


def release_kmeans(
    points: Float64,
    *,
    n_clusters: int,
    planned: GaussianEvent,
    start: Float64 | None = None,
    non_private: bool = False,
) -> KMeansRelease:
    """Release the centres of users' points.

    Args:
        points: (n_users, size) float64, finite, one point a user; clipped to norm r = bound / sqrt 2.
        n_clusters: a constant.
        planned: what the plan allows: iterations, noise and bound are taken from here.
        start: (n_clusters, size) public or released; `public_start` if absent.
        non_private: leave the noise out, for a twin on a public benchmark.

    Returns:
        Centres, totals, and the event read back from the noise.

    Raises:
        ValueError: if a point is not finite, or shapes differ.
    """
    radius = planned.bound / math.sqrt(2)
    centres = public_start(n_clusters, points.shape[1], radius) if start is None else np.asarray(start, np.float64)
    if centres.shape != (n_clusters, points.shape[1]) or not bool(np.all(np.isfinite(centres))):
        raise ValueError(f"a start of shape {centres.shape} does not fit {n_clusters} clusters of {points.shape[1]}")
    noises = [DiscreteGaussianNoise(planned.noise_multiplier * SENSITIVITY) for _ in range(planned.steps)]
    noise_std = 0.0 if non_private else planned.noise_multiplier * math.sqrt(2)
    totals = np.empty((planned.steps, n_clusters, points.shape[1] + 1))
    for step, noise in enumerate(noises):
        parts = cluster_contributions(points, centres, bound=planned.bound)
        units = parts.total() if non_private else noise.add_to(parts)
        totals[step] = in_units(units, parts, totals[step].shape)
        totals[step, :, -1] /= radius
        centres = moved(centres, totals[step], radius=radius, noise_std=noise_std)
    event = NonPrivateEvent() if non_private else event_of_steps([noise.event for noise in noises])
    return KMeansRelease(centres, totals, event)


def public_start(n_clusters: int, size: int, radius: float) -> Float64:
    """Centres that no data enters: far apart among random directions of a fixed public seed, at half the radius.

    Args:
        n_clusters: >= 1.
        size: of a point, >= 1.
        radius: of the ball that points are clipped to.

    Returns:
        (n_clusters, size) float64.

    Raises:
        ValueError: if there are no clusters, or more than directions to choose from.
    """
    if not 1 <= n_clusters <= _DRAWN:
        raise ValueError(f"{n_clusters} clusters are asked for; give 1 to {_DRAWN}")
    drawn = np.random.default_rng(0).normal(size=(_DRAWN, size))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    chosen = [0]
    nearest = drawn @ drawn[0]
    while len(chosen) < n_clusters:
        chosen.append(int(np.argmin(nearest)))
        nearest = np.maximum(nearest, drawn @ drawn[chosen[-1]])
    return drawn[chosen] * (radius / 2)


def cluster_contributions(points: Float64, centres: Float64, *, bound: float) -> Contributions:
    """What each user adds to the sums and counts of the clusters, in whole numbers.

    Args:
        points: (n_users, size) finite.
        centres: (n_clusters, size).
        bound: sqrt 2 times the radius r.

    Returns:
        One entry a user and coordinate, and one for the count; cells are (cluster, coordinate, count last).

    Raises:
        ValueError: if a point is not finite.
    """
    n_users, size = points.shape
    if not bool(np.all(np.abs(points) <= 1e100)):
        raise ValueError("users' points must be finite and at most 1e100; repair them before the release")
    radius = bound / math.sqrt(2)
    norm = np.sqrt(np.sum(points * points, axis=1, keepdims=True))
    clipped = points * (radius / np.maximum(norm, radius))
    units = bound_rows(
        np.concatenate([clipped, np.full((n_users, 1), radius)], axis=1), bound=bound, sensitivity=SENSITIVITY
    )
    cells = nearest_centre(clipped, centres)[:, None] * (size + 1) + np.arange(size + 1)
    users = np.repeat(np.arange(n_users), size + 1)
    return Contributions(users, cells.ravel(), units.ravel(), len(centres) * (size + 1), bound, SENSITIVITY)


def nearest_centre(points: Float64, centres: Float64) -> Int64:
    """The nearest centre of each point; the first of equals.

    Not a matrix product: how BLAS cuts it, and with that a user's cluster at a tie, depends on the other users.

    Args:
        points: (n, size).
        centres: (n_clusters, size).

    Returns:
        (n,) int64.
    """
    best = np.zeros(len(points), dtype=np.int64)
    least = np.full(len(points), np.inf)
    for number, centre in enumerate(centres):
        offset = points - centre
        distance = np.sum(offset * offset, axis=1)
        is_nearer = distance < least
        best[is_nearer], least[is_nearer] = number, distance[is_nearer]
    return best


def moved(centres: Float64, total: Float64, *, radius: float, noise_std: float) -> Float64:
    """The centres after an iteration, from released numbers alone.

    Args:
        centres: (n_clusters, size) before.
        total: (n_clusters, size + 1) noisy sums of points and numbers of users.
        radius: centres are kept within it.
        noise_std: standard deviation of the noise of a number of users.

    Returns:
        (n_clusters, size); a cluster whose number of users is lost in the noise stays where it was.
    """
    count = total[:, -1:]
    is_sure = count > max(_SURE * noise_std, 0.5)
    mean = total[:, :-1] / np.where(is_sure, count, 1.0)
    mean *= radius / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), radius)
    return np.where(is_sure, mean, centres)
