"""Metrics against hand-computed answers, baselines, and the hold-out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.evaluation import (
    coverage,
    held_out,
    paired_bootstrap,
    per_user_metrics,
    personal_frequency_baseline,
    popularity_baseline,
    summarise,
)

LISTS = np.array([[4, 2, 9], [1, 0, -1], [5, 6, 7]], dtype=np.int32)


def test_metrics_have_their_hand_computed_values() -> None:
    user = np.array([0, 0, 0, 1, 1], dtype=np.int32)
    item = np.array([2, 9, 8, 1, 1], dtype=np.int32)  # a repeated pair counts once
    scores = per_user_metrics(LISTS, user, item)
    assert scores.user_index.tolist() == [0, 1]  # user 2 has nothing relevant
    np.testing.assert_allclose(scores.recall, [2 / 3, 1.0])
    ideal = 1 + 1 / np.log2(3) + 1 / 2
    np.testing.assert_allclose(scores.ndcg, [(1 / np.log2(3) + 1 / 2) / ideal, 1.0])
    np.testing.assert_allclose(scores.mrr, [0.5, 1.0])
    summary = summarise(scores, LISTS, n_items=10)
    assert summary.n_users == 2
    assert summary.mrr == 0.75
    assert summary.coverage == pytest.approx(0.8)
    assert summary.n_items_recommended == 8


def test_more_relevant_items_than_places_still_allow_a_perfect_list() -> None:
    scores = per_user_metrics(LISTS[:1], np.zeros(5, dtype=np.int32), np.array([4, 2, 9, 1, 3], dtype=np.int32))
    np.testing.assert_allclose([scores.ndcg[0], scores.recall[0], scores.mrr[0]], [1.0, 0.6, 1.0])


def test_edges_have_defined_answers() -> None:
    none = np.empty(0, dtype=np.int32)
    scores = per_user_metrics(LISTS, none, none)
    assert summarise(scores, LISTS, 10).ndcg == 0.0
    empty = np.full((1, 3), -1, dtype=np.int32)
    missed = per_user_metrics(empty, np.array([0], dtype=np.int32), np.array([0], dtype=np.int32))
    assert [missed.ndcg[0], missed.recall[0], missed.mrr[0]] == [0.0, 0.0, 0.0]
    assert coverage(empty, 10) == 0.0
    with pytest.raises(ValueError, match="user 3"):
        per_user_metrics(LISTS, np.array([3], dtype=np.int32), np.array([1], dtype=np.int32))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_metrics_lie_in_the_unit_interval_and_improve_when_a_hit_moves_up(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lists = np.stack([rng.permutation(12)[:5] for _ in range(4)]).astype(np.int32)
    user, item = rng.integers(4, size=9).astype(np.int32), rng.integers(12, size=9).astype(np.int32)
    scores = per_user_metrics(lists, user, item)
    for values in (scores.recall, scores.ndcg, scores.mrr):
        assert ((values >= 0) & (values <= 1 + 1e-12)).all()
    relevant = set(zip(user.tolist(), item.tolist(), strict=True))
    better = np.array([sorted(row, key=lambda i: (u, i) not in relevant) for u, row in enumerate(lists.tolist())])
    assert (per_user_metrics(better, user, item).ndcg >= scores.ndcg - 1e-12).all()


def test_the_bootstrap_tells_a_real_difference_from_none_and_is_seeded() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(400)
    real = paired_bootstrap(base + 0.05 + rng.normal(0, 0.05, 400), base, seed=1)
    assert 0.04 < real.low < real.mean < real.high < 0.06
    none = paired_bootstrap(base + rng.normal(0, 0.05, 400), base, seed=1)
    assert none.low < 0 < none.high
    assert paired_bootstrap(base, base[::-1], seed=5) == paired_bootstrap(base, base[::-1], seed=5)
    error = 0.05 / np.sqrt(400)
    assert (real.high - real.low) == pytest.approx(2 * 1.96 * error, rel=0.15)
    with pytest.raises(ValueError, match="same users"):
        paired_bootstrap(base, base[:-1], seed=0)


def test_popularity_is_the_same_for_all_unless_seen_items_are_left_out() -> None:
    counts = np.array([3.0, 9.0, 5.0, 9.0])
    assert popularity_baseline(counts, None, 2, k=3).tolist() == [[1, 3, 2], [1, 3, 2]]
    seen = (np.array([1, 1, 1], dtype=np.int32), np.array([1, 2, 1], dtype=np.int32))
    assert popularity_baseline(counts, seen, 2, k=3).tolist() == [[1, 3, 2], [3, 0, -1]]


def test_personal_frequency_ranks_a_users_own_items() -> None:
    user, item = np.array([1, 0, 1, 1], dtype=np.int32), np.array([7, 2, 3, 5], dtype=np.int32)
    lists = personal_frequency_baseline(user, item, np.array([1.0, 4.0, 6.0, 6.0]), n_users=3, k=2)
    assert lists.tolist() == [[2, -1], [3, 5], [-1, -1]]


def test_personal_frequency_solves_a_shop_of_pure_habits_and_popularity_does_not() -> None:
    user = np.repeat(np.arange(50), 3).astype(np.int32)
    item = (user * 3 + np.tile(np.arange(3), 50)).astype(np.int32)
    own = personal_frequency_baseline(user, item, np.ones(150), 50, k=3)
    everyone = popularity_baseline(np.bincount(item, minlength=150).astype(float), None, 50, k=3)
    assert per_user_metrics(own, user, item).ndcg.mean() == 1.0
    assert per_user_metrics(everyone, user, item).ndcg.mean() < 0.05


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.floats(0.05, 0.95))
def test_the_hold_out_takes_whole_items_and_leaves_every_user_one(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    user, item = rng.integers(6, size=60).astype(np.int32), rng.integers(9, size=60).astype(np.int32)
    out = held_out(user, item, share=share, seed=seed)
    assert np.array_equal(out, held_out(user, item, share=share, seed=seed))
    sides = {(u, i, o) for u, i, o in zip(user.tolist(), item.tolist(), out.tolist(), strict=True)}
    assert len(sides) == len({(u, i) for u, i, _ in sides})
    for u in set(user.tolist()):
        items = {(i, o) for v, i, o in sides if v == u}
        n_out = sum(o for _, o in items)
        assert n_out == min(max(int(len(items) * share), 1), len(items) - 1)


def test_one_users_hold_out_does_not_depend_on_the_others() -> None:
    rng = np.random.default_rng(3)
    user, item = rng.integers(5, size=80).astype(np.int32), rng.integers(30, size=80).astype(np.int32)
    keep = user != 2
    alone = held_out(user[keep], item[keep], share=0.3, seed=9)
    assert np.array_equal(held_out(user, item, share=0.3, seed=9)[keep], alone)
    assert not np.array_equal(held_out(user, item, share=0.3, seed=10)[keep], alone)
    with pytest.raises(ValueError, match="between 0 and 1"):
        held_out(user, item, share=1.0, seed=0)
