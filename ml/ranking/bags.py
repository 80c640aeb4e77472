"""What the ranker is trained on: one bounded bag a user, with labels from the period after an instant.

A bag holds one user's rows alone, so one sample of the private training is one user. This file knows no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.ranking.features import user_candidates
from ml.ranking.index import ItemIndex
from ml.ranking.inputs import Bool, CandidateConfig, Float32, Float64, Int32, UserItemState


@dataclass(frozen=True, eq=False)
class Bags:
    """The bounded bags of some users, padded to one width: one physical batch."""

    features: npt.NDArray[np.float32]
    """(n_users, width, n_features), finite."""
    candidate: npt.NDArray[np.bool_]
    """(n_users, n_heads, width) which cells each head ranks; padding is no candidate."""
    label: npt.NDArray[np.bool_]
    """(n_users, n_heads, width) which of the candidates are positive. A user without any teaches nothing."""
    weight: npt.NDArray[np.float32] | None = None
    """(n_users, width) in (0, 1]: how much a positive counts beside the same user's others, 1 for the weightiest; what
    is no positive has 1. None: they count alike."""

    def __post_init__(self) -> None:
        """Check shapes and finiteness.

        Raises:
            ValueError: if shapes differ, a feature is not finite, or a weight is not in (0, 1].
        """
        n_users, width = self.features.shape[:2]
        if not (self.candidate.shape == self.label.shape == (n_users, self.label.shape[1], width)):
            raise ValueError(
                f"bags have features {self.features.shape}, candidate {self.candidate.shape} and label "
                f"{self.label.shape}; expected (n_users, width, n_features) and twice (n_users, n_heads, width)"
            )
        if self.weight is not None and not (
            self.weight.shape == (n_users, width) and bool(np.all((self.weight > 0) & (self.weight <= 1)))
        ):
            raise ValueError(f"bags have weights of shape {self.weight.shape}; expected {(n_users, width)}, in (0, 1]")
        if not bool(np.all(np.isfinite(self.features))):
            raise ValueError("bags hold a feature that is not finite: its gradient would be NaN; repair the features")


def bags_of_users(batches: Sequence[Bags], users: Sequence[int]) -> Bags:
    """The bags of some users as one batch, padded to the widest of them; nobody gives an empty batch.

    Args:
        batches: all users, at least one batch; user u is the u-th bag over all batches.
        users: their numbers, in any order.

    Returns:
        Their bags, batch by batch.
    """
    stops = np.cumsum([len(batch.features) for batch in batches])
    chosen = np.sort(np.asarray(users, dtype=np.int64))
    home = np.searchsorted(stops, chosen, side="right")
    parts = [
        (batches[number], chosen[home == number] - (stops[number] - len(batches[number].features)))
        for number in np.unique(home)
    ]
    width = max((batch.features.shape[1] for batch, _ in parts), default=1)
    n_heads, n_features = batches[0].label.shape[1], batches[0].features.shape[2]
    features = np.zeros((len(chosen), width, n_features), dtype=np.float32)
    candidate = np.zeros((len(chosen), n_heads, width), dtype=np.bool_)
    label = np.zeros_like(candidate)
    weight = np.ones((len(chosen), width), dtype=np.float32)
    start = 0
    for batch, rows in parts:
        stop, own = start + len(rows), batch.features.shape[1]
        features[start:stop, :own] = batch.features[rows]
        candidate[start:stop, :, :own] = batch.candidate[rows]
        label[start:stop, :, :own] = batch.label[rows]
        if batch.weight is not None:
            weight[start:stop, :own] = batch.weight[rows]
        start = stop
    return Bags(features, candidate, label, None if all(batch.weight is None for batch in batches) else weight)


def training_bags(
    state: UserItemState,
    index: ItemIndex,
    label_user: Int32,
    label_item: Int32,
    label_weight: Float64 | None = None,
    *,
    n_users: int,
    config: CandidateConfig | None = None,
    chunk_users: int = 256,
) -> list[Bags]:
    """One bag a user: candidates as of an instant, labelled by what the user bought in the period after it.

    Args:
        state: as of the instant.
        index: the item side with numbers released from data up to the instant.
        label_user: (n,) users of the purchases after the instant.
        label_item: (n,) their items; an item that is no candidate teaches nothing.
        label_weight: (n,) above 0: how much each counts beside the same user's others; of a pair named twice the
            greater one. None: they count alike.
        n_users: users 0 .. n_users - 1, with or without rows.
        config: how many candidates.
        chunk_users: users of one physical batch.

    Returns:
        Batches whose heads are `ml.ranking.ranker.TASKS`: the second ranks only what the user does not have.

    Raises:
        ValueError: if a weight is not a positive number.
    """
    config = config or CandidateConfig()
    bought, named = np.unique(label_user.astype(np.int64) * index.n_items + label_item, return_inverse=True)
    weight = np.zeros(len(bought))
    if label_weight is not None:
        if not bool(np.all(np.isfinite(label_weight) & (label_weight > 0))):
            raise ValueError("a label has a weight that is not a positive number; leave out what says nothing")
        np.maximum.at(weight, named, label_weight)
    batches = []
    for start in range(0, n_users, chunk_users):
        stop = min(start + chunk_users, n_users)
        candidates = user_candidates(state, index, start, stop, config)
        real = candidates.item_index >= 0
        cell = np.arange(start, stop, dtype=np.int64)[:, None] * index.n_items + candidates.item_index
        label = np.isin(cell, bought) & real
        candidate = np.stack([real, real & ~candidates.own], axis=1)
        weighed = None if label_weight is None else _weighed(cell, label, bought, weight)
        batches.append(Bags(candidates.features, candidate, label[:, None, :] & candidate, weighed))
    return batches


def _weighed(cell: npt.NDArray[np.int64], label: Bool, bought: npt.NDArray[np.int64], weight: Float64) -> Float32:
    """(n_users, width) weights of the positives over the greatest of the same user's; 1 elsewhere."""
    found = np.ones(label.shape)
    found[label] = weight[np.searchsorted(bought, cell[label])]
    greatest = np.max(found, axis=1, where=label, initial=0.0, keepdims=True)
    share: Float32 = np.divide(found, greatest, out=np.ones_like(found), where=label).astype(np.float32)
    return share
