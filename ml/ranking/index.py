"""The item side of the ranking: facet codes, popularity features, and the lists that candidates are drawn from.

Made once from the public catalogue and released numbers, the same for every user.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from ml.ranking.ease import Together, together
from ml.ranking.inputs import (
    Bool,
    CandidateConfig,
    Catalogue,
    Float32,
    Float64,
    Int32,
    ReleasedGram,
    ReleasedPopularity,
    codes_of,
)
from ml.ranking.popularity import posterior_counts

LOG_SCALE: Final = 3.0
"""All logarithms are divided by it: log1p of what a household buys in a year then lies between 0 and about 2."""

TEXT_UNITS: Final = np.float32(4000)
"""Units of 1 that cosines are computed in. Whole numbers: every partial sum of two unit vectors stays below 2^24 and is
exact in float32, so that no bit of a cosine depends on which other users are multiplied in the same block."""


@dataclass(frozen=True, eq=False)
class ItemIndex:
    """Item-side arrays, the same for every user: made once from the catalogue and the released popularity."""

    facets: tuple[Int32, ...]
    """Codes of category_1, category_2, category_3, brand and line, each (n_items,), -1 for none."""
    sizes: tuple[int, ...]
    """How many keys each of them has."""
    popularity: Float32
    """(n_items, 3) the three features of it."""
    head: Int32
    """(n_head,) the most popular items, descending."""
    in_head: Bool
    """(n_items,) whether an item is among them."""
    type_items: Int32
    """(n_keys of category_3, n_per_type) the most popular items of each, descending, padded with -1."""
    text_embeddings: Float32
    """(n_texts, size) unit vectors."""
    text_units: Float32
    """(n_texts, size) the same in whole units of 1 / `TEXT_UNITS`."""
    text_index: Int32
    """(n_items,) row of the text, or -1."""
    order: Int32
    """(n_items,) all items by released popularity, descending; ties by position."""
    order_score: Float32
    """(n_items,) their released popularity."""
    together: Together
    """Weights between the items of the released head."""

    @property
    def n_items(self) -> int:
        """Size of the item universe."""
        return len(self.text_index)


def index_items(
    catalogue: Catalogue, released: ReleasedPopularity, gram: ReleasedGram, config: CandidateConfig
) -> ItemIndex:
    """Prepare the item side: facet codes, popularity features, and the lists that candidates are drawn from.

    Released counts become posterior means first, see `ml.ranking.popularity`; those of a category or a line are summed.

    Args:
        catalogue: the whole public catalogue.
        released: popularity in one window.
        gram: which items of the head go together.
        config: how many candidates.

    Returns:
        The index.

    Raises:
        ValueError: if the released popularity has another length than the catalogue.
    """
    if released.counts.shape != (catalogue.n_items,):
        raise ValueError(
            f"released popularity has shape {released.counts.shape}, the catalogue {catalogue.n_items} items; "
            "release it for the catalogue that is served"
        )
    line = codes_of(catalogue.codes[2], catalogue.codes[3])
    facets = (*catalogue.codes, line)
    counts, logs = posterior_counts(released.counts, released.noise_std)
    levels = [logs, _log_sums(counts, catalogue.codes[2]), _log_sums(counts, line)]
    popularity = (np.stack(levels, axis=1) / LOG_SCALE).astype(np.float32)
    order = np.argsort(-released.counts, kind="stable").astype(np.int32)
    in_head = np.zeros(catalogue.n_items, dtype=np.bool_)
    in_head[order[: config.n_head]] = True
    return ItemIndex(
        facets=facets,
        sizes=tuple(int(codes.max(initial=-1)) + 1 for codes in facets),
        popularity=popularity,
        head=order[: config.n_head],
        in_head=in_head,
        type_items=_top_by_key(catalogue.codes[2], order, config.n_per_type),
        text_embeddings=catalogue.text_embeddings,
        text_units=np.rint(catalogue.text_embeddings * TEXT_UNITS),
        text_index=catalogue.text_index,
        order=order,
        order_score=released.counts[order].astype(np.float32),
        together=together(gram, catalogue.n_items),
    )


def _log_sums(counts: Float64, codes: Int32) -> Float64:
    """(n_items,) log of the sum of counts over the items that share a key; 0 for an item without one."""
    known = codes >= 0
    sums = np.bincount(codes[known], weights=counts[known], minlength=int(codes.max(initial=-1)) + 2)
    return np.where(known, np.log1p(sums)[codes], 0.0)


def _top_by_key(codes: Int32, order: Int32, n: int) -> Int32:
    """(n_keys, n) first n items of each key in the given order, padded with -1."""
    table = np.full((int(codes.max(initial=-1)) + 1, n), -1, dtype=np.int32)
    ordered = order[codes[order] >= 0]
    ordered = ordered[np.argsort(codes[ordered], kind="stable")]
    key = codes[ordered]
    rank = np.arange(len(key)) - np.searchsorted(key, key)
    keep = rank < n
    table[key[keep], rank[keep]] = ordered[keep]
    return table
