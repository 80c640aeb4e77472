"""EASE on a Gram matrix: the closed form, what noise leaves of it, and scores that read one user alone."""

import numpy as np
import pytest
from scipy import sparse

from ml.ranking.ease import denoised, fit_ease, unit_direction


def gram_of(n_users: int, n_items: int, rank: int, seed: int = 0) -> np.ndarray:
    """A Gram matrix of exact low rank, plus a little of everything."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n_users, rank)) @ rng.normal(size=(rank, n_items)) + 0.1 * rng.normal(
        size=(n_users, n_items)
    )
    found = rows.T @ rows
    return (found + found.T) / 2


def noise(n_items: int, std: float, seed: int) -> np.ndarray:
    """Symmetric noise of the release's law."""
    drawn = np.random.default_rng(seed).normal(0, std / np.sqrt(2), (n_items, n_items))
    upper = np.triu(drawn, 1)
    return upper + upper.T + np.diag(np.diagonal(drawn)) * np.sqrt(2)


def test_the_closed_form_is_the_papers() -> None:
    gram = gram_of(200, 30, 5)
    inverse = np.linalg.inv(gram + 7.0 * np.eye(30))
    wanted = -inverse / np.diagonal(inverse)
    np.fill_diagonal(wanted, 0)
    np.testing.assert_allclose(fit_ease(gram, 0.0, reg=7.0).similarity, wanted, atol=1e-9)


def test_items_of_a_checkerboard_recommend_their_own_colour() -> None:
    rows = np.array([[(user + item) % 2 for item in range(20)] for user in range(20)], dtype=float)
    np.fill_diagonal(rows, 0)
    scores = fit_ease(rows.T @ rows, 0.0, reg=1.0).scores(sparse.csr_array(rows))
    for user in range(20):
        mine = (user + np.arange(20)) % 2 == 1
        assert scores[user, mine].min() > scores[user, ~mine].max()


def test_the_spectrum_of_the_noise_ends_at_its_edge_and_pure_noise_says_nothing() -> None:
    largest = [np.linalg.eigvalsh(noise(300, 2.0, seed))[-1] / (np.sqrt(2 * 300) * 2.0) for seed in range(5)]
    assert 0.95 < np.mean(largest) < 1.01
    empty = fit_ease(noise(300, 2.0, 9), 2.0, reg=1.0)
    assert empty.n_components == 0 and not empty.similarity.any()
    assert not empty.scores(sparse.csr_array(np.ones((2, 300)))).any()


def test_what_stands_out_of_the_noise_comes_back_shrunk_towards_the_truth() -> None:
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.normal(size=(200, 3)))[0]
    truth, std = (basis * [200.0, 120.0, 60.0]) @ basis.T, 1.0
    noisy = truth + noise(200, std, 4)
    values, vectors = denoised(noisy, std)
    raw = np.linalg.eigvalsh(noisy)
    assert len(values) == 3
    np.testing.assert_allclose(values, np.sqrt(raw[-3:] ** 2 - 2 * 200 * std**2))
    errors = [
        np.linalg.norm(x - truth) for x in ((vectors * values) @ vectors.T, (vectors * raw[-3:]) @ vectors.T, noisy)
    ]
    assert errors[0] < errors[1] < errors[2]


def test_negative_eigenvalues_are_noise_even_without_noise() -> None:
    assert fit_ease(np.diag([3.0, -2.0, 0.0]), 0.0, reg=1.0).n_components == 1


def test_scores_of_a_user_depend_on_that_users_row_alone() -> None:
    rng = np.random.default_rng(2)
    direction = np.abs(rng.normal(size=30)) * 5
    model = fit_ease(gram_of(200, 30, 5), 0.0, reg=5.0, mean_direction=direction)
    rows = sparse.random_array((17, 30), density=0.3, rng=rng, format="csr")
    together = model.scores(rows)
    for user in range(17):
        assert np.array_equal(model.scores(rows[[user]])[0], together[user])
    dense = rows.toarray()
    unit = dense / np.maximum(np.linalg.norm(dense, axis=1, keepdims=True), 1e-300)
    length = direction / np.linalg.norm(direction)
    projected = unit - np.outer(unit @ length, length)
    np.testing.assert_allclose(together, projected @ model.similarity, atol=1e-12)
    np.testing.assert_allclose(model.scores(rows * 9.0), together, atol=1e-12)
    assert not model.scores(sparse.csr_array((1, 30))).any()


def test_bad_matrices_and_constants_get_one_sentence() -> None:
    good = gram_of(20, 4, 2)
    skewed, nan = good.copy(), good.copy()
    skewed[0, 1] += 1
    nan[2, 2] = np.nan
    for gram in (skewed, nan, good[:3]):
        with pytest.raises(ValueError, match="not square, symmetric and finite"):
            fit_ease(gram, 0.0, reg=1.0)
    for reg, std in ((0.0, 0.0), (1.0, -1.0), (np.inf, 0.0)):
        with pytest.raises(ValueError, match="must be > 0"):
            fit_ease(good, std, reg=reg)
    with pytest.raises(ValueError, match="direction is not finite"):
        unit_direction(np.array([np.nan]))
