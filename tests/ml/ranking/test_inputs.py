"""What the ranker accepts, and how it says no."""

from dataclasses import replace

import numpy as np
import pytest

from ml.ranking.inputs import CandidateConfig, Catalogue, ReleasedPopularity, codes_of
from tests.ml.ranking.small_shop import catalogue, state


def test_codes_number_the_distinct_combinations_and_keep_none() -> None:
    first, second = np.array([3, 3, 0, -1, 3]), np.array([1, 0, 1, 1, 1])
    assert codes_of(first, second).tolist() == [2, 1, 0, -1, 2]
    assert codes_of(np.array([7, 5, -1])).tolist() == [1, 0, -1]


def test_a_state_must_be_sorted_unique_finite_and_known() -> None:
    good = state([(0, 1, 1, 2, 3), (0, 4, 2, 1, 9), (2, 0, 1, 5, 5)])
    assert good.bounds(0, 1) == (0, 2)
    assert good.bounds(1, 2) == (2, 2)
    with pytest.raises(ValueError, match="not sorted"):
        replace(good, user_index=good.user_index[::-1].copy())
    with pytest.raises(ValueError, match="not sorted"):
        replace(good, item_index=np.array([4, 4, 0], dtype=np.int32))
    with pytest.raises(ValueError, match="last_days"):
        replace(good, last_days=np.array([1, np.nan, 1], dtype=np.float32))
    with pytest.raises(ValueError, match="negative"):
        replace(good, item_index=np.array([-1, 4, 0], dtype=np.int32))


def test_a_catalogue_must_fit_together() -> None:
    good = catalogue([0, 1, 1])
    assert good.n_items == 3
    with pytest.raises(ValueError, match="text_index 2"):
        replace(good, text_index=np.array([0, 1, 2], dtype=np.int32))
    with pytest.raises(ValueError, match="expected codes"):
        replace(good, codes=good.codes[:, 1:])
    with pytest.raises(ValueError, match="below -1"):
        replace(good, codes=good.codes - 5)
    with pytest.raises(ValueError, match="at least one item"):
        Catalogue(good.codes[:, :0], good.text_embeddings, good.text_index[:0])


def test_released_numbers_must_be_finite() -> None:
    with pytest.raises(ValueError, match="finite"):
        ReleasedPopularity(np.array([1.0, np.nan]), 1.0)
    with pytest.raises(ValueError, match="noise_std -1"):
        ReleasedPopularity(np.array([1.0]), -1.0)


def test_width_bounds_the_candidates() -> None:
    assert CandidateConfig(n_own=10, n_head=20, n_types=3, n_per_type=4).width == 42
