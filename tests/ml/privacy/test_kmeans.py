"""DP k-means: what a user adds is exact and bounded, every iteration has its noise, and clusters are found."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ml.privacy import mechanisms
from ml.privacy.events import DiscreteGaussianEvent, GaussianEvent, NonPrivateEvent
from ml.privacy.kmeans import SENSITIVITY, cluster_contributions, moved, nearest_centre, public_start, release_kmeans
from ml.privacy.mechanisms import event_of_steps
from tests.ml.privacy.checks import check_residuals, check_separable

BOUND = math.sqrt(2)
POINTS = np.random.default_rng(4).normal(size=(40, 3)) * 0.8
CENTRES = np.random.default_rng(5).normal(size=(4, 3)) * 0.5
QUIET = GaussianEvent(steps=6, noise_multiplier=1.5, bound=BOUND, randomness="opendp")


def three_groups(n: int) -> np.ndarray:
    """Points around three directions."""
    rng = np.random.default_rng(1)
    centres = np.array([[0.8, 0.0], [-0.4, 0.7], [-0.4, -0.7]])
    return centres[np.arange(n) % 3] + 0.05 * rng.normal(size=(n, 2))


def test_removing_a_user_removes_exactly_his_point_and_his_count() -> None:
    parts = check_separable(lambda users: cluster_contributions(POINTS[users], CENTRES, bound=BOUND).total(), range(40))
    squares = (parts.astype(object) ** 2).sum(axis=1)
    assert max(squares) <= SENSITIVITY**2
    assert max(squares) > 0.999 * SENSITIVITY**2
    assert (np.count_nonzero(parts, axis=1) <= 4).all()


@given(arrays.arrays(np.float64, (3, 3), elements=st.floats(-1e100, 1e100)), st.sampled_from([1e-3, BOUND, 7.0]))
def test_no_user_exceeds_the_sensitivity_in_whole_numbers(points: np.ndarray, bound: float) -> None:
    found = cluster_contributions(points, CENTRES, bound=bound)
    for user in range(3):
        assert sum(int(unit) ** 2 for unit in found.units[found.user_index == user]) <= SENSITIVITY**2


def test_sum_and_count_weigh_alike_and_lie_in_the_nearest_cluster() -> None:
    point = np.array([[3.0, 0.0, 4.0]])  # clipped to (0.6, 0, 0.8)
    total = cluster_contributions(point, CENTRES, bound=BOUND).total().reshape(4, 4) * BOUND / SENSITIVITY
    nearest = int(np.argmin(((CENTRES - [0.6, 0, 0.8]) ** 2).sum(axis=1)))
    np.testing.assert_allclose(total[nearest], [0.6, 0, 0.8, 1], atol=1e-5)
    assert not np.delete(total, nearest, axis=0).any()
    assert nearest_centre(np.array([[0.0]]), np.array([[1.0], [-1.0]])).tolist() == [0]


def test_every_iteration_has_the_claimed_noise_of_its_own() -> None:
    planned = GaussianEvent(steps=4, noise_multiplier=3.0, bound=BOUND, randomness="opendp")
    nobody, radius = np.empty((0, 50)), 1.0

    def residuals() -> np.ndarray:
        totals = release_kmeans(nobody, n_clusters=100, planned=planned).totals.copy()
        assert abs(np.corrcoef(totals[0].ravel(), totals[1].ravel())[0, 1]) < 6 / math.sqrt(totals[0].size)
        totals[:, :, -1] *= radius
        return totals.ravel() / (planned.noise_multiplier * BOUND)

    check_residuals(residuals)


def test_the_event_is_read_back_from_every_draw() -> None:
    released = release_kmeans(POINTS, n_clusters=4, planned=QUIET)
    assert released.event == QUIET
    assert released.totals.shape == (6, 4, 4)
    assert (np.linalg.norm(released.centres, axis=1) <= 1 + 1e-12).all()
    assert release_kmeans(POINTS, n_clusters=4, planned=QUIET, non_private=True).event == NonPrivateEvent()
    one = DiscreteGaussianEvent(sensitivity=2**10, scale=2**11, bound=1, randomness="opendp")
    with pytest.raises(RuntimeError, match="noise changed between steps"):
        event_of_steps([one, one.model_copy(update={"scale": 2.0**12})])


def test_groups_are_found_with_and_without_noise() -> None:
    wanted = np.array([[0.8, 0.0], [-0.4, 0.7], [-0.4, -0.7]])
    for options in ({"non_private": True}, {}):
        centres = release_kmeans(three_groups(3000), n_clusters=3, planned=QUIET, **options).centres
        nearest = np.linalg.norm(centres[:, None] - wanted, axis=2).min(axis=0)
        assert nearest.max() < 0.06, options


def test_a_cluster_lost_in_noise_stays_and_the_start_is_public() -> None:
    total = np.array([[5.0, 5.0, 3.0], [300.0, -400.0, 100.0]])
    after = moved(np.array([[0.1, 0.1], [0.0, 0.0]]), total, radius=1.0, noise_std=2.0)
    np.testing.assert_allclose(after, [[0.1, 0.1], [0.6, -0.8]])
    start = public_start(5, 3, 2.0)
    assert np.array_equal(start, public_start(5, 3, 2.0))
    np.testing.assert_allclose(np.linalg.norm(start, axis=1), 1.0)
    apart = np.linalg.norm(start[:, None] - start, axis=2)[~np.eye(5, dtype=bool)]
    assert apart.min() > 1.0


def test_nobody_and_bad_input_are_defined(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(
        mechanisms, "_opendp_gaussian", lambda *a, real=mechanisms._opendp_gaussian: drawn.append(a) or real(*a)
    )
    assert np.isfinite(release_kmeans(np.empty((0, 2)), n_clusters=3, planned=QUIET).centres).all()
    assert len(drawn) == QUIET.steps
    nan = POINTS.copy()
    nan[7, 1] = np.nan
    with pytest.raises(ValueError, match="points must be finite"):
        release_kmeans(nan, n_clusters=4, planned=QUIET)
    with pytest.raises(ValueError, match="does not fit 4 clusters of 3"):
        release_kmeans(POINTS, n_clusters=4, planned=QUIET, start=CENTRES[:3])
    with pytest.raises(ValueError, match="0 clusters"):
        public_start(0, 3, 1.0)
    assert len(drawn) == QUIET.steps
