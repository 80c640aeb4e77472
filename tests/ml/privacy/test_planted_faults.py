"""Each classic fault is planted in the real code and must fail the check that is named for it.

Fixed batches are in test_poisson.py, a shared-negatives tensor and a padding_idx in test_gradient_layers.py; a second
release under one row and a cut ledger tail in tests/data/ledger.
"""

import dataclasses
from typing import Any

import numpy as np
import pytest

from ml.privacy import gradients, gram, mechanisms
from ml.privacy.bounding import Contributions, bound_contributions
from tests.ml.privacy.bags import check_full_step, training_residuals
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


def seeded(total: Any, scale: float, **claimed: Any) -> Any:
    """Noise of the right size from a fixed seed."""
    return total + np.rint(np.random.default_rng(0).normal(0, scale, len(total))).astype(np.int64)


@pytest.mark.parametrize("room", [mechanisms, gradients], ids=["popularity", "gradients"])
def test_a_fixed_seed_fails_the_independence_check(room: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "with_discrete_gaussian", seeded)
    with pytest.raises(AssertionError, match="two runs share noise"):
        check_residuals(popularity_residuals if room is mechanisms else training_residuals)


def test_gradients_without_noise_fail_the_residual_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "with_discrete_gaussian", lambda total, scale, **claimed: total)
    with pytest.raises(AssertionError, match="noise differs from the claim"):
        check_residuals(training_residuals)


def test_gradient_noise_without_c_fails_the_residual_check(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = mechanisms.with_discrete_gaussian
    monkeypatch.setattr(
        gradients,
        "with_discrete_gaussian",
        lambda total, scale, **claimed: total + honest(0 * total, scale / 0.3, sensitivity=1, rho=1.0),
    )
    with pytest.raises(AssertionError, match="noise differs from the claim"):
        check_residuals(training_residuals)


def test_gradients_without_clipping_fail_the_manual_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = gradients.WholeNumberDPOptimizer.clip_and_accumulate

    def unclipped(self: gradients.WholeNumberDPOptimizer) -> None:
        for parameter in self.params:
            parameter.grad_sample /= 1000
        honest(self)
        for parameter in self.params:
            parameter.summed_grad *= 1000

    monkeypatch.setattr(gradients.WholeNumberDPOptimizer, "clip_and_accumulate", unclipped)
    with pytest.raises(AssertionError, match="not the manual loop"):
        check_full_step()
