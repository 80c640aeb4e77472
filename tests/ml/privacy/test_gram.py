"""The Gram release: bounded exactly, as noisy on and off the diagonal as it says, symmetric, and priced as it ran."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse

from ml.privacy import gram as module
from ml.privacy.events import GramGaussianEvent, NonPrivateEvent
from ml.privacy.gram import GramNoise, gram_of_units, release_gram, unit_rows
from tests.ml.privacy.cases import GRAM_CLAIM, gram_residuals
from tests.ml.privacy.checks import check_residuals, check_separable

S = GRAM_CLAIM.sensitivity
USERS = sparse.random_array((40, 9), density=0.4, rng=np.random.default_rng(5), format="csr")
DIRECTION = np.arange(1.0, 10.0)


def units_of(rows: np.ndarray, direction: np.ndarray | None = DIRECTION) -> np.ndarray:
    """(M, M) int64 of the given users."""
    return gram_of_units(sparse.csr_array(rows), sensitivity=S, mean_direction=direction)


@pytest.mark.parametrize("direction", [None, DIRECTION])
def test_removing_a_user_removes_exactly_that_users_products(direction: np.ndarray | None) -> None:
    parts = check_separable(lambda users: units_of(USERS[users].toarray(), direction), range(40))
    traces = [int(np.trace(part)) for part in parts]
    assert max(traces) <= S**2  # |k|^2, exactly
    assert max(traces) > 0.99 * S**2  # clipping has something to do


def test_the_parts_that_users_are_summed_in_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = units_of(USERS.toarray())
    monkeypatch.setattr(module, "_USERS_AT_ONCE", 3)
    np.testing.assert_array_equal(units_of(USERS.toarray()), whole)


@given(arrays.arrays(np.float64, (3, 9), elements=st.floats(-1e100, 1e100)), st.sampled_from([2**10, 2**15, 2**20]))
def test_no_users_products_exceed_the_sensitivity_in_whole_numbers(rows: np.ndarray, largest: int) -> None:
    for row in rows:
        one = sparse.csr_array(row[None])
        found = gram_of_units(one, sensitivity=largest, mean_direction=DIRECTION).astype(object)
        assert (found**2).sum() <= largest**4
        assert (found == found.T).all()


def dense_units(rows: np.ndarray, direction: np.ndarray, largest: int) -> np.ndarray:
    """(n, M) float64: every cell of the bounded rows, from the definition, before it is cut."""
    whole = np.rint(direction / np.linalg.norm(direction) * largest ** (2 / 3))
    x = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    x = x - np.outer(x @ whole, whole) / (whole @ whole)
    return x / np.linalg.norm(x, axis=1, keepdims=True) * largest


def test_units_are_the_projected_row_at_full_length() -> None:
    rows = USERS.toarray()
    for row in rows:
        wanted = dense_units(row[None], DIRECTION, S)[0]
        step = S ** (2 / 3) / 2 + 9  # half a step along the direction, and what cutting nine cells adds
        np.testing.assert_allclose(units_of(row[None]), np.outer(wanted, wanted), atol=2 * step * S)
        assert np.trace(units_of(row[None])) > 0.99 * S**2
    unit, along = unit_rows(USERS, DIRECTION)
    np.testing.assert_allclose(np.linalg.norm(unit.toarray(), axis=1), 1.0)
    np.testing.assert_allclose(along, unit.toarray() @ DIRECTION / np.linalg.norm(DIRECTION), atol=1e-12)


def test_a_row_that_lies_along_the_direction_stays_short() -> None:
    row = DIRECTION + 0.01 * np.eye(9)[3]
    assert np.trace(units_of(row[None])) < (0.05 * S) ** 2


def test_sums_beyond_what_float64_holds_are_exact() -> None:
    rows, largest = sparse.csr_array(np.random.default_rng(3).normal(size=(9000, 3))), 2**20
    direction = np.array([1.0, 2.0, 2.0])
    found = gram_of_units(rows, sensitivity=largest, mean_direction=direction)
    whole = np.rint(direction / 3 * largest ** (2 / 3)).astype(np.int64)
    own, steps = module._units(rows, whole, largest)
    k = own.toarray().astype(object) - np.outer(steps, whole).astype(object)
    assert (found == k.T @ k).all()
    assert int(np.trace(found)) > 2**53


@pytest.mark.parametrize("part", ["diagonal", "above"])
def test_noise_has_the_claimed_size_on_and_off_the_diagonal(part: str) -> None:
    check_residuals(lambda: gram_residuals(part))


def test_the_matrix_is_symmetric_in_the_callers_units_and_the_event_is_what_ran() -> None:
    released = release_gram(USERS, planned=GRAM_CLAIM, mean_direction=DIRECTION)
    twin = release_gram(USERS, planned=GRAM_CLAIM, mean_direction=DIRECTION, non_private=True)
    assert np.array_equal(released.values, released.values.T)
    assert released.event == GRAM_CLAIM and released.noise_std == GRAM_CLAIM.noise_std
    assert twin.event == NonPrivateEvent() and twin.noise_std == 0
    x = dense_units(USERS.toarray(), DIRECTION, S) * GRAM_CLAIM.bound / S
    np.testing.assert_allclose(twin.values, x.T @ x, atol=40 * GRAM_CLAIM.bound**2 * S ** (-1 / 3))
    assert np.abs(released.values - twin.values).max() < 6 * GRAM_CLAIM.noise_std
    other = GramNoise(3e7, 4e7)
    other.add_to(np.zeros((3, 3), dtype=np.int64), sensitivity=S, bound=0.5)
    assert (other.event.diagonal_scale, other.event.off_diagonal_scale, other.event.bound) == (3e7, 4e7, 0.5)


@pytest.mark.parametrize(("diagonal", "off"), [(8.0, 8.0), (8.0, 8 / math.sqrt(2)), (8.0, 2.0)])
def test_the_event_prices_the_weaker_of_the_two_noises(diagonal: float, off: float) -> None:
    event = GramGaussianEvent(
        sensitivity=2**10, diagonal_scale=diagonal * 2**20, off_diagonal_scale=off * 2**20, bound=1, randomness="opendp"
    )
    rng = np.random.default_rng(0)
    p = np.concatenate([rng.dirichlet(np.full(60, 0.1), 200), np.eye(60), np.full((1, 60), 1 / 60)])
    square = (p**2).sum(axis=1)
    shifts = np.sqrt(square / diagonal**2 + (1 - square) / 2 / off**2)
    assert shifts.max() <= event.mu * (1 + 1e-12)
    assert shifts.max() >= event.mu * 0.99


def test_a_user_without_weights_in_the_head_and_nobody_at_all_are_defined() -> None:
    empty = sparse.csr_array((2, 9))
    together = sparse.csr_array(sparse.vstack([USERS, empty]))
    np.testing.assert_array_equal(units_of(together.toarray()), units_of(USERS.toarray()))
    nobody = release_gram(sparse.csr_array((0, 9)), planned=GRAM_CLAIM)
    assert np.count_nonzero(nobody.values) == 81
    flat = release_gram(USERS, planned=GRAM_CLAIM, mean_direction=np.zeros(9), non_private=True)
    plain = release_gram(USERS, planned=GRAM_CLAIM, non_private=True)
    assert np.array_equal(flat.values, plain.values)


def test_one_noise_serves_one_release() -> None:
    noise = GramNoise(1e8, 1e8)
    with pytest.raises(RuntimeError, match="no noise was drawn yet"):
        _ = noise.event
    noise.add_to(np.zeros((3, 3), dtype=np.int64), sensitivity=S, bound=1.0)
    with pytest.raises(RuntimeError, match="already released"):
        noise.add_to(np.zeros((3, 3), dtype=np.int64), sensitivity=S, bound=1.0)


def test_bad_rows_directions_scales_and_sizes_get_one_sentence() -> None:
    bad = USERS.copy()
    bad.data[3] = np.nan
    with pytest.raises(ValueError, match="must be finite"):
        release_gram(bad, planned=GRAM_CLAIM)
    with pytest.raises(ValueError, match="the head 9 items"):
        release_gram(USERS, planned=GRAM_CLAIM, mean_direction=np.ones(8))
    with pytest.raises(ValueError, match="direction is not finite"):
        release_gram(USERS, planned=GRAM_CLAIM, mean_direction=np.full(9, np.inf))
    with pytest.raises(ValueError, match="positive and finite"):
        GramNoise(1.0, 0.0)
    with pytest.raises(ValueError, match="overflow the Gram sum"):
        gram_of_units(sparse.csr_array((2**23, 1)), sensitivity=2**20)
    with pytest.raises(ValueError, match="less than or equal to 1048576"):
        GramGaussianEvent.model_validate({**GRAM_CLAIM.model_dump(), "sensitivity": 2**20 + 1})
