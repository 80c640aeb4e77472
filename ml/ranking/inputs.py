"""What the ranker reads: users' own state, the public catalogue, released popularity, and the constants that bound it.

All of it is validated once, here; the rest of the room trusts shapes, order and ranges.
"""

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating[Any]]
"""Of either precision."""
Bool = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.integer[Any]]
"""Positions, of either width."""

CATEGORY_FACETS: Final = ("category_1", "category_2", "category_3", "brand")
"""Facets of the catalogue, in the order of the rows of `Catalogue.codes`."""


@dataclass(frozen=True, eq=False)
class UserItemState:
    """Every user's own items as of one instant: the facet `item` of the profile state, sorted by user, then item."""

    user_index: Int32
    """(n,) >= 0, ascending."""
    item_index: Int32
    """(n,) position in the public catalogue, ascending within a user, unique by user and item."""
    n_days: Float32
    """(n,) days with an event, >= 1."""
    decayed_28d: Float32
    """(n,) decayed sum with a half-life of 28 days (time constant 40 days); negative values count as 0."""
    decayed_104d: Float32
    """(n,) decayed sum with a half-life of 104 days (time constant 150 days); negative values count as 0."""
    last_days: Float32
    """(n,) days from the last event to the instant, >= 0."""
    first_days: Float32
    """(n,) days from the first event to the instant, >= last_days."""

    def __post_init__(self) -> None:
        """Check lengths, order and finiteness.

        Raises:
            ValueError: if a column has another length, is not finite, or the rows are not sorted and unique.
        """
        for field in fields(self):
            column = getattr(self, field.name)
            if column.shape != self.user_index.shape or not bool(np.all(np.isfinite(column))):
                raise ValueError(
                    f"user state column {field.name!r} has shape {column.shape} against {self.user_index.shape} of "
                    "user_index, or holds a value that is not finite; repair it in the features layer"
                )
        if len(self.user_index) and (int(self.user_index.min()) < 0 or int(self.item_index.min()) < 0):
            raise ValueError("user state holds a negative user or item index; leave rows without a known item out")
        if len(self.user_index) > 1:
            user, item = np.diff(self.user_index), np.diff(self.item_index)
            if not bool(np.all((user > 0) | ((user == 0) & (item > 0)))):
                raise ValueError("user state is not sorted by user_index, item_index and unique; order it in the query")

    def bounds(self, start: int, stop: int) -> tuple[int, int]:
        """First row of user `start` and the row after the last of user `stop - 1`."""
        low, high = np.searchsorted(self.user_index, [start, stop])
        return int(low), int(high)


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The whole public catalogue: the item universe."""

    codes: Int32
    """(4, n_items) keys of `CATEGORY_FACETS`, each 0 .. n_keys - 1, or -1 where an item has none. A category's key
    stands for its whole path."""
    text_embeddings: Float32
    """(n_texts, size) one unit vector for each distinct text."""
    text_index: Int32
    """(n_items,) row of `text_embeddings`, or -1 where an item has no text."""

    def __post_init__(self) -> None:
        """Check shapes and ranges.

        Raises:
            ValueError: if shapes differ or an index is out of range.
        """
        n_items = len(self.text_index)
        if self.codes.shape != (len(CATEGORY_FACETS), n_items) or n_items == 0 or self.text_embeddings.ndim != 2:
            raise ValueError(
                f"catalogue has codes {self.codes.shape} and text_index {self.text_index.shape}; expected codes "
                f"({len(CATEGORY_FACETS)}, n_items) with at least one item, and two-dimensional text_embeddings"
            )
        if int(self.codes.min()) < -1 or int(self.text_index.min()) < -1:
            raise ValueError("catalogue holds a code below -1; -1 means that an item has no such key")
        if int(self.text_index.max()) >= len(self.text_embeddings):
            raise ValueError(f"text_index {self.text_index.max()} exceeds {len(self.text_embeddings)} text embeddings")

    @property
    def n_items(self) -> int:
        """Size of the item universe."""
        return len(self.text_index)


@dataclass(frozen=True, eq=False)
class ReleasedPopularity:
    """How popular every item is: one window of a release, paid for in the ledger."""

    counts: Float64
    """(n_items,) released count of every item, noisy, possibly negative."""
    noise_std: float
    """Standard deviation of its noise, read from the release's event; 0 for a non-private twin."""

    def __post_init__(self) -> None:
        """Check finiteness.

        Raises:
            ValueError: if a number is not finite or the noise is negative.
        """
        if not bool(np.all(np.isfinite(self.counts))) or not (self.noise_std >= 0 and np.isfinite(self.noise_std)):
            raise ValueError(f"released popularity must be finite and its noise_std {self.noise_std} finite and >= 0")


@dataclass(frozen=True, eq=False)
class ReleasedGram:
    """Which items of the head are bought by the same users: one release, paid for in the ledger."""

    item_index: Int32
    """(n_head,) catalogue positions, each once."""
    direction: Float64
    """(n_head,) what users' rows were projected off."""
    values: Float64
    """(n_head, n_head) symmetric, noisy."""
    noise_std: float
    """Standard deviation of the noise on its diagonal, root 2 less off it; 0 for a non-private twin."""

    def __post_init__(self) -> None:
        """Check shapes and finiteness.

        Raises:
            ValueError: if shapes differ, a number is not finite or an item stands in the head twice.
        """
        n = len(self.item_index)
        if self.direction.shape != (n,) or self.values.shape != (n, n) or len(np.unique(self.item_index)) != n:
            raise ValueError(
                f"released Gram matrix of {n} items has direction {self.direction.shape} and values "
                f"{self.values.shape}, or holds an item twice; expected ({n},) and ({n}, {n})"
            )
        if not (bool(np.all(np.isfinite(self.values))) and self.noise_std >= 0 and np.isfinite(self.noise_std)):
            raise ValueError(f"released Gram matrix must be finite and its noise_std {self.noise_std} finite and >= 0")

    @classmethod
    def none(cls) -> "ReleasedGram":
        """The release of a plan that has none."""
        return cls(np.zeros(0, np.int32), np.zeros(0), np.zeros((0, 0)), 0.0)


class CandidateConfig(BaseModel):
    """How many items are scored for one user: public constants."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_own: int = Field(default=1000, ge=1)
    """Own items at most, the strongest by `decayed_104d`."""
    n_head: int = Field(default=500, ge=1)
    """Most popular items of the released counts."""
    n_types: int = Field(default=30, ge=1)
    """The user's favourite third-level categories whose items are added."""
    n_per_type: int = Field(default=15, ge=1)
    """Items of each of them, the most popular first."""

    @property
    def width(self) -> int:
        """Candidates of one user at most."""
        return self.n_own + self.n_head + self.n_types * self.n_per_type


def codes_of(*keys: npt.NDArray[Any]) -> Int32:
    """Number the distinct combinations of keys.

    Args:
        keys: one or more (n,) integer arrays; -1 means none.

    Returns:
        (n,) int32: 0 .. n_distinct - 1, and -1 where any key is -1.
    """
    known = np.all(np.stack(keys) >= 0, axis=0)
    combined = keys[0].astype(np.int64)
    for key in keys[1:]:
        combined = combined * (int(key.max(initial=0)) + 1) + key
    codes = np.full(len(combined), -1, dtype=np.int32)
    codes[known] = np.unique(combined[known], return_inverse=True)[1]
    return codes
