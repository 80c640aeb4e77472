"""Who trains the ranker where there are more users than it needs."""

import numpy as np

from assets import learning
from ml.privacy.plan import default_plan, ranker_users
from ml.ranking.inputs import Catalogue, ReleasedGram, ReleasedPopularity, UserItemState

N_ITEMS, N_USERS = 40, 600


def test_everybody_enters_by_the_own_id_alone_and_as_often_as_asked() -> None:
    names = [f"user {n}" for n in range(20_000)]
    enters = learning.enters_training(names, 0.25)
    assert abs(enters.mean() - 0.25) < 0.01
    without = learning.enters_training(names[:7] + names[8:], 0.25)
    assert np.array_equal(np.delete(enters, 7), without)
    assert learning.enters_training(names, 1.0).all()


def shop() -> tuple[UserItemState, tuple, Catalogue, ReleasedPopularity]:
    draw = np.random.default_rng(5)
    has = draw.random((N_USERS, N_ITEMS)) < 0.2
    user, item = (found.astype(np.int32) for found in np.nonzero(has))
    one = np.ones(len(user), np.float32)
    state = UserItemState(user, item, one, one, one, one, one)
    labels = np.nonzero(draw.random((N_USERS, N_ITEMS)) < 0.1)
    labels = (labels[0].astype(np.int32), labels[1].astype(np.int32), np.ones(len(labels[0])))
    catalogue = Catalogue(
        draw.integers(0, 5, (4, N_ITEMS)).astype(np.int32), np.zeros((1, 1), np.float32), np.full(N_ITEMS, -1, np.int32)
    )
    return state, labels, catalogue, ReleasedPopularity(has.sum(axis=0).astype(float), 0.0)


def trained(monkeypatch, names, state, labels, n_trained: int) -> np.ndarray:
    """Weights of the twin without noise."""
    plan = default_plan(4, 1e-7, 100_000)
    monkeypatch.setattr("ml.privacy.plan.ranker_users", lambda declared, mu: n_trained)
    _, _, catalogue, counts = shop()
    event = plan.events()["ranker"]
    found = learning.ranker(
        state, labels, names, catalogue, counts, ReleasedGram.none(), event, plan, tell=lambda _: None, non_private=True
    )
    return found.weights


def test_those_who_do_not_enter_change_no_bit_of_the_weights(monkeypatch) -> None:
    state, labels, _, _ = shop()
    names = [f"user {n}" for n in range(N_USERS)]
    enters = learning.enters_training(names, 30_000 / 100_000)
    assert 100 < enters.sum() < 300
    weights = trained(monkeypatch, names, state, labels, 30_000)
    outside = int(np.flatnonzero(~enters)[3])
    kept, taught = state.user_index != outside, labels[0] != outside
    fewer = UserItemState(**{name: column[kept] for name, column in vars(state).items()})
    assert np.array_equal(
        trained(monkeypatch, names, fewer, tuple(column[taught] for column in labels), 30_000), weights
    )
    inside = int(np.flatnonzero(enters)[3])
    taught = labels[0] != inside
    changed = trained(monkeypatch, names, state, tuple(column[taught] for column in labels), 30_000)
    assert not np.array_equal(changed, weights)


def test_a_small_population_trains_with_everybody() -> None:
    plan = default_plan(4, 4e-6, 2_469)
    assert ranker_users(2_469, plan.events()["ranker"].mu) == 2_469
    assert ranker_users(100_000, float("inf")) == 5_000
