"""One noisy contingency table, and what is read off it for free: mutual information, a test of independence.

Sensitivity: a user's cells, however many, are clipped to L2 norm `bound` over the whole table, as in any sum.
Everything after the table is post-processing, so that features are never chosen by looking at users' rows.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ml.privacy.bounding import Float64, bound_contributions
from ml.privacy.events import DiscreteGaussianEvent, NonPrivateEvent
from ml.privacy.mechanisms import DiscreteGaussianNoise, Release, in_units

_SIMULATED: Final = 2000
"""Tables drawn under independence for a p-value."""


@dataclass(frozen=True)
class Independence:
    """Are rows and columns of a released table independent?"""

    chi_squared: float
    """Pearson's statistic of the noisy table."""
    p_value: float
    """How often a table of independent counts, with the same noise, has a statistic as large; in (0, 1]."""


def release_table(
    user_index: npt.NDArray[Any],
    row_index: npt.NDArray[Any],
    column_index: npt.NDArray[Any],
    *,
    shape: tuple[int, int],
    planned: DiscreteGaussianEvent,
    weight: npt.NDArray[Any] | None = None,
    non_private: bool = False,
) -> Release:
    """Release how often public categories occur together, over all users, in one draw.

    Args:
        user_index: (n,) integers; rows with a negative user enter nothing.
        row_index: (n,) integers below shape[0]; a negative (unknown) one drops the row.
        column_index: (n,) integers below shape[1]; likewise.
        shape: number of rows and columns of the table, public.
        planned: what the plan allows; with one cell a user and weight 1, bound 1 clips nothing.
        weight: (n,) what an entry counts; 1 if absent.
        non_private: leave the noise out, for a twin on a public benchmark.

    Returns:
        `values` (shape) float64 (may be negative), and the event read back.

    Raises:
        ValueError: if an argument does not fit, see `bound_contributions`.
    """
    rows, columns = np.asarray(row_index), np.asarray(column_index)
    if len(rows) and not (int(rows.max()) < shape[0] and int(columns.max()) < shape[1]):
        raise ValueError(f"cell ({rows.max()}, {columns.max()}) is outside a table of {shape[0]} x {shape[1]}")
    parts = bound_contributions(
        user_index,
        np.where((rows >= 0) & (columns >= 0), rows * shape[1] + columns, -1),
        n_cells=shape[0] * shape[1],
        bound=planned.bound,
        sensitivity=planned.sensitivity,
        weight=weight,
    )
    if non_private:
        return Release(in_units(parts.total(), parts, shape), NonPrivateEvent())
    noise = DiscreteGaussianNoise(planned.scale)
    return Release(in_units(noise.add_to(parts), parts, shape), noise.event)


def mutual_information(table: Float64) -> float:
    """How much rows say about columns, in nats, with negative cells of a released table taken as 0.

    >>> mutual_information(np.array([[5.0, 0.0], [0.0, 5.0]])) == float(np.log(2))
    True

    Args:
        table: (n_rows, n_columns).

    Returns:
        >= 0; 0 for an empty table. Noise makes independent categories look a little dependent.
    """
    positive = np.maximum(table, 0.0)
    total = positive.sum()
    if total == 0:
        return 0.0
    joint = positive / total
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    full = joint > 0
    return max(float((joint[full] * np.log(joint[full] / apart[full])).sum()), 0.0)


def independence(table: Float64, noise_std: float) -> Independence:
    """Test a released table for independence of rows and columns, knowing its noise.

    The usual chi-squared law does not hold for noisy tables: they are larger. So the law is simulated: tables of the
    released size under independence, with noise. The simulation has a fixed public seed; it sees released numbers only.

    Args:
        table: (n_rows, n_columns) released.
        noise_std: standard deviation of its noise, from the release's event; 0 for a twin.

    Returns:
        Statistic and p-value; statistic 0 and p-value 1 where the release has no user to speak of.

    Source: Gaboardi, Lim, Rogers, Vadhan, "Differentially Private Chi-Squared Hypothesis Testing" (ICML 2016),
    the Monte Carlo test of independence.
    """
    expected = _expected(table)
    if expected is None:
        return Independence(0.0, 1.0)
    rng = np.random.default_rng(0)
    n_users, chances = round(float(expected.sum())), (expected / expected.sum()).ravel()
    counts = rng.multinomial(n_users, chances, _SIMULATED).reshape(-1, *table.shape)
    drawn = counts + noise_std * rng.normal(size=counts.shape)
    found = _chi_squared(table)
    as_large = sum(_chi_squared(one) >= found for one in drawn)
    return Independence(found, (1 + as_large) / (1 + _SIMULATED))


def _expected(table: Float64) -> Float64 | None:
    """Expected counts under independence; none where nothing is left of the table."""
    rows, columns = np.maximum(table.sum(axis=1), 0.0), np.maximum(table.sum(axis=0), 0.0)
    if round(float(rows.sum())) < 1 or round(float(columns.sum())) < 1:
        return None
    expected: Float64 = np.outer(rows / rows.sum(), columns / columns.sum()) * max(float(table.sum()), 1.0)
    return expected


def _chi_squared(table: Float64) -> float:
    """Pearson's statistic, over cells whose expected count is above 0."""
    expected = _expected(table)
    if expected is None:
        return 0.0
    full = expected > 0
    return float(((table[full] - expected[full]) ** 2 / expected[full]).sum())
