"""Random numbers by address: a draw depends on the seed, its purpose and its keys, on no draw before it.

So blocks of users can be made in any order and of any size, and come out the same to the bit.
"""

import zlib

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_STEP = np.uint64(0x9E3779B97F4A7C15)


def bits(seed: int, purpose: str, *keys: ArrayLike) -> NDArray[np.uint64]:
    """Hash an address to 64 bits.

    Args:
        seed: Of the shop.
        purpose: What the draw is for; different purposes are independent.
        keys: Integers of at least 0 that broadcast together, such as user and day.

    Returns:
        uint64 of the shape that the keys broadcast to.

    Source:
        The finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014), chained.
    """
    with np.errstate(over="ignore"):
        state = _mixed(np.asarray(seed, np.uint64) + np.uint64(zlib.crc32(purpose.encode())) * _STEP)
        for key in keys:
            state = _mixed(state + (np.asarray(key).astype(np.uint64) + np.uint64(1)) * _STEP)
    return np.asarray(state)


def uniform(seed: int, purpose: str, *keys: ArrayLike) -> Floats:
    """Draw from (0, 1); see `bits` for the arguments."""
    return ((bits(seed, purpose, *keys) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def normal(seed: int, purpose: str, *keys: ArrayLike) -> Floats:
    """Draw from the standard normal law; see `bits` for the arguments."""
    found: Floats = ndtri(uniform(seed, purpose, *keys))
    return found


def poisson(draws: Floats, mean: Floats) -> Integers:
    """Turn uniform draws into counts.

    Args:
        draws: In (0, 1).
        mean: Of the same shape, at least 0 and below 700.

    Returns:
        int64 of the same shape: the smallest count whose distribution function reaches the draw.
    """
    counts = np.zeros(draws.shape, np.int64)
    term = np.exp(-mean)
    reached = term.copy()
    todo = np.nonzero(draws > reached)
    k = 0
    while todo[0].size and k < 5000:
        k += 1
        term[todo] *= mean[todo] / k
        reached[todo] += term[todo]
        counts[todo] = k
        todo = tuple(axis[draws[todo] > reached[todo]] for axis in todo)
    return counts


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(state ^ (state >> np.uint64(31)), np.uint64)
