"""Posterior popularity: what noise alone looks like is not believed, what stands out is."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.ranking.popularity import posterior_counts


def test_without_noise_counts_are_taken_as_they_are() -> None:
    counts, logs = posterior_counts(np.array([4.0, -1.0, 0.0]), 0.0)
    assert counts.tolist() == [4.0, 0.0, 0.0]
    assert np.array_equal(logs, np.log1p(counts))
    assert posterior_counts(np.empty(0), 1.0)[0].shape == (0,)


def test_pure_noise_is_shrunk_to_nearly_nothing_and_a_best_seller_is_kept() -> None:
    released = np.random.default_rng(0).normal(0, 2, 20_000)
    released[0] = 150.0
    counts, logs = posterior_counts(released, 2.0)
    assert released[1:].max() > 7  # the largest noise looks like a seller
    assert counts[1:].mean() < 0.1
    assert counts[1:].max() < 2
    assert abs(counts[0] - 150) < 4
    assert abs(logs[0] - np.log1p(150)) < 0.05


def test_posterior_means_are_nearer_the_truth_than_the_released_counts() -> None:
    rng = np.random.default_rng(1)
    truth = np.where(rng.random(20_000) < 0.9, 0.0, rng.exponential(10, 20_000))
    released = truth + rng.normal(0, 3, len(truth))
    counts, logs = posterior_counts(released, 3.0)
    naive = np.maximum(released, 0)
    assert np.mean((counts - truth) ** 2) < 0.4 * np.mean((naive - truth) ** 2)
    assert np.mean((logs - np.log1p(truth)) ** 2) < 0.4 * np.mean((np.log1p(naive) - np.log1p(truth)) ** 2)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=50), st.floats(0.01, 100))
def test_posterior_means_are_finite_and_in_the_order_of_the_counts(values: list[float], std: float) -> None:
    released = np.sort(np.array(values))
    for means in posterior_counts(released, std):
        assert np.isfinite(means).all()
        assert (means >= 0).all()
        assert (np.diff(means) >= -1e-9 * (1 + means[1:])).all()
