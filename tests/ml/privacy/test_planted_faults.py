"""Each classic fault is planted in the real code and must fail the check that is named for it.

The other faults of this kind, a second release under one row and a cut ledger tail, are in tests/data/test_ledger.py.
"""

import dataclasses
from typing import Any

import numpy as np
import pytest

from ml.privacy import gram, mechanisms
from ml.privacy.bounding import Contributions, bound_contributions
from tests.ml.privacy.cases import GRAM_CLAIM, Gram, Popularity, gram_residuals, popularity_residuals
from tests.ml.privacy.checks import S, check_distinguishing, check_residuals, check_sensitivity

honest_gaussian = mechanisms._opendp_gaussian


class Claiming:
    """A measurement that claims the privacy of one scale and draws another's noise (0: none)."""

    def __init__(self, n_cells: int, claimed: float, drawn: float) -> None:
        self.map = honest_gaussian(n_cells, claimed).map
        self.draw = honest_gaussian(n_cells, drawn)

    def __call__(self, total: Any) -> Any:
        return self.draw(total)


def without_clipping(users: Any, cells: Any, *, bound: float, sensitivity: int, **options: Any) -> Contributions:
    """The real bounding with a clip norm that nobody reaches, passed off as the planned one."""
    found = bound_contributions(users, cells, bound=bound * 1000, sensitivity=sensitivity * 1000, **options)
    return dataclasses.replace(found, bound=bound, sensitivity=sensitivity)


def test_no_noise_fails_the_residual_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mechanisms, "_opendp_gaussian", lambda n, scale: Claiming(n, scale, 0.0))
    with pytest.raises(AssertionError, match="noise differs from the claim"):
        check_residuals(popularity_residuals)


def test_no_noise_fails_the_distinguishing_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mechanisms, "_opendp_gaussian", lambda n, scale: Claiming(n, scale, 0.0))
    with pytest.raises(AssertionError, match="does not fit the claim"):
        check_distinguishing(Popularity(), runs=200)


def test_noise_without_c_fails_the_residual_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mechanisms, "_opendp_gaussian", lambda n, scale: Claiming(n, scale, scale / S))
    with pytest.raises(AssertionError, match="noise differs from the claim"):
        check_residuals(popularity_residuals)


def test_noise_without_c_is_stopped_by_opendps_own_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mechanisms, "_opendp_gaussian", lambda n, scale: honest_gaussian(n, scale / S))
    with pytest.raises(ArithmeticError, match="nothing is released"):
        check_residuals(popularity_residuals)


def test_half_the_noise_fails_the_distinguishing_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mechanisms, "_opendp_gaussian", lambda n, scale: Claiming(n, scale, scale / 2))
    with pytest.raises(AssertionError, match="does not fit the claim"):
        check_distinguishing(Popularity())


def test_clipping_off_fails_the_sensitivity_check() -> None:
    with pytest.raises(AssertionError, match="squared norm"):
        check_sensitivity(without_clipping)


def test_clipping_off_fails_the_distinguishing_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mechanisms, "bound_contributions", without_clipping)
    with pytest.raises(AssertionError, match="does not fit the claim"):
        check_distinguishing(Popularity())


def misdrawn(factor: float) -> Any:
    """The real noise, but above the diagonal `factor` times what the event says."""

    def noisy(total: Any, scale: float, **claimed: Any) -> Any:
        is_diagonal = scale == GRAM_CLAIM.diagonal_scale
        drawn = mechanisms.with_discrete_gaussian(0 * total, scale, **claimed)
        return total + (drawn if is_diagonal else np.round(drawn * factor).astype(np.int64))

    return noisy


def test_an_off_diagonal_too_large_fails_the_residual_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram, "with_discrete_gaussian", misdrawn(np.sqrt(2)))
    check_residuals(lambda: gram_residuals("diagonal"))
    with pytest.raises(AssertionError, match="noise differs from the claim"):
        check_residuals(lambda: gram_residuals("above"))


def test_an_off_diagonal_without_noise_fails_the_distinguishing_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram, "with_discrete_gaussian", misdrawn(0.0))
    with pytest.raises(AssertionError, match="does not fit the claim"):
        check_distinguishing(Gram())


def test_one_noise_vector_for_all_runs_fails_the_independence_check(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = np.asarray(honest_gaussian(20_000, S / 2)(np.zeros(20_000, dtype=np.int64)))

    class Fixed:
        def __init__(self, n_cells: int, scale: float) -> None:
            self.map = honest_gaussian(n_cells, scale).map

        def __call__(self, total: Any) -> Any:
            return total + fixed

    monkeypatch.setattr(mechanisms, "_opendp_gaussian", Fixed)
    with pytest.raises(AssertionError, match="two runs share noise"):
        check_residuals(popularity_residuals)
