"""The ranker: linear heads over a user's candidates, with reasons.

Class `per_user`: with the released weights held fixed, nobody's recommendations depend on another user's rows.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ml.ranking.features import FEATURES, Candidates, user_candidates
from ml.ranking.index import ItemIndex
from ml.ranking.inputs import Bool, CandidateConfig, Float32, Float64, Indices, Int32, UserItemState

Task = Literal["next_purchases", "discovery"]
"""`next_purchases` ranks everything; `discovery` only what the user does not have yet."""

TASKS: Final[tuple[Task, ...]] = ("next_purchases", "discovery")
"""Order of the heads."""

REASONS: Final = (
    "bought_regularly",
    "due_again",
    "fits_category",
    "fits_brand",
    "similar_text",
    "popular",
    "bought_together",
)
"""Reason codes; a recommendation's `reason` is a position here."""

_REASON_OF: Final = {
    "own": "bought_regularly",
    "decayed_104d": "bought_regularly",
    "decayed_28d": "bought_regularly",
    "n_days": "bought_regularly",
    "recency": "bought_regularly",
    "due": "due_again",
    "gap": "due_again",
    "category_1": "fits_category",
    "category_2": "fits_category",
    "category_3": "fits_category",
    "brand": "fits_brand",
    "line": "fits_brand",
    "n_category_3": "fits_category",
    "n_line": "fits_brand",
    "text": "similar_text",
    "popularity": "popular",
    "popularity_category_3": "popular",
    "popularity_line": "popular",
    "bought_together": "bought_together",
}

_GROUPS: Final = np.array([[_REASON_OF[feature] == reason for reason in REASONS] for feature in FEATURES])
"""(n_features, n_reasons) true where a feature speaks for a reason."""


class RankerWeights(BaseModel):
    """One weight a feature and head."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    next_purchases: tuple[float, ...] = Field(min_length=len(FEATURES), max_length=len(FEATURES))
    """Weights of the repeat head, in the order of `FEATURES`."""
    discovery: tuple[float, ...] = Field(min_length=len(FEATURES), max_length=len(FEATURES))
    """Weights of the discovery head."""
    features: tuple[str, ...] = FEATURES
    """Names of the features the weights belong to."""

    @model_validator(mode="after")
    def _check_features(self) -> "RankerWeights":
        if self.features != FEATURES:
            raise ValueError(f"weights belong to features {self.features}, this code computes {FEATURES}; train anew")
        return self

    @classmethod
    def from_array(cls, array: Float64) -> "RankerWeights":
        """Weights from a (2, n_features) array whose rows follow `TASKS`."""
        return cls(next_purchases=tuple(map(float, array[0])), discovery=tuple(map(float, array[1])))

    def to_array(self) -> Float64:
        """(2, n_features) float64, rows as in `TASKS`."""
        return np.array([self.next_purchases, self.discovery], dtype=np.float64)


PRIOR: Final = RankerWeights(
    next_purchases=(3, 0.5, 2.5, 7.5, -1, 1, 0, 0, 0, 0, 0.3, 0.2, 0.3, 0.3, 0, 1, 0.2, 0, 0.4),
    discovery=(0, 0, 0, 0, 0, 0, 0, -0.1, 0.7, -1.4, 0.5, 0, 2.1, 1.6, 1.5, 4, -1, -0.5, 2.3),
)
"""Where training starts: public constants. `next_purchases` is rounded from a fit on the validation period of a public
benchmark, `discovery` is half way between such a fit and one in which a made-up shop has a fourth of the weight."""


@dataclass(frozen=True, eq=False)
class Recommendations:
    """The best items of each user, best first; item -1, score 0 and reason -1 where a user has fewer candidates."""

    item_index: Int32
    """(n_users, k) catalogue positions."""
    score: Float32
    """(n_users, k) descending, apart from the tail places; comparable within a user only. For a user without rows, the
    released popularity."""
    reason: Int32
    """(n_users, k) position in `REASONS`: what sets the item apart most from the user's other candidates."""


def recommend(
    state: UserItemState,
    index: ItemIndex,
    weights: RankerWeights,
    *,
    n_users: int,
    tasks: Sequence[Task] = TASKS,
    k: int = 20,
    n_tail: int = 2,
    config: CandidateConfig | None = None,
    chunk_users: int = 128,
    threads: int = 1,
    corrections: Float64 | None = None,
) -> dict[Task, Recommendations]:
    """Rank every user's candidates, for all tasks at once; a user without rows gets the released popularity.

    Args:
        state: all users' own items as of the instant.
        index: the item side, made with the same `config`.
        weights: released weights.
        n_users: users 0 .. n_users - 1 are served, with or without rows.
        tasks: which heads; `discovery` leaves out every item the user has in the state.
        k: length of a list.
        n_tail: places at the end of a discovery list kept for the best items outside the popular head: the price of
            coverage. 0 ranks by score alone.
        config: how many candidates.
        chunk_users: users whose features a thread holds at once: about 0.5 MB each at the default width.
        threads: how many chunks are ranked side by side; no bit depends on it.
        corrections: (n_users, n_features) what is added to the released weights of `next_purchases`, for each user;
            None adds nothing.

    Returns:
        Lists of length k, by task.

    Raises:
        ValueError: if k is below 1, the state holds a user that is not served or an unknown item, or the corrections
            are not one finite row a user.
    """
    config = config or CandidateConfig()
    _check_request(state, index, n_users, k)
    if corrections is not None and not (
        corrections.shape == (n_users, len(FEATURES)) and bool(np.all(np.isfinite(corrections)))
    ):
        raise ValueError(
            f"corrections have shape {corrections.shape}, or one is not finite; expected {(n_users, len(FEATURES))}"
        )
    heads = dict(zip(TASKS, weights.to_array().astype(np.float32), strict=True))

    def ranked(start: int) -> list[Recommendations]:
        stop = min(start + chunk_users, n_users)
        candidates = user_candidates(state, index, start, stop, config)
        own = {task: head[None] for task, head in heads.items()}
        if corrections is not None:
            own["next_purchases"] = own["next_purchases"] + corrections[start:stop].astype(np.float32)
        return [_ranked(candidates, index, own[task], task, k, n_tail) for task in tasks]

    with ThreadPoolExecutor(threads) as pool:
        chunks = list(pool.map(ranked, range(0, n_users, chunk_users)))
    return {
        task: _popularity_for_the_unknown(_joined([chunk[i] for chunk in chunks], k), state, index, n_users)
        for i, task in enumerate(tasks)
    }


def _joined(parts: Sequence[Recommendations], k: int) -> Recommendations:
    """The lists of all chunks."""
    if not parts:
        none = np.empty((0, k), dtype=np.int32)
        return Recommendations(item_index=none, score=none.astype(np.float32), reason=none)
    return Recommendations(
        item_index=np.concatenate([part.item_index for part in parts]),
        score=np.concatenate([part.score for part in parts]),
        reason=np.concatenate([part.reason for part in parts]),
    )


def _check_request(state: UserItemState, index: ItemIndex, n_users: int, k: int) -> None:
    """Refuse what cannot be answered."""
    if k < 1 or n_users < 0:
        raise ValueError(f"k is {k} and n_users is {n_users}; ask for at least one item and no negative users")
    if len(state.user_index) and int(state.user_index[-1]) >= n_users:
        raise ValueError(f"the state holds user {state.user_index[-1]}, but only {n_users} users are served")
    if len(state.item_index) and int(state.item_index.max()) >= index.n_items:
        raise ValueError(f"the state holds item {state.item_index.max()}, the catalogue only {index.n_items} items")


def _ranked(
    candidates: Candidates, index: ItemIndex, heads: Float32, task: Task, k: int, n_tail: int
) -> Recommendations:
    """The k best candidates of each user of a chunk; `heads` has one row, or one a user."""
    allowed = candidates.item_index >= 0
    if task == "discovery":
        allowed &= ~candidates.own
    else:
        n_tail = 0
    # Not a matrix product: how BLAS cuts it, and with that the last bit, depends on the number of candidates.
    if len(heads) == 1:
        product = np.einsum("ukf,f->uk", candidates.features, heads[0])
    else:
        product = np.einsum("ukf,uf->uk", candidates.features, heads)
    score = np.where(allowed, product, -np.inf).astype(np.float32)
    best = _top(score, k)
    n_tail = min(n_tail, best.shape[1])
    if n_tail:
        n_main = best.shape[1] - n_tail
        outside = np.where(index.in_head[candidates.item_index], -np.inf, score)
        np.put_along_axis(outside, best[:, :n_main], -np.inf, axis=1)
        tail = _top(outside, n_tail)
        complete = np.isfinite(np.take_along_axis(outside, tail, axis=1)).all(axis=1)
        best[complete, n_main:] = tail[complete]
    top = np.take_along_axis(score, best, axis=1)
    found = np.isfinite(top)
    item = np.where(found, np.take_along_axis(candidates.item_index, best, axis=1), -1)
    reason = np.where(found, _reasons(candidates, allowed, heads[:, None], best), -1)
    short = ((0, 0), (0, k - best.shape[1]))
    return Recommendations(
        item_index=np.pad(item, short, constant_values=-1).astype(np.int32),
        score=np.pad(np.where(found, top, 0.0), short).astype(np.float32),
        reason=np.pad(reason, short, constant_values=-1).astype(np.int32),
    )


def _top(score: Float32, k: int) -> Indices:
    """(n_users, k) positions of the k largest scores, descending; ties go to the earlier one, on every machine."""
    return np.argsort(-score, axis=1, kind="stable")[:, :k]


def _reasons(candidates: Candidates, allowed: Bool, head: Float32, best: Indices) -> Indices:
    """(n_users, k) reason whose contribution exceeds its mean over the user's other candidates most.

    Own items are compared with own items and new ones with new ones: that an own item was bought before says nothing.
    A reason counts only where it contributes something; the item's kind (own or new) always has one left.
    """
    rows = np.arange(len(best))[:, None]
    own = candidates.own[rows, best]
    contribution = _by_reason(candidates.features[rows, best] * head)
    mean_of_own = _mean_over(candidates.features, allowed & candidates.own)
    mean_of_new = _mean_over(candidates.features, allowed & ~candidates.own)
    mean = np.where(own[..., None], _by_reason(mean_of_own * head), _by_reason(mean_of_new * head))
    eligible = contribution > 0
    eligible[..., REASONS.index("bought_regularly")] |= own
    eligible[..., REASONS.index("popular")] |= ~own
    reason: Indices = np.argmax(np.where(eligible, contribution - mean, -np.inf), axis=-1)
    return reason


def _by_reason(products: Float32) -> Float32:
    """(n_users, n, n_features) products of feature and weight, summed by reason: (n_users, n, n_reasons)."""
    return np.stack([products[..., of].sum(axis=-1) for of in _GROUPS.T], axis=-1)


def _mean_over(features: Float32, chosen: Bool) -> Float32:
    """(n_users, 1, n_features) mean over the chosen candidates; 0 without any."""
    count = np.maximum(chosen.sum(axis=1), 1)[:, None, None]
    mean: Float32 = np.einsum("ukf,uk->uf", features, chosen.astype(np.float32))[:, None, :] / count
    return mean


def _popularity_for_the_unknown(
    result: Recommendations, state: UserItemState, index: ItemIndex, n_users: int
) -> Recommendations:
    """Give users without rows the most popular items, by released counts."""
    unknown = np.ones(n_users, dtype=np.bool_)
    unknown[state.user_index] = False
    k = min(result.item_index.shape[1], index.n_items)
    item, score, reason = result.item_index.copy(), result.score.copy(), result.reason.copy()
    item[unknown, :k] = index.order[:k]
    score[unknown, :k] = index.order_score[:k]
    reason[unknown, :k] = REASONS.index("popular")
    return Recommendations(item, score, reason)
