"""What a noisy released count says about the true one: an empirical Bayes posterior, computed from the release alone.

On a whole catalogue nearly all counts are near zero, so the largest noisy counts of unsold items look like mid-size
sellers; without this step they crowd the head and every ranking. Post-processing: it costs no privacy.
"""

from typing import Final

import numpy as np

from ml.ranking.inputs import Float64

_BINS_PER_STD: Final = 10
"""Width of the histogram of released counts: a tenth of the noise's standard deviation."""

_N_GRID: Final = 80
"""Support points of the prior above zero, from an eighth of a standard deviation to the largest count."""

_N_ITERATIONS: Final = 200
"""Steps of expectation maximisation; the posterior means have settled long before."""


def posterior_counts(released: Float64, noise_std: float) -> tuple[Float64, Float64]:
    """Posterior means of every true count and of its log1p, under the prior that fits all released counts best.

    >>> counts, logs = posterior_counts(np.array([100.0, 3.0, -2.0]), 0.0)
    >>> [float(x) for x in counts]
    [100.0, 3.0, 0.0]

    Args:
        released: (n_items,) released counts, true count plus Gaussian noise.
        noise_std: its standard deviation; 0 takes the counts as they are, negatives as 0.

    Returns:
        (n_items,) E[count | released] and (n_items,) E[log1p(count) | released], both >= 0 and non-decreasing in the
        released count.

    Source: Kiefer, Wolfowitz (1956), the nonparametric maximum likelihood prior, on a grid by expectation maximisation
    as in Jiang, Zhang, "General maximum likelihood empirical Bayes estimation of normal means" (2009), section 2.
    """
    if noise_std == 0 or len(released) == 0:
        plain = np.maximum(released, 0.0)
        return plain, np.log1p(plain)
    width = noise_std / _BINS_PER_STD
    bins = np.floor((released - released.min()) / width).astype(np.int64)
    present, place, size = np.unique(bins, return_inverse=True, return_counts=True)
    centre = released.min() + (present + 0.5) * width
    top = max(float(released.max()), 2 * noise_std)
    grid = np.concatenate([[0.0], np.geomspace(noise_std / 8, top, _N_GRID)])
    exponent = -0.5 * ((centre[:, None] - grid) / noise_std) ** 2
    likelihood = np.exp(exponent - exponent.max(axis=1, keepdims=True))  # a factor of a row cancels below
    prior = np.full(len(grid), 1 / len(grid))
    for _ in range(_N_ITERATIONS):
        joint = likelihood * prior
        prior = (size / joint.sum(axis=1)) @ joint / size.sum()
    posterior = likelihood * prior
    posterior /= posterior.sum(axis=1, keepdims=True)
    return (posterior @ grid)[place], (posterior @ np.log1p(grid))[place]
