"""What the ranker is trained on: one bounded bag a user, with labels from the period after an instant.

A bag holds one user's rows alone, so one sample of the private training is one user. This file knows no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Bags:
    """The bounded bags of some users, padded to one width: one physical batch."""

    features: npt.NDArray[np.float32]
    """(n_users, width, n_features), finite."""
    candidate: npt.NDArray[np.bool_]
    """(n_users, n_heads, width) which cells each head ranks; padding is no candidate."""
    label: npt.NDArray[np.bool_]
    """(n_users, n_heads, width) which of the candidates are positive. A user without any teaches nothing."""

    def __post_init__(self) -> None:
        """Check shapes and finiteness.

        Raises:
            ValueError: if shapes differ or a feature is not finite.
        """
        n_users, width = self.features.shape[:2]
        if not (self.candidate.shape == self.label.shape == (n_users, self.label.shape[1], width)):
            raise ValueError(
                f"bags have features {self.features.shape}, candidate {self.candidate.shape} and label "
                f"{self.label.shape}; expected (n_users, width, n_features) and twice (n_users, n_heads, width)"
            )
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
    start = 0
    for batch, rows in parts:
        stop, own = start + len(rows), batch.features.shape[1]
        features[start:stop, :own] = batch.features[rows]
        candidate[start:stop, :, :own] = batch.candidate[rows]
        label[start:stop, :, :own] = batch.label[rows]
        start = stop
    return Bags(features, candidate, label)
