"""One user's contribution: bounded in whole numbers, exactly separable, truncated toward zero."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.privacy.bounding import bound_contributions
from tests.ml.privacy.checks import check_sensitivity

S = 2**12

rows = st.lists(
    st.tuples(
        st.integers(-1, 6),
        st.integers(-1, 8),
        st.one_of(st.floats(-1e3, 1e3), st.sampled_from([1e100, -1e100, 5e-324, 1.0])),
    ),
    max_size=60,
)


def bounded(data: list[tuple[int, int, float]], **changes: object):
    users, cells, weight = (np.array([row[axis] for row in data], dtype=kind) for axis, kind in enumerate("qqd"))
    options = {"n_cells": 9, "bound": 2.0, "sensitivity": S, "weight": weight, **changes}
    return bound_contributions(users, cells, **options)


@given(rows, st.sampled_from([1e-6, 0.3, 2.0, 1e6]), st.sampled_from([None, 1.0]))
def test_no_user_exceeds_the_sensitivity_in_whole_numbers(data, bound: float, cap: float | None) -> None:
    found = bounded(data, bound=bound, cell_cap=cap)
    for user in set(found.user_index.tolist()):
        assert sum(int(unit) ** 2 for unit in found.units[found.user_index == user]) <= S**2


def test_sensitivity_holds_for_extreme_users() -> None:
    check_sensitivity(bound_contributions)


@given(rows, st.integers(0, 6))
def test_removing_a_user_removes_exactly_that_users_contribution(data, user: int) -> None:
    everybody, others, alone = (
        bounded(part).total()
        for part in (data, [row for row in data if row[0] != user], [row for row in data if row[0] == user])
    )
    assert everybody.dtype == np.int64
    np.testing.assert_array_equal(everybody - others, alone)


@given(rows)
def test_units_are_the_clipped_vector_truncated_toward_zero(data) -> None:
    data = [(user, cell, float(np.clip(weight, -1e3, 1e3))) for user, cell, weight in data]
    found = bounded(data)
    for user in range(7):
        vector = np.zeros(9)
        for owner, cell, weight in data:
            if owner == user and cell >= 0:
                vector[cell] += weight
        norm = float(np.linalg.norm(vector))
        wanted = vector * (S / 2.0) * min(1.0, 2.0 / norm if norm else 1.0)
        units = np.zeros(9)
        mine = found.user_index == user
        units[found.cell_index[mine]] = found.units[mine]
        assert np.all(np.abs(units) <= np.abs(wanted) + 1e-9)
        assert np.all(np.abs(wanted - units) < 1.001)


def test_short_vectors_are_not_stretched_and_the_cap_works_on_sums() -> None:
    twice = [(0, 3, 1.0), (0, 3, 1.0), (0, 4, 0.5)]
    assert bounded(twice, bound=100.0).total()[[3, 4]].tolist() == [81, 20]  # 2 * 40.96 and 0.5 * 40.96, truncated
    assert bounded(twice, bound=100.0, cell_cap=1.0).total()[[3, 4]].tolist() == [40, 20]


def test_the_norm_is_over_all_cells_together() -> None:
    everywhere = [(0, cell, 1.0) for cell in range(9)]
    units = bounded(everywhere, bound=1.0).units
    assert units.tolist() == [1365] * 9  # 4096 / 3, truncated: three times less than one cell alone would get


def test_unknown_users_and_items_enter_nothing_and_empty_input_is_zero() -> None:
    assert bounded([(-1, 3, 1.0), (2, -1, 1.0)]).total().tolist() == [0] * 9
    assert bounded([]).total().tolist() == [0] * 9


@settings(deadline=None, max_examples=5)
@given(st.integers(0, 2**32 - 1))
def test_ten_thousand_cells_stay_within_the_norm(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 10_000
    found = bound_contributions(
        np.zeros(n, dtype=np.int64),
        np.arange(n),
        n_cells=n,
        bound=1.0,
        sensitivity=2**30,
        weight=rng.lognormal(0, 2, n),
    )
    squares = sum(int(unit) ** 2 for unit in found.units)
    assert (2**30 - 2**17) ** 2 < squares <= 2**60


@pytest.mark.parametrize(
    ("data", "changes", "sentence"),
    [
        ([(0, 0, float("nan"))], {}, "finite"),
        ([(0, 0, float("inf"))], {}, "finite"),
        ([(0, 9, 1.0)], {}, "outside the 9 cells"),
        ([(0, 0, 1.0)], {"bound": 0.0}, "bound 0.0"),
        ([(0, 0, 1.0)], {"bound": float("nan")}, "bound nan"),
        ([(0, 0, 1.0)], {"cell_cap": -1.0}, "cell_cap -1.0"),
        ([(0, 0, 1.0)], {"weight": np.ones(2)}, "one length"),
    ],
)
def test_bad_arguments_get_one_sentence(data, changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        bounded(data, **changes)


def test_float_indices_are_refused() -> None:
    with pytest.raises(ValueError, match="must be integers"):
        bound_contributions(np.zeros(1), np.zeros(1, dtype=int), n_cells=1, bound=1.0, sensitivity=S)
