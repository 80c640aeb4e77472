"""Contingency tables: one bounded draw, and what is read off it against numbers known otherwise."""

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from ml.privacy.bounding import bound_contributions
from ml.privacy.contingency import independence, mutual_information, release_table
from ml.privacy.events import NonPrivateEvent
from tests.ml.privacy.cases import CLAIM, ONE_USER
from tests.ml.privacy.checks import S, check_residuals, check_separable


def users_of(n: int, seed: int, dependence: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """n users with one cell each in a 3 x 4 table; with dependence the column tends to follow the row."""
    rng = np.random.default_rng(seed)
    row, column = rng.integers(0, 3, n), rng.integers(0, 4, n)
    return np.arange(n), row, np.where(rng.random(n) < dependence, row, column)


def test_the_table_is_what_users_add_and_the_event_what_ran() -> None:
    user, row, column = users_of(500, 0, 0.3)
    exact = np.zeros((3, 4))
    np.add.at(exact, (row, column), 1)
    twin = release_table(user, row, column, shape=(3, 4), planned=ONE_USER, non_private=True)
    np.testing.assert_allclose(twin.values, exact, atol=500 / S)
    assert twin.event == NonPrivateEvent()
    released = release_table(user, row, column, shape=(3, 4), planned=ONE_USER)
    assert released.event == ONE_USER
    assert np.abs(released.values - exact).max() < 6 * ONE_USER.noise_std


def test_noise_has_the_claimed_size() -> None:
    nobody = np.array([], dtype=np.int64)
    check_residuals(
        lambda: release_table(nobody, nobody, nobody, shape=(80, 100), planned=CLAIM).values.ravel() / CLAIM.noise_std
    )


def test_the_norm_of_a_user_is_over_the_whole_table() -> None:
    rng = np.random.default_rng(3)
    user, row, column = rng.integers(0, 12, 300), rng.integers(-1, 3, 300), rng.integers(0, 4, 300)

    def total(users: list[int]) -> np.ndarray:
        rows = np.isin(user, users)
        cells = np.where(row[rows] >= 0, row[rows] * 4 + column[rows], -1)
        return bound_contributions(user[rows], cells, n_cells=12, bound=2.0, sensitivity=S).total()

    parts = check_separable(total, range(12))
    assert ((parts.astype(object) ** 2).sum(axis=1) <= S**2).all()
    planned = CLAIM.model_copy(update={"bound": 2.0})
    twin = release_table(user, row, column, shape=(3, 4), planned=planned, non_private=True)
    np.testing.assert_array_equal((twin.values * S / 2.0).round().astype(int).ravel(), parts.sum(axis=0))


def test_mutual_information_is_the_textbooks() -> None:
    assert mutual_information(np.outer([1.0, 2.0], [3.0, 4.0, 5.0])) == pytest.approx(0, abs=1e-12)
    joint = np.array([[0.125, 0.375], [0.375, 0.125]])
    bits = 1 - 0.811278  # H(row) - H(row | column): the entropy of a half minus that of a quarter
    assert mutual_information(1000 * joint) / np.log(2) == pytest.approx(bits, abs=1e-6)
    assert mutual_information(np.array([[-3.0, 0.0], [0.0, -1.0]])) == 0


def test_without_noise_the_test_is_pearsons() -> None:
    user, row, column = users_of(400, 5, 0.0)
    table = release_table(user, row, column, shape=(3, 4), planned=ONE_USER, non_private=True).values.round()
    known = chi2_contingency(table)
    found = independence(table, 0.0)
    assert found.chi_squared == pytest.approx(known.statistic)
    assert found.p_value == pytest.approx(known.pvalue, abs=0.05)


def test_noise_does_not_look_like_dependence_and_dependence_does() -> None:
    noise_std = 15.0
    rng = np.random.default_rng(9)

    def noisy(seed: int, dependence: float) -> np.ndarray:
        user, row, column = users_of(2000, seed, dependence)
        exact = release_table(user, row, column, shape=(3, 4), planned=ONE_USER, non_private=True).values
        return exact + noise_std * rng.normal(size=(3, 4))

    independent = [noisy(seed, 0.0) for seed in range(40)]
    rejected = sum(independence(table, noise_std).p_value < 0.05 for table in independent)
    fooled = sum(chi2_contingency(np.maximum(table, 0.5)).pvalue < 0.05 for table in independent)
    assert rejected <= 7 < fooled  # 2 expected; Pearson's law without the noise is fooled
    assert all(independence(noisy(seed, 0.3), noise_std).p_value < 0.01 for seed in range(5))


def test_empty_tables_and_bad_cells_are_defined() -> None:
    assert independence(np.full((2, 2), -1.0), 1.0).p_value == 1
    assert independence(np.zeros((2, 2)), 0.0).chi_squared == 0
    assert mutual_information(np.zeros((2, 3))) == 0
    one = np.array([0])
    with pytest.raises(ValueError, match="outside a table of 2 x 3"):
        release_table(one, np.array([2]), one, shape=(2, 3), planned=ONE_USER)
    with pytest.raises(ValueError, match="outside a table of 2 x 3"):
        release_table(one, one, np.array([3]), shape=(2, 3), planned=ONE_USER)
