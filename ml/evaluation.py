"""Ranking metrics per user, their paired comparison, baselines, and the hold-out for a shop without timestamps.

Every user with a relevant item counts once; relevant is whatever the user bought in the test window, over the whole
public catalogue, with no filter on how often an item was sold. Exact numbers: their class is `internal`.
"""

from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from ml.ranking.inputs import Bool, Float64, Int32, Int64


@dataclass(frozen=True, eq=False)
class PerUser:
    """One value for each user with a relevant item, in the order of `user_index`."""

    user_index: Int64
    """(n,) evaluated users, ascending."""
    recall: Float64
    """(n,) share of the relevant items that are in the list."""
    ndcg: Float64
    """(n,) binary NDCG: the ideal list holds min(k, n_relevant) relevant items."""
    mrr: Float64
    """(n,) one over the rank of the first relevant item, 0 without any."""


class Summary(BaseModel):
    """Means over users."""

    model_config = ConfigDict(frozen=True)

    n_users: int
    """Users with a relevant item."""
    recall: float
    """Mean recall at k; 0 without users, as all means here."""
    ndcg: float
    """Mean NDCG at k."""
    mrr: float
    """Mean reciprocal rank within k."""
    coverage: float
    """Distinct items in all lists over the size of the catalogue."""
    n_items_recommended: int
    """Distinct items in all lists."""


class PairedDifference(BaseModel):
    """Mean of a - b over users, with a bootstrap interval."""

    model_config = ConfigDict(frozen=True)

    mean: float
    """Mean difference."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""


def per_user_metrics(recommended: Int32, relevant_user: Int32, relevant_item: Int32) -> PerUser:
    """Score every user's list against the user's relevant items.

    >>> scores = per_user_metrics(np.array([[7, 1, 2]]), np.array([0, 0]), np.array([1, 9]))
    >>> [round(float(value[0]), 4) for value in (scores.recall, scores.ndcg, scores.mrr)]
    [0.5, 0.3869, 0.5]

    Args:
        recommended: (n_users, k) items, best first, without repeats; -1 for an empty place. Row = user index.
        relevant_user: (n,) user of each relevant pair, in [0, n_users); repeated pairs count once.
        relevant_item: (n,) its item, >= 0.

    Returns:
        Metrics at k for the users with a relevant item.

    Raises:
        ValueError: if a relevant user has no row in `recommended`.

    Source: Jarvelin, Kekalainen (TOIS 2002) for the discount 1 / log2(1 + rank).
    """
    n_users, k = recommended.shape
    if len(relevant_user) and (int(relevant_user.min()) < 0 or int(relevant_user.max()) >= n_users):
        raise ValueError(f"relevant user {relevant_user.max()} is outside the {n_users} users with a list")
    width = int(max(recommended.max(initial=0), relevant_item.max(initial=0))) + 1
    pairs = np.unique(relevant_user.astype(np.int64) * width + relevant_item)
    n_relevant = np.bincount(pairs // width, minlength=n_users)
    keys = np.arange(n_users, dtype=np.int64)[:, None] * width + recommended
    hit = np.isin(keys, pairs) & (recommended >= 0)
    user = np.flatnonzero(n_relevant)
    hit, n_relevant = hit[user], n_relevant[user]
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discount)[np.minimum(n_relevant, k) - 1]
    first = np.argmax(hit, axis=1)
    return PerUser(
        user_index=user,
        recall=hit.sum(axis=1) / n_relevant,
        ndcg=(hit @ discount) / ideal,
        mrr=np.where(hit.any(axis=1), 1 / (first + 1), 0.0),
    )


def coverage(recommended: Int32, n_items: int) -> float:
    """Share of the catalogue that is recommended to anyone.

    Args:
        recommended: (n_users, k) items; -1 for an empty place.
        n_items: size of the catalogue, > 0.

    Returns:
        In [0, 1].
    """
    return len(np.unique(recommended[recommended >= 0])) / n_items


def summarise(scores: PerUser, recommended: Int32, n_items: int) -> Summary:
    """Means of the metrics over evaluated users, and coverage over everybody's lists."""

    def mean(values: Float64) -> float:
        return float(values.mean()) if len(values) else 0.0

    return Summary(
        n_users=len(scores.user_index),
        recall=mean(scores.recall),
        ndcg=mean(scores.ndcg),
        mrr=mean(scores.mrr),
        coverage=coverage(recommended, n_items),
        n_items_recommended=len(np.unique(recommended[recommended >= 0])),
    )


def paired_bootstrap(
    a: Float64, b: Float64, *, seed: int, n_resamples: int = 2000, confidence: float = 0.95
) -> PairedDifference:
    """Percentile bootstrap over users of the mean difference of two models on the same users.

    Args:
        a: (n,) one metric of the first model.
        b: (n,) the same metric of the second, same users in the same order.
        seed: of the resampling.
        n_resamples: bootstrap samples.
        confidence: mass of the interval, in (0, 1).

    Returns:
        Mean of a - b and its interval.

    Raises:
        ValueError: if lengths differ or there is no user.

    Source: Efron, Tibshirani (1993), chapter 13.3; Sakai (SIGIR 2006) for retrieval metrics.
    """
    if a.shape != b.shape or a.ndim != 1 or len(a) == 0:
        raise ValueError(f"paired metrics have shapes {a.shape} and {b.shape}; give one value a user, same users")
    difference = a - b
    rng = np.random.default_rng(seed)
    means = np.array([rng.choice(difference, size=len(difference)).mean() for _ in range(n_resamples)])
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return PairedDifference(mean=float(difference.mean()), low=float(low), high=float(high))


def popularity_baseline(counts: Float64, seen: tuple[Int32, Int32] | None, n_users: int, k: int = 20) -> Int32:
    """The same most popular items for everybody, without what a user has already where `seen` is given.

    Args:
        counts: (n_items,) exact number of users who bought each item in the window.
        seen: (user_index, item_index) pairs to leave out, or None.
        n_users: users.
        k: length of a list.

    Returns:
        (n_users, k) int32, -1 where the catalogue runs out.
    """
    order = np.argsort(-counts, kind="stable").astype(np.int32)
    lists = np.full((n_users, k), -1, dtype=np.int32)
    if seen is None:
        lists[:, : len(order[:k])] = order[:k]
        return lists
    by_user = np.argsort(seen[0], kind="stable")
    user, item = seen[0][by_user], seen[1][by_user]
    edges = np.searchsorted(user, np.arange(n_users + 1))
    masked: Bool = np.zeros(len(counts), dtype=np.bool_)
    for u in range(n_users):
        own = item[edges[u] : edges[u + 1]]
        masked[own] = True
        reach = order[: k + len(np.unique(own))]
        fresh = reach[~masked[reach]][:k]
        lists[u, : len(fresh)] = fresh
        masked[own] = False
    return lists


def personal_frequency_baseline(
    user_index: Int32, item_index: Int32, frequency: Float64, n_users: int, k: int = 20
) -> Int32:
    """Each user's own most frequent items.

    Args:
        user_index: (n,) one row a user and item.
        item_index: (n,) the item.
        frequency: (n,) how often, raw or decayed.
        n_users: users.
        k: length of a list.

    Returns:
        (n_users, k) int32, most frequent first, ties by item, -1 where a user has fewer.
    """
    order = np.lexsort((item_index, -frequency, user_index))
    user = user_index[order]
    rank = np.arange(len(user)) - np.searchsorted(user, user)
    keep = rank < k
    lists = np.full((n_users, k), -1, dtype=np.int32)
    lists[user[keep], rank[keep]] = item_index[order][keep]
    return lists


def held_out(user_index: Int32, item_index: Int32, *, share: float, seed: int) -> Bool:
    """Seeded per-user hold-out for a shop without timestamps: a share of each user's distinct items.

    The choice for one user depends on the seed, the user's index and the user's own items alone. A user keeps at least
    one item; a user with a single item has none held out.

    Args:
        user_index: (n,) user of each event, >= 0.
        item_index: (n,) its item, >= 0.
        share: of a user's items, in (0, 1); rounded down, at least one where a user has two.
        seed: of the choice.

    Returns:
        (n,) whether an event belongs to the test; all events of a user and item go to one side.

    Raises:
        ValueError: if the share is out of range.
    """
    if not 0 < share < 1:
        raise ValueError(f"held-out share is {share}; it must lie strictly between 0 and 1")
    width = int(item_index.max(initial=0)) + 1
    pairs, inverse = np.unique(user_index.astype(np.int64) * width + item_index, return_inverse=True)
    out = np.zeros(len(pairs), dtype=np.bool_)
    users, starts, counts = np.unique(pairs // width, return_index=True, return_counts=True)
    for user, start, count in zip(users, starts, counts, strict=True):
        n_out = min(max(int(count * share), 1), count - 1)
        chosen = np.random.default_rng([seed, int(user)]).permutation(count)[:n_out]
        out[start + chosen] = True
    result: Bool = out[inverse]
    return result
