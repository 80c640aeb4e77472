"""What the ranker is trained on: one bounded bag a user, with labels from the period after an instant.

A bag holds one user's rows alone, so one sample of the private training is one user. This file knows no torch.
"""

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
