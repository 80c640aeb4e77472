"""The popularity release as a whole: right on average, as noisy as it says, as secret as it says."""

import numpy as np
import pytest

from ml.privacy.bounding import bound_contributions
from ml.privacy.events import DiscreteGaussianEvent, NonPrivateEvent
from ml.privacy.mechanisms import DiscreteGaussianNoise, release_popularity
from tests.ml.privacy.cases import CLAIM, popularity_residuals
from tests.ml.privacy.checks import S, check_residuals


def test_noise_has_the_claimed_size_and_is_independent_between_runs() -> None:
    check_residuals(popularity_residuals)


def test_the_event_is_read_back_from_what_ran() -> None:
    release = release_popularity(np.array([0]), np.array([1]), n_items=4, planned=CLAIM)
    assert release.event == CLAIM
    contributions = bound_contributions(np.array([0]), np.array([1]), n_cells=4, bound=1.5, sensitivity=S)
    noise = DiscreteGaussianNoise(1234.5)
    noise.add_to(contributions)
    assert noise.event == DiscreteGaussianEvent(sensitivity=S, scale=1234.5, bound=1.5, randomness="opendp")


def test_windows_share_one_clip_norm_and_the_whole_catalogue_is_released() -> None:
    users, items, windows = np.array([0, 0, 1]), np.array([2, 2, 0]), np.array([0, 1, 1])
    twin = release_popularity(
        users, items, n_items=5, planned=CLAIM, window_index=windows, n_windows=2, weight=np.full(3, 100.0),
        non_private=True,
    )  # fmt: skip
    wanted = np.zeros((2, 5))
    wanted[:, 2] = 3 / np.sqrt(2)  # user 0 fills both windows, and has one norm of 3 for them
    wanted[1, 0] = 3
    np.testing.assert_allclose(twin.values, wanted, atol=2 * 3 / S)
    assert twin.values.dtype == np.float64


def test_time_decay_and_cap_reach_the_release() -> None:
    users, items = np.array([0, 0, 0, 1]), np.array([1, 1, 2, 2])
    options = {"n_items": 3, "planned": CLAIM, "non_private": True}
    decayed = release_popularity(users, items, weight=np.array([0.5, 0.25, 1.0, 0.5]), **options)
    np.testing.assert_allclose(decayed.values[0], [0, 0.75, 1.5], atol=2 * 3 / S)
    capped = release_popularity(users, items, cell_cap=1.0, **options)
    np.testing.assert_allclose(capped.values[0], [0, 1, 2], atol=2 * 3 / S)


def test_a_twin_without_noise_says_so() -> None:
    twin = release_popularity(np.array([0]), np.array([1]), n_items=4, planned=CLAIM, non_private=True)
    assert twin.event == NonPrivateEvent()


def test_one_noise_serves_one_release() -> None:
    contributions = bound_contributions(np.array([0]), np.array([0]), n_cells=1, bound=1.0, sensitivity=S)
    noise = DiscreteGaussianNoise(10.0)
    with pytest.raises(RuntimeError, match="no noise was drawn yet"):
        _ = noise.event
    noise.add_to(contributions)
    with pytest.raises(RuntimeError, match="already released"):
        noise.add_to(contributions)


def test_nobody_bought_anything_is_still_a_noisy_release() -> None:
    nothing = np.array([], dtype=np.int64)
    release = release_popularity(nothing, nothing, n_items=1000, planned=CLAIM)
    assert np.count_nonzero(release.values) > 900


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_no_noise_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="must be positive and finite"):
        DiscreteGaussianNoise(scale)


@pytest.mark.parametrize(
    ("items", "changes", "sentence"),
    [
        ([4], {}, "catalogue of 4 items"),
        ([0], {"window_index": np.array([1])}, "window index"),
        ([0], {"window_index": np.array([-1])}, "window index"),
        ([0], {"n_items": 0}, "catalogue of 0 items"),
    ],
)
def test_bad_arguments_get_one_sentence(items: list[int], changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        release_popularity(np.zeros(1, dtype=int), np.array(items), **{"n_items": 4, "planned": CLAIM, **changes})
