"""Checks that every mechanism must pass: run on the real ones, and on each planted fault, which must fail.

A case (tests/ml/privacy/cases.py) says how to run a whole release function; checks know nothing of what it releases.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import beta, binom, chi2, chisquare, norm

from ml.privacy.bounding import Contributions

S = 2**16


class Attacked(ABC):
    """A release function with 99 users whom the attacker knows and a worst-case user whom he looks for."""

    claim: float
    """The event's mu, unless `strength` says otherwise."""

    @abstractmethod
    def observe(self, is_in: bool) -> float:
        """Release once and weigh what came out: about 0 without the worst-case user, about 1 with him."""

    def strength(self, false_alarms: float, misses: float) -> float:
        """What error rates show, to be held against the claim."""
        return float(norm.isf(false_alarms) + norm.isf(misses))


def check_residuals(residuals: Callable[[], npt.NDArray[np.float64]]) -> None:
    """The noise has the claimed standard deviation, and two runs share none of it.

    `residuals` releases once and gives (released - exact) / claimed standard deviation of every number. One honest
    attempt fails 1 time in 370; the better of three, 1 time in 5e7.
    """
    deviations = []
    for _ in range(3):
        first, second = residuals(), residuals()
        size = max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-12)
        assert abs(float(first @ second)) / size < 6 / np.sqrt(len(first)), "two runs share noise"
        deviations.append(abs(float(np.sqrt(np.mean(first**2))) - 1))
        if deviations[-1] <= 3 / np.sqrt(2 * len(first)):
            return
    raise AssertionError(f"noise differs from the claim by the fractions {deviations}")


def check_distinguishing(case: Attacked, *, runs: int = 1000, confidence: float = 3.7) -> float:
    """An attacker who knows the other 99 users guesses whether the worst-case user is in; his success fits the claim.

    The rule is fixed (is the value nearer to "in" or to "out"), so only the noise is random. Each error rate has a
    one-sided Clopper-Pearson bound at 1 - Phi(confidence). With mu = 2 and 1,000 runs a side the lower bound on mu is
    about 1.67 with standard error 0.07, so the limits 1.4 and 2.0 are 4 and 5 standard errors away.

    Returns:
        The lower bound on what the release claims.

    Source: Nasr et al., "Tight Auditing of Differentially Private Machine Learning" (USENIX Security 2023), section 4.
    """
    wrong = [sum((case.observe(is_in) > 0.5) != is_in for _ in range(runs)) for is_in in (False, True)]
    tail = norm.sf(confidence)
    rates = [float(beta.ppf(1 - tail, n + 1, runs - n)) if n < runs else 1.0 for n in wrong]
    found = case.strength(*rates)
    assert 0.7 * case.claim <= found <= case.claim, f"lower bound {found} does not fit the claim {case.claim}"
    return found


def check_sensitivity(bound: Callable[..., Contributions]) -> None:
    """No user's whole-number vector is longer than S, exactly, over all cells together."""
    rng = np.random.default_rng(11)
    rows = {
        "one item, many times": (np.zeros(1000, dtype=np.int64), np.zeros(1000, dtype=np.int64), None),
        "every cell": (np.zeros(5000, dtype=np.int64), np.arange(5000), None),
        "random users": (rng.integers(0, 50, 5000), rng.integers(0, 5000, 5000), rng.lognormal(0, 3, 5000)),
    }
    for name, (users, cells, weight) in rows.items():
        found = bound(users, cells, n_cells=5000, bound=1.5, sensitivity=S, weight=weight)
        for user in np.unique(found.user_index):
            squares = sum(int(unit) ** 2 for unit in found.units[found.user_index == user])
            assert squares <= S**2, f"{name}: user {user} has squared norm {squares} > {S}^2"


def check_separable(aggregate: Callable[[list[int]], npt.NDArray[np.int64]], users: Sequence[int]) -> Any:
    """Leaving any user out changes the whole-number sum by exactly what that user adds alone.

    Returns:
        (n_users, n_cells) what each user adds.
    """
    everybody = aggregate(list(users))
    assert everybody.dtype == np.int64
    alone = [aggregate([user]) for user in users]
    for user, part in zip(users, alone, strict=True):
        rest = aggregate([other for other in users if other != user])
        np.testing.assert_array_equal(everybody - rest, part, err_msg=f"user {user}")
    return np.stack(alone)


def check_sampler(sampler: Callable[[int, float, int], Iterable[list[int]]]) -> None:
    """A user's inclusions are Binomial(T, q), batch sizes differ as they should, and steps know nothing of each other.

    Each of the tests fails an honest sampler 1 time in a million.
    """
    n_users, rate, steps = 2000, 0.1, 60
    is_in = np.zeros((steps, n_users), dtype=bool)
    for step, users in enumerate(sampler(n_users, rate, steps)):
        is_in[step, users] = True
    counts = np.bincount(is_in.sum(axis=0), minlength=steps + 1)
    law = n_users * binom.pmf(np.arange(steps + 1), steps, rate)
    usual = law >= 5
    rest = [counts[~usual].sum()], [law[~usual].sum()]
    fit = chisquare(np.append(counts[usual], rest[0]), np.append(law[usual], rest[1]))
    assert fit.pvalue > 1e-6, f"inclusions of a user are not Binomial({steps}, {rate}): p {fit.pvalue:.1e}"
    spread = ((is_in.sum(axis=1) - n_users * rate) ** 2).sum() / (n_users * rate * (1 - rate))
    assert 1e-6 < chi2.cdf(spread, steps) < 1 - 1e-6, f"batch sizes spread {spread:.1f} where {steps} is expected"
    again = (is_in[1:] & is_in[:-1]).mean()
    sd = np.sqrt(rate**2 * (1 - rate**2) / ((steps - 1) * n_users))
    assert abs(again - rate**2) < 6 * sd, f"users come back in the next step at rate {again:.4f}, not {rate**2:.4f}"


def check_per_user_gradients(
    make: Callable[[], torch.nn.Module], wrap: Callable[[torch.nn.Module], torch.nn.Module], *inputs: torch.Tensor
) -> None:
    """The gradient that is clipped for each user is the gradient of a plain model that sees that user alone.

    The model gives one loss a user.
    """
    model = wrap(make())
    torch.autograd.backward(model(*inputs).sum())
    for p in model.parameters():
        assert len(p.grad_sample) == len(inputs[0]), (
            f"gradient differs: {len(p.grad_sample)} for {len(inputs[0])} users"
        )
    found = torch.cat([p.grad_sample.flatten(start_dim=1) for p in model.parameters()], dim=1)
    for user in range(len(inputs[0])):
        alone = make()
        torch.autograd.backward(alone(*(part[user : user + 1] for part in inputs)).sum())
        wanted = torch.cat([p.grad.flatten() for p in alone.parameters() if p.grad is not None])
        error = float((found[user] - wanted).norm() / wanted.norm().clamp(min=1e-12))
        assert error < 1e-4, f"user {user}'s gradient differs from that user's alone by {error:.1e}"
