"""A tiny catalogue and states for the tests of the ranking room."""

import numpy as np
import numpy.typing as npt

from ml.ranking.inputs import Catalogue, UserItemState


def catalogue(category_3: list[int], brand: list[int] | None = None) -> Catalogue:
    """Items with one third-level category each, orthogonal texts by category, one text a category."""
    third = np.array(category_3, dtype=np.int32)
    zero = np.zeros(len(third), dtype=np.int32)
    brands = zero if brand is None else np.array(brand, dtype=np.int32)
    return Catalogue(
        codes=np.stack([zero, zero, third, brands]),
        text_embeddings=np.eye(int(third.max(initial=0)) + 1, dtype=np.float32),
        text_index=third,
    )


def state(rows: list[tuple[int, int, float, float, float]]) -> UserItemState:
    """State from (user, item, n_days, last_days, first_days); both decayed sums equal n_days."""
    table: npt.NDArray[np.float64] = np.array(sorted(rows), dtype=np.float64).reshape(-1, 5)
    days = table[:, 2].astype(np.float32)
    return UserItemState(
        user_index=table[:, 0].astype(np.int32),
        item_index=table[:, 1].astype(np.int32),
        n_days=days,
        decayed_28d=days,
        decayed_104d=days,
        last_days=table[:, 3].astype(np.float32),
        first_days=table[:, 4].astype(np.float32),
    )
