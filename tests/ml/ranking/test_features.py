"""Candidates and features: hand-computed values, and nothing of one user in another's row."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.ranking.features import FEATURES, Candidates, user_candidates
from ml.ranking.index import ItemIndex, index_items
from ml.ranking.inputs import CandidateConfig, ReleasedGram, ReleasedPopularity, UserItemState
from tests.ml.ranking.small_shop import catalogue, state

CONFIG = CandidateConfig(n_own=3, n_head=2, n_types=1, n_per_type=2)
COUNTS = np.array([9.0, 1.0, 5.0, 0.0, 7.0, 2.0])


def item_index() -> ItemIndex:
    """Items 0, 1, 5 of category 0 and 2, 3, 4 of category 1; brands alternate."""
    shop = catalogue([0, 0, 1, 1, 1, 0], [0, 1, 0, 1, 0, 1])
    return index_items(shop, ReleasedPopularity(COUNTS, 0.0), ReleasedGram.none(), CONFIG)


def feature(candidates: Candidates, user: int, item: int, name: str) -> float:
    """One feature of one candidate, in natural units (logarithms are divided by 3 in the code)."""
    position = candidates.item_index[user].tolist().index(item)
    return float(candidates.features[user, position, FEATURES.index(name)])


def test_candidates_are_own_items_then_the_head_then_the_favourite_category() -> None:
    rows = state([(0, 3, 4, 10, 40), (0, 4, 1, 7, 7), (1, 1, 2, 3, 5)])
    candidates = user_candidates(rows, item_index(), 0, 3, CONFIG)
    listed = [[int(i) for i in row if i >= 0] for row in candidates.item_index]
    assert listed[0] == [3, 4, 0, 2]  # own by strength, the head 0, 4 less the own, category 1's best 4, 2 likewise
    assert listed[1] == [1, 0, 4, 5]  # the head 0, 4; category 0's best are 0, already in the head, and 5
    assert listed[2] == [0, 4]
    assert candidates.own.sum(axis=1).tolist() == [2, 1, 0]


def test_features_have_their_hand_computed_values() -> None:
    rows = state([(0, 3, 4, 10, 40), (0, 4, 1, 7, 7)])
    candidates = user_candidates(rows, item_index(), 0, 1, CONFIG)

    def log(x: float) -> float:
        return float(np.log1p(x)) / 3

    expected = {
        (3, "own"): 1.0,
        (3, "decayed_104d"): log(4),
        (3, "n_days"): log(4),
        (3, "recency"): log(10),
        (3, "gap"): log((40 - 10) / 3),
        (3, "due"): 1.0,  # 10 days ago, every 10 days
        (4, "due"): 0.0,
        (4, "gap"): 0.0,
        (4, "category_3"): log(5),
        (4, "n_category_3"): log(2),
        (4, "brand"): log(1),
        (3, "line"): log(4),
        (0, "own"): 0.0,
        (0, "recency"): 0.0,
        (0, "category_3"): 0.0,
        (0, "category_1"): log(5),
        (0, "brand"): log(1),
        (0, "text"): 0.0,
        (4, "text"): 1.0,
        (0, "popularity"): log(9),
        (0, "popularity_category_3"): log(12),
        (0, "popularity_line"): log(9),
    }
    for (item, name), value in expected.items():
        assert feature(candidates, 0, item, name) == pytest.approx(value, abs=1e-6), (item, name)


def test_padding_is_zero_and_no_candidate_comes_twice() -> None:
    rng = np.random.default_rng(0)
    rows = random_state(rng, n_users=20, n_items=6)
    candidates = user_candidates(rows, item_index(), 0, 20, CONFIG)
    assert candidates.item_index.shape[1] <= CONFIG.width
    assert not candidates.features[candidates.item_index < 0].any()
    for user, row in enumerate(candidates.item_index):
        real = row[row >= 0]
        assert len(set(real.tolist())) == len(real)
        low, high = rows.bounds(user, user + 1)
        owned = set(rows.item_index[low:high].tolist())
        for item, own in zip(row.tolist(), candidates.own[user].tolist(), strict=True):
            assert own == (item in owned and item >= 0)


def random_state(rng: np.random.Generator, n_users: int, n_items: int) -> UserItemState:
    """Some rows of each user."""
    pairs = sorted({(int(rng.integers(n_users)), int(rng.integers(n_items))) for _ in range(3 * n_users)})
    return state([(u, i, *(1 + rng.integers(9, size=2)).tolist(), 30.0) for u, i in pairs])


def without(rows: UserItemState, user: int) -> UserItemState:
    """The state without one user's rows."""
    keep = rows.user_index != user
    return UserItemState(**{name: column[keep] for name, column in vars(rows).items()})


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 11))
def test_removing_a_user_changes_no_bit_of_anybody_elses_features(seed: int, gone: int) -> None:
    rows = random_state(np.random.default_rng(seed), n_users=12, n_items=6)
    index = item_index()

    def by_item(candidates: Candidates, user: int) -> dict[int, bytes]:
        row = candidates.item_index[user].tolist()
        return {item: candidates.features[user, at].tobytes() for at, item in enumerate(row) if item >= 0}

    full = user_candidates(rows, index, 0, 12, CONFIG)
    less = user_candidates(without(rows, gone), index, 0, 12, CONFIG)
    for user in range(12):
        if user != gone:
            assert by_item(full, user) == by_item(less, user)
    assert not less.own[gone].any()


def test_users_are_computed_alike_in_any_chunk() -> None:
    rows, index = random_state(np.random.default_rng(5), 10, 6), item_index()
    whole = user_candidates(rows, index, 0, 10, CONFIG)
    part = user_candidates(rows, index, 4, 6, CONFIG)
    for user in (4, 5):
        real = whole.item_index[user] >= 0
        kept = part.item_index[user - 4] >= 0
        assert whole.item_index[user][real].tolist() == part.item_index[user - 4][kept].tolist()
        assert np.array_equal(whole.features[user][real], part.features[user - 4][kept])


def test_items_without_keys_or_text_have_zero_features_there() -> None:
    shop = catalogue([0, 1])
    bare = replace(shop, codes=np.full((4, 2), -1, dtype=np.int32), text_index=np.full(2, -1, dtype=np.int32))
    index = index_items(bare, ReleasedPopularity(np.array([3.0, 1.0]), 0.0), ReleasedGram.none(), CONFIG)
    candidates = user_candidates(state([(0, 1, 2, 3, 5)]), index, 0, 1, CONFIG)
    names = ("category_1", "category_2", "category_3", "brand", "line", "n_category_3", "n_line", "text")
    assert all(feature(candidates, 0, item, name) == 0.0 for item in (0, 1) for name in names)
    assert feature(candidates, 0, 0, "popularity") > 0


def test_own_items_beyond_the_cap_are_no_candidates_at_all() -> None:
    rows = state([(0, item, 9 - item, 1, 50) for item in range(5)])
    candidates = user_candidates(rows, item_index(), 0, 1, CONFIG)
    assert candidates.item_index[0][candidates.own[0]].tolist() == [0, 1, 2]
    assert not {3, 4} & set(candidates.item_index[0].tolist())


def test_the_release_must_fit_the_catalogue() -> None:
    with pytest.raises(ValueError, match="2 items"):
        index_items(catalogue([0, 1]), ReleasedPopularity(np.ones(3), 0.0), ReleasedGram.none(), CONFIG)
