"""Candidates and features of every user: own rows, public item data and released numbers, nothing else.

All scales are public constants. Nothing here is fitted, and no number of one user reaches another: the class is
`per_user`. Sums by category, brand and line are taken from the user's own item state, since codes are public.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import sparse

from ml.ranking.ease import scores
from ml.ranking.index import LOG_SCALE, TEXT_UNITS, ItemIndex
from ml.ranking.inputs import Bool, CandidateConfig, Float32, Floats, Indices, Int32, UserItemState

FEATURES: Final = (
    "own",
    "decayed_104d",
    "decayed_28d",
    "n_days",
    "recency",
    "due",
    "gap",
    "category_1",
    "category_2",
    "category_3",
    "brand",
    "line",
    "n_category_3",
    "n_line",
    "text",
    "popularity",
    "popularity_category_3",
    "popularity_line",
    "bought_together",
)
"""Names of the features, in the order of the last axis. A `line` is a brand within a third-level category. The first
seven are 0 off the user's own items; `bought_together`, what users with the same items bought, is 0 outside the head of
the released Gram matrix."""

N_OWN_FEATURES: Final = 7
"""How many of them describe the user's own purchases of the very item."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Candidates of some users. Padded to one width; a padded cell has item -1 and features 0."""

    item_index: Int32
    """(n_users, width) catalogue positions, or -1."""
    own: Bool
    """(n_users, width) whether the user has the item in the state."""
    features: Float32
    """(n_users, width, len(FEATURES))."""


def user_candidates(
    state: UserItemState, index: ItemIndex, start: int, stop: int, config: CandidateConfig
) -> Candidates:
    """Candidates and features of the users start .. stop - 1.

    A user's candidates are the own items, the head of released popularity, and the most popular items of the user's
    favourite categories, which fill the tail. Memory is proportional to
    (stop - start) x (width x n_features + n_texts + n_lines): take chunks.

    Args:
        state: rows of all users; only those of the range are read.
        index: the item side.
        start: first user.
        stop: user after the last.
        config: the same as for `index_items`.

    Returns:
        The candidates, at most `config.width` wide.
    """
    low, high = state.bounds(start, stop)
    user = (state.user_index[low:high] - start).astype(np.int64)
    item = state.item_index[low:high]
    slow = np.maximum(state.decayed_104d[low:high], 0.0)
    n_users = stop - start
    tastes = [_facet_sums(user, codes[item], slow, n_users, size) for codes, size in _pairs(index)]
    ones = np.ones(len(user), dtype=np.float32)
    breadth = [_facet_sums(user, index.facets[f][item], ones, n_users, index.sizes[f]) for f in (2, 4)]
    rows = _own_rows(user, slow, n_users, config.n_own)
    own_items = np.where(rows >= 0, item[np.maximum(rows, 0)] if len(item) else -1, -1).astype(np.int32)
    others = _other_candidates(user, item, index, tastes[2], n_users, config)
    chosen = np.concatenate([own_items, others], axis=1)
    is_own = np.zeros(chosen.shape, dtype=np.bool_)
    is_own[:, : rows.shape[1]] = rows >= 0
    features = np.zeros((*chosen.shape, len(FEATURES)), dtype=np.float32)
    features[:, : rows.shape[1], :N_OWN_FEATURES] = _own_features(state, low, rows)
    safe = np.maximum(chosen, 0)
    everyone = np.arange(n_users)[:, None]
    shared = [_looked_up(sums, codes, safe, everyone) for sums, (codes, _) in zip(tastes, _pairs(index), strict=True)]
    shared += [_looked_up(breadth[0], index.facets[2], safe, everyone)]
    shared += [_looked_up(breadth[1], index.facets[4], safe, everyone)]
    features[:, :, 7:14] = np.stack(shared, axis=-1)
    features[:, :, 14] = _text_similarity(user, item, slow, index, n_users)[everyone, index.text_index[safe]]
    features[:, :, 15:18] = index.popularity[safe]
    features[:, :, 18] = scores(user, item, index.together, n_users)[everyone, index.together.column[safe]] / LOG_SCALE
    features[chosen < 0] = 0.0
    return Candidates(chosen, is_own, features)


def _pairs(index: ItemIndex) -> list[tuple[Int32, int]]:
    """Codes and number of keys of each facet."""
    return list(zip(index.facets, index.sizes, strict=True))


def _facet_sums(user: Indices, key: Indices, weight: Float32, n_users: int, size: int) -> Float32:
    """(n_users, size + 1) log of each user's sum by key; the last column, which key -1 reads, is 0."""
    known = key >= 0
    cell = user[known] * (size + 1) + key[known]
    sums = np.bincount(cell, weights=weight[known], minlength=n_users * (size + 1)).reshape(n_users, size + 1)
    return (np.log1p(sums) / LOG_SCALE).astype(np.float32)


def _looked_up(sums: Float32, codes: Int32, items: Indices, everyone: Indices) -> Float32:
    """(n_users, width) each user's sum at each candidate's key."""
    return sums[everyone, codes[items]]


def _own_rows(user: Indices, strength: Float32, n_users: int, n_own: int) -> Indices:
    """(n_users, width) rows of each user's own items, strongest first, padded with -1; width is at most n_own."""
    order = np.lexsort((-strength, user))
    rank = np.arange(len(user)) - np.searchsorted(user, user)
    keep = rank < n_own
    rows = np.full((n_users, min(n_own, int(rank.max(initial=-1)) + 1)), -1, dtype=np.int64)
    rows[user[keep], rank[keep]] = order[keep]
    return rows


def _other_candidates(
    user: Indices, item: Indices, index: ItemIndex, taste: Float32, n_users: int, config: CandidateConfig
) -> Int32:
    """(n_users, n_head + n_types x n_per_type) popular and content candidates that are not the user's own, else -1."""
    head = np.broadcast_to(index.head, (n_users, len(index.head)))
    n_types = min(config.n_types, taste.shape[1] - 1)
    favourite = np.argsort(-taste[:, :-1], axis=1, kind="stable")[:, :n_types]
    liked = np.take_along_axis(taste, favourite, axis=1) > 0
    near = np.where(liked[:, :, None], index.type_items[favourite], -1).reshape(n_users, -1)
    near = np.where((near >= 0) & ~index.in_head[np.maximum(near, 0)], near, -1)
    others = np.concatenate([head, near], axis=1)
    owned = np.zeros((n_users, index.n_items + 1), dtype=np.bool_)
    owned[user, item] = True
    return np.where(owned[np.arange(n_users)[:, None], others], -1, others).astype(np.int32)


def _own_features(state: UserItemState, low: int, rows: Indices) -> Float32:
    """(n_users, width, 7) features of the user's own items."""
    real = rows >= 0
    at = np.maximum(rows, 0) + low

    def column(values: Float32) -> Float32:
        return np.where(real, np.maximum(values, 0.0)[at] if len(values) else 0.0, 0.0).astype(np.float32)

    present = real.astype(np.float32)
    slow, fast = column(state.decayed_104d), column(state.decayed_28d)
    last, first = column(state.last_days), column(state.first_days)
    found = own_columns(present, column(state.n_days), slow, fast, last, first)
    return np.stack(found, axis=-1).astype(np.float32)


def own_columns(
    present: Floats, n_days: Floats, slow: Floats, fast: Floats, last: Floats, first: Floats
) -> list[Floats]:
    """The first `N_OWN_FEATURES` features.

    `due` is 1 when the time since the last purchase equals the user's own mean gap for the item, and falls off on both
    sides; it is 0 for an item bought on one day only.

    Args:
        present: 1 where there is an own item; where it is 0, all others must be 0 too. All are of one shape.
        n_days: days with an event.
        slow: decayed sum with a half-life of 104 days, >= 0.
        fast: decayed sum with a half-life of 28 days, >= 0.
        last: days since the last event, >= 0.
        first: days since the first event, >= last.

    Returns:
        Seven arrays of that shape.
    """
    again = n_days > 1
    gap = np.where(again, (first - last) / np.maximum(n_days - 1, 1), 0.0)
    late = np.log(np.maximum(last, 1.0) / np.maximum(gap, 1.0))
    return [
        present,
        np.log1p(slow) / LOG_SCALE,
        np.log1p(fast) / LOG_SCALE,
        np.log1p(n_days) / LOG_SCALE,
        np.log1p(last) / LOG_SCALE,
        np.where(again, np.exp(-np.abs(late)), 0.0),
        np.log1p(gap) / LOG_SCALE,
    ]


def _text_similarity(user: Indices, item: Indices, weight: Float32, index: ItemIndex, n_users: int) -> Float32:
    """(n_users, n_texts + 1) cosine of each text with the user's text centroid; the last column (no text) is 0."""
    text = index.text_index[item]
    known = text >= 0
    shape = (n_users, len(index.text_embeddings))
    bought = sparse.csr_matrix((np.log1p(weight[known]), (user[known], text[known])), shape=shape, dtype=np.float32)
    centroid = bought @ index.text_embeddings
    centroid /= np.maximum(np.linalg.norm(centroid, axis=1, keepdims=True), 1e-9)
    cosine = np.rint(centroid * TEXT_UNITS) @ index.text_units.T / (TEXT_UNITS * TEXT_UNITS)
    similarity: Float32 = np.pad(cosine, ((0, 0), (0, 1)))
    return similarity
