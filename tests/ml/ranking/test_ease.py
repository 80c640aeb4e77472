"""The linear item-to-item model: closed form, noise taken off, and no bit of a user from another."""

import numpy as np
import pytest

from ml.ranking.ease import denoised, head_of, head_rows, scores, together
from ml.ranking.inputs import Float64, ReleasedGram, ReleasedPopularity

RNG = np.random.default_rng(7)


def planted(n_users: int, n_items: int) -> Float64:
    """Users of two tastes, each buying from its own half of the items."""
    taste = RNG.integers(2, size=n_users)
    half = np.arange(n_items) * 2 // n_items
    likes = np.where(taste[:, None] == half, 0.5, 0.05)
    return (RNG.random((n_users, n_items)) < likes).astype(np.float64)


def gram_of(bought: Float64, noise_std: float = 0.0) -> ReleasedGram:
    """The Gram matrix of unit rows with noise of the released law."""
    n = bought.shape[1]
    rows = bought / np.maximum(np.linalg.norm(bought, axis=1, keepdims=True), 1e-9)
    above = np.triu(RNG.normal(size=(n, n)) * noise_std / np.sqrt(2), 1)
    noise = above + above.T + np.diag(RNG.normal(size=n) * noise_std)
    return ReleasedGram(np.arange(n, dtype=np.int32), np.zeros(n), rows.T @ rows + noise, noise_std)


def pairs(bought: Float64) -> tuple[np.ndarray, np.ndarray]:
    user, item = np.nonzero(bought)
    return user, item


def test_weights_are_the_ridge_regression_of_each_item_on_the_others():
    bought = planted(400, 6)
    gram = gram_of(bought)
    index = together(gram, 6)
    ridge = 3.0 * np.trace(gram.values) / 6
    for item in range(6):
        others = [i for i in range(6) if i != item]
        regularised = gram.values[np.ix_(others, others)] + ridge * np.eye(5)
        expected = np.linalg.solve(regularised, gram.values[others, item])
        np.testing.assert_allclose(index.weights[others, item] / 2**20, expected, atol=2e-6)
        assert index.weights[item, item] == 0


def test_a_user_scores_higher_what_the_own_taste_buys():
    bought = planted(2000, 20)
    index = together(gram_of(bought, noise_std=3.0), 20)
    one = np.zeros(3, dtype=np.int64)
    found = scores(one, np.array([0, 1, 2]), index, 1)[0]
    assert found[3:10].mean() > found[10:20].mean() + 0.1
    assert found[20] == 0  # what items outside the head read


def test_denoising_brings_the_matrix_nearer_to_the_exact_one():
    exact = gram_of(planted(3000, 80))
    for _ in range(3):
        noise_std = 4.0
        above = np.triu(RNG.normal(size=(80, 80)) * noise_std / np.sqrt(2), 1)
        noisy = exact.values + above + above.T + np.diag(RNG.normal(size=80) * noise_std)
        clean = denoised(noisy, noise_std)
        assert np.linalg.norm(clean - exact.values) < 0.6 * np.linalg.norm(noisy - exact.values)
        assert np.linalg.eigvalsh(clean).min() > -1e-9


def test_how_often_an_item_is_taken_does_not_hide_what_it_goes_with():
    taste = RNG.normal(size=(4000, 4))
    direction = RNG.normal(size=(200, 4))
    share = np.minimum(0.5 * np.arange(1, 201) ** -0.7, 0.4)
    likes = share / (share + (1 - share) * np.exp(-0.7 * taste @ direction.T))
    exact, noise_std = gram_of((RNG.random(likes.shape) < likes).astype(np.float64)), 2.0
    above = np.triu(RNG.normal(size=(200, 200)) * noise_std / np.sqrt(2), 1)
    noisy = exact.values + above + above.T + np.diag(RNG.normal(size=200) * noise_std)
    values, vectors = np.linalg.eigh(noisy)
    edge = np.sqrt(400) * noise_std
    strong = values > edge
    with_diagonal = (vectors[:, strong] * np.sqrt(values[strong] ** 2 - edge**2)) @ vectors[:, strong].T
    off = ~np.eye(200, dtype=bool)

    def wrong(found: Float64) -> float:
        return float(np.linalg.norm((found - exact.values)[off]))

    assert wrong(denoised(noisy, noise_std)) < 0.9 * wrong(with_diagonal)


def test_pure_noise_teaches_next_to_nothing():
    n, noise_std = 120, 5.0
    above = np.triu(RNG.normal(size=(n, n)) * noise_std / np.sqrt(2), 1)
    noise = ReleasedGram(np.arange(n, dtype=np.int32), np.zeros(n), above + above.T, noise_std)
    index = together(noise, n)
    assert np.abs(index.weights).max() / 2**20 < 1e-3


def test_no_bit_of_a_users_scores_depends_on_the_others():
    bought = planted(300, 40)
    index = together(gram_of(bought, noise_std=1.0), 50)
    user, item = pairs(bought)
    together_with_all = scores(user, item, index, 300)
    for one in (0, 17, 299):
        alone = scores(np.zeros((user == one).sum(), np.int64), item[user == one], index, 1)
        assert alone.tobytes() == together_with_all[one : one + 1].tobytes()


def test_without_a_release_every_score_is_zero():
    index = together(ReleasedGram.none(), 5)
    assert index.column.tolist() == [-1] * 5
    assert scores(np.array([0, 1]), np.array([2, 3]), index, 2).tolist() == [[0.0], [0.0]]


def test_the_head_is_the_most_popular_items_and_rows_know_only_it():
    head, direction = head_of(ReleasedPopularity(np.array([1.0, 9.0, -2.0, 4.0]), 0.0), 2)
    assert head.tolist() == [1, 3]
    np.testing.assert_allclose(direction, [9**0.25, 4**0.25])
    rows = head_rows(np.array([0, 0, 1]), np.array([3, 0, 2]), head, n_users=2, n_items=4).toarray()
    assert rows.tolist() == [[0.0, 1.0], [0.0, 0.0]]


def test_a_matrix_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="expected"):
        ReleasedGram(np.array([1, 1], np.int32), np.zeros(2), np.zeros((2, 2)), 1.0)
    with pytest.raises(ValueError, match="finite"):
        ReleasedGram(np.array([1], np.int32), np.zeros(1), np.full((1, 1), np.nan), 1.0)
