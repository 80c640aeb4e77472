"""The ranker on a shop whose right answers are known, its edges, and its reasons."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from ml.privacy.training import TrainingConfig, train_listwise
from ml.ranking import ranker
from ml.ranking.bags import training_bags
from ml.ranking.features import FEATURES
from ml.ranking.index import ItemIndex, index_items
from ml.ranking.inputs import CandidateConfig, ReleasedGram, ReleasedPopularity, UserItemState
from ml.ranking.ranker import PRIOR, REASONS, TASKS, RankerWeights, Recommendations, Task
from tests.ml.ranking.small_shop import catalogue, state

SIZE = 50


def checkerboard() -> tuple[UserItemState, ItemIndex]:
    """Users buy all items of their own parity but one, the withheld diagonal; parity is the items' category."""
    rows = [(u, i, 1.0, 5.0, 5.0) for u in range(SIZE) for i in range(SIZE) if u % 2 == i % 2 and u != i]
    counts = np.full(SIZE, float(SIZE // 2 - 1))
    return state(rows), index_items(
        catalogue([i % 2 for i in range(SIZE)]), ReleasedPopularity(counts, 0.0), ReleasedGram.none(), CONFIG
    )


def recommend(*inputs: Any, task: Task, **options: Any) -> Recommendations:
    """The lists of one task."""
    return ranker.recommend(*inputs, tasks=[task], **options)[task]


CONFIG = CandidateConfig(n_own=SIZE, n_head=5, n_types=2, n_per_type=SIZE)


def weights(**by_feature: float) -> RankerWeights:
    """The same weights for both heads, 0 where not given."""
    row = tuple(by_feature.get(name, 0.0) for name in FEATURES)
    return RankerWeights(next_purchases=row, discovery=row)


def test_discovery_finds_the_withheld_diagonal_of_the_checkerboard() -> None:
    rows, index = checkerboard()
    found = recommend(rows, index, PRIOR, task="discovery", n_users=SIZE, k=1, n_tail=0, config=CONFIG)
    assert found.item_index[:, 0].tolist() == list(range(SIZE))


def test_training_from_zero_learns_the_checkerboard() -> None:
    rows, index = checkerboard()
    diagonal = np.arange(SIZE, dtype=np.int32)
    bags = training_bags(rows, index, diagonal, diagonal, n_users=SIZE, config=CONFIG, chunk_users=16)
    config = TrainingConfig(steps=30, learning_rate=2.0, max_grad_norm=0.5, declared_users=SIZE)
    start = np.zeros((2, len(FEATURES)))
    trained = train_listwise(bags, start, config, noise_multiplier=0, non_private=True)
    learnt = RankerWeights.from_array(trained.weights)
    found = recommend(rows, index, learnt, task="discovery", n_users=SIZE, k=1, n_tail=0, config=CONFIG)
    assert found.item_index[:, 0].tolist() == list(range(SIZE))
    untrained = RankerWeights.from_array(start)
    lost = recommend(rows, index, untrained, task="discovery", n_users=SIZE, k=1, n_tail=0, config=CONFIG)
    assert np.mean(lost.item_index[:, 0] == diagonal) < 0.2


def test_next_purchases_rank_the_habit_first_and_say_so() -> None:
    rows = state([(0, 0, 1, 100, 100), (0, 3, 12, 7, 84)])
    index = index_items(
        catalogue([0, 0, 1, 1]), ReleasedPopularity(np.array([2.0, 50.0, 1.0, 1.0]), 0.0), ReleasedGram.none(), CONFIG
    )
    found = recommend(rows, index, PRIOR, task="next_purchases", n_users=1, k=3, config=CONFIG)
    assert found.item_index[0, 0] == 3
    assert REASONS[found.reason[0, 0]] == "bought_regularly"
    assert (np.diff(found.score[0]) <= 0).all()


@pytest.mark.parametrize("chunk_users", [1, 7, 50])
@pytest.mark.parametrize("task", TASKS)
def test_chunks_change_nothing_and_discovery_never_repeats(task: Task, chunk_users: int) -> None:
    rows, index = checkerboard()
    whole = recommend(rows, index, PRIOR, task=task, n_users=SIZE, k=6, config=CONFIG, chunk_users=128)
    parts = recommend(rows, index, PRIOR, task=task, n_users=SIZE, k=6, config=CONFIG, chunk_users=chunk_users)
    assert np.array_equal(whole.item_index, parts.item_index)
    assert np.array_equal(whole.reason, parts.reason)
    owned = set(zip(rows.user_index.tolist(), rows.item_index.tolist(), strict=True))
    lists = [(u, i) for u, row in enumerate(whole.item_index.tolist()) for i in row if i >= 0]
    assert len(set(lists)) == len(lists)
    assert (task == "discovery") == (not owned & set(lists))


def test_a_user_without_rows_gets_the_released_popularity() -> None:
    index = index_items(
        catalogue([0, 0, 1]), ReleasedPopularity(np.array([1.0, -4.0, 9.0]), 0.5), ReleasedGram.none(), CONFIG
    )
    for task in TASKS:
        found = recommend(state([(1, 0, 1, 1, 1)]), index, PRIOR, task=task, n_users=3, k=5, config=CONFIG)
        for user in (0, 2):
            assert found.item_index[user].tolist() == [2, 0, 1, -1, -1]
            assert found.score[user].tolist() == [9.0, 1.0, -4.0, 0.0, 0.0]
            assert [int(r) for r in found.reason[user]] == [REASONS.index("popular")] * 3 + [-1, -1]
    nobody = recommend(state([]), index, PRIOR, task="discovery", n_users=0, k=5, config=CONFIG)
    assert nobody.item_index.shape == (0, 5)


def test_fewer_candidates_than_places_leave_the_rest_empty() -> None:
    index = index_items(catalogue([0, 0]), ReleasedPopularity(np.array([1.0, 2.0]), 0.0), ReleasedGram.none(), CONFIG)
    found = recommend(state([(0, 0, 1, 1, 1)]), index, PRIOR, task="discovery", n_users=1, k=4, config=CONFIG)
    assert found.item_index.tolist() == [[1, -1, -1, -1]]
    assert found.reason[0, 1:].tolist() == [-1, -1, -1]
    assert found.score[0, 1:].tolist() == [0, 0, 0]


def test_the_last_place_of_discovery_goes_to_the_tail() -> None:
    config = CandidateConfig(n_own=5, n_head=3, n_types=1, n_per_type=4)
    counts = np.array([50.0, 40.0, 30.0, 1.0, 2.0, 0.0])
    index = index_items(catalogue([1, 1, 1, 0, 0, 0]), ReleasedPopularity(counts, 0.0), ReleasedGram.none(), config)
    rows = state([(0, 5, 3, 1, 9)])
    popular = weights(popularity=1.0)
    plain = recommend(rows, index, popular, task="discovery", n_users=1, k=3, n_tail=0, config=config)
    tail = recommend(rows, index, popular, task="discovery", n_users=1, k=3, n_tail=1, config=config)
    both = recommend(rows, index, popular, task="next_purchases", n_users=1, k=3, n_tail=1, config=config)
    assert plain.item_index.tolist() == [[0, 1, 2]]
    assert tail.item_index.tolist() == [[0, 1, 4]]
    assert both.item_index.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("feature", "reason", "best"),
    [("n_days", "bought_regularly", 0), ("due", "due_again", 1), ("category_3", "fits_category", 3),
     ("brand", "fits_brand", 2), ("text", "similar_text", 3)],
)  # fmt: skip
def test_the_reason_is_the_contribution_that_stands_out(feature: str, reason: str, best: int) -> None:
    shop = catalogue([0, 1, 2, 0, 2], [0, 1, 1, 2, 2])
    index = index_items(shop, ReleasedPopularity(np.full(5, 4.0), 0.0), ReleasedGram.none(), CONFIG)
    rows = state([(0, 0, 9, 1, 90), (0, 1, 3, 45, 135)])  # 0 was bought most, 1 every 45 days and last 45 days ago
    only = weights(popularity=1.0, **{feature: 5.0})
    task: Task = "next_purchases" if best < 2 else "discovery"
    found = recommend(rows, index, only, task=task, n_users=1, k=5, n_tail=0, config=CONFIG)
    assert found.item_index[0, 0] == best
    assert REASONS[found.reason[0, 0]] == reason
    if task == "discovery":
        plain = found.item_index[0].tolist().index(4)  # neither its category nor its brand is known
        assert REASONS[found.reason[0, plain]] == "popular"


def test_bags_label_what_was_bought_and_keep_own_items_from_discovery() -> None:
    rows, index = checkerboard()
    user, item = np.array([0, 0, 3, 3]), np.array([0, 2, 3, 4])
    bags = training_bags(rows, index, user, item, n_users=SIZE, config=CONFIG, chunk_users=20)
    assert [len(batch.features) for batch in bags] == [20, 20, 10]
    label = bags[0].label
    assert label.sum(axis=2)[:4].tolist() == [[2, 1], [0, 0], [0, 0], [2, 2]]  # 2 is user 0's own; 3 and 4 are new to 3
    assert not bags[1].label.any()
    own = bags[0].features[:, :, FEATURES.index("own")] > 0
    assert not (bags[0].candidate[:, 1] & own).any()
    assert (bags[0].candidate[:, 0] >= bags[0].candidate[:, 1]).all()


def test_bags_weigh_a_users_positives_against_the_greatest_of_his_own() -> None:
    rows, index = checkerboard()
    user, item = np.array([0, 0, 0, 3, 5, 5]), np.array([0, 2, 2, 3, 5, 7])
    weight = np.array([0.1, 0.3, 0.5, 0.1, 0.3, 0.3])
    options = {"n_users": SIZE, "config": CONFIG, "chunk_users": 20}
    plain, weighed = (training_bags(rows, index, user, item, given, **options) for given in (None, weight))
    assert plain[0].weight is None
    found = [sorted(w[label[0]].tolist()) for w, label in zip(weighed[0].weight, weighed[0].label, strict=True)]
    assert found[0] == pytest.approx([0.2, 1.0]) and found[3] == [1.0] and found[5] == [1.0, 1.0]
    assert (weighed[0].weight[~weighed[0].label[:, 0]] == 1).all() and (weighed[1].weight == 1).all()
    np.testing.assert_array_equal(weighed[0].label, plain[0].label)
    with pytest.raises(ValueError, match="not a positive number"):
        training_bags(rows, index, user, item, weight - 0.1, **options)


def test_wrong_requests_are_refused_in_one_sentence() -> None:
    rows, index = checkerboard()
    with pytest.raises(ValueError, match="k is 0"):
        recommend(rows, index, PRIOR, task="discovery", n_users=SIZE, k=0, config=CONFIG)
    with pytest.raises(ValueError, match="user 49"):
        recommend(rows, index, PRIOR, task="discovery", n_users=SIZE - 1, config=CONFIG)
    with pytest.raises(ValueError, match="item 60"):
        recommend(state([(0, 60, 1, 1, 1)]), index, PRIOR, task="discovery", n_users=1, config=CONFIG)
    with pytest.raises(ValidationError, match="train anew"):
        RankerWeights(**(PRIOR.model_dump() | {"features": FEATURES[::-1]}))
    with pytest.raises(ValidationError):
        RankerWeights(next_purchases=(1.0,), discovery=PRIOR.discovery)


def test_weights_survive_json_and_arrays() -> None:
    assert RankerWeights.model_validate_json(PRIOR.model_dump_json()) == PRIOR
    assert RankerWeights.from_array(PRIOR.to_array()) == PRIOR
