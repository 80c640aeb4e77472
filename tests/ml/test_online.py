"""Online learning: one user's days alone, batched in any way, against a plain loop; and it pays when tastes change."""

from typing import Any

import numpy as np
import pytest
from online import curve, made_up

from ml.online import COORDINATES, Learnt, OnlineConfig, learn
from ml.ranking.features import FEATURES, user_candidates
from ml.ranking.index import ItemIndex, index_items
from ml.ranking.inputs import CandidateConfig, ReleasedGram, ReleasedPopularity, UserItemState
from ml.ranking.ranker import PRIOR, TASKS, recommend
from ml.replay import DayParts
from tests.ml.ranking.small_shop import catalogue

N_USERS, N_ITEMS, N_DAYS, FIRST = 12, 30, 40, 100
CONFIG = OnlineConfig(n_head=8)
CANDIDATES = CandidateConfig(n_own=N_ITEMS, n_head=8, n_types=2, n_per_type=2)


def made_parts(seed: int) -> DayParts:
    """Days of a small shop: who looked at what and took what is drawn; some days are nobody's."""
    draw = np.random.default_rng(seed)
    shape = (N_DAYS, N_USERS, N_ITEMS)
    does = (draw.random(shape) < 0.06) & (np.arange(N_DAYS) % 7 > 0)[:, None, None]
    day, user, item = (found.astype(np.int32) for found in np.nonzero(does))
    n = len(day)
    first = draw.random(n) * 0.9
    weight = draw.random(n) + 0.1
    return DayParts(
        day=day + np.int32(FIRST),
        user_index=user,
        item_index=item,
        decayed_28d=weight,
        decayed_104d=weight * 1.01,
        first_at=FIRST + day + first,
        last_at=FIRST + day + first + 0.1,
        is_taken=draw.random(n) < 0.7,
    )


def only(parts: DayParts, rows: Any) -> DayParts:
    return DayParts(**{name: column[rows] for name, column in vars(parts).items()})


def state_at(parts: DayParts, midnight: int) -> UserItemState:
    """Everybody's own items as of a midnight, one row after the other, in float64."""
    found: dict[tuple[int, int], list[float]] = {}
    for row in np.flatnonzero(parts.day < midnight):
        cell = found.setdefault((int(parts.user_index[row]), int(parts.item_index[row])), [0, 0, 0, np.inf, 0])
        age = midnight - 1 - parts.day[row]
        cell[0] += 1
        cell[1] += parts.decayed_28d[row] * 2.0 ** (-age / 28)
        cell[2] += parts.decayed_104d[row] * 2.0 ** (-age / 104)
        cell[3] = min(cell[3], midnight - parts.last_at[row])
        cell[4] = max(cell[4], midnight - parts.first_at[row])
    table = np.array([[*pair, *found[pair]] for pair in sorted(found)], dtype=np.float64).reshape(-1, 7)
    pair, numbers = table[:, :2].astype(np.int32), table[:, 2:]
    return UserItemState(*pair.T, *numbers.T)


def index() -> ItemIndex:
    counts = ReleasedPopularity(np.arange(N_ITEMS, 0, -1.0), 0.0)
    shop = catalogue([n % 3 for n in range(N_ITEMS)], [n % 4 for n in range(N_ITEMS)])
    return index_items(shop, counts, ReleasedGram.none(), CANDIDATES)


def learnt_from(parts: DayParts, stops: list[int], config: OnlineConfig = CONFIG) -> Learnt:
    """Learn in batches that end before the given days."""
    before = state_at(parts, FIRST)
    learnt, done = Learnt.nothing(N_USERS), FIRST
    for stop in stops:
        days = only(parts, (parts.day >= FIRST) & (parts.day < stop))
        learnt, done = learn(days, before, FIRST, index(), PRIOR, learnt, done, config), stop
    return learnt


def test_it_is_the_published_algorithm_on_the_features_that_serve() -> None:
    parts, item_side, end = made_parts(1), index(), FIRST + N_DAYS
    weights = np.array(PRIOR.next_purchases)[list(COORDINATES)]
    z, n = np.zeros((N_USERS, len(COORDINATES))), np.zeros((N_USERS, len(COORDINATES)))
    for day in range(FIRST, end):
        served = user_candidates(state_at(parts, day), item_side, 0, N_USERS, CANDIDATES)
        today = only(parts, (parts.day == day) & parts.is_taken)
        for user in range(N_USERS):
            taken = set(today.item_index[today.user_index == user].tolist())
            items = served.item_index[user]
            ranked = np.flatnonzero(served.own[user] | np.isin(items, item_side.order[: CONFIG.n_head]))
            x = served.features[user][ranked][:, COORDINATES].astype(np.float64)
            is_taken = np.isin(items[ranked], list(taken))
            if not is_taken.any():
                continue
            w = -z[user] / ((CONFIG.beta + np.sqrt(n[user])) / CONFIG.alpha + CONFIG.reg)
            share = np.exp(x @ (weights + w))
            g = share @ x / share.sum() - share[is_taken] @ x[is_taken] / share[is_taken].sum()
            sigma = (np.sqrt(n[user] + g**2) - np.sqrt(n[user])) / CONFIG.alpha
            z[user] += g - sigma * w
            n[user] += g**2
    found = learnt_from(parts, [end])
    assert (n > 0).any(axis=1).all()
    np.testing.assert_allclose(found.n, n, atol=1e-4)
    np.testing.assert_allclose(found.z, z, atol=1e-4)


@pytest.mark.parametrize("stops", [range(1, N_DAYS + 1), (3, 4, 25, N_DAYS), (N_DAYS, N_DAYS)])
def test_batches_of_days_change_nothing(stops: Any) -> None:
    parts = made_parts(2)
    whole, parted = learnt_from(parts, [FIRST + N_DAYS]), learnt_from(parts, [FIRST + stop for stop in stops])
    assert parted.z.tobytes() == whole.z.tobytes() and parted.n.tobytes() == whole.n.tobytes()


def test_a_replay_from_a_later_midnight_knows_what_came_before_it() -> None:
    parts, middle = made_parts(2), FIRST + 15
    learnt = learnt_from(parts, [middle])
    later = learn(
        only(parts, parts.day >= middle), state_at(parts, middle), middle, index(), PRIOR, learnt, middle, CONFIG
    )
    np.testing.assert_allclose(later.z, learnt_from(parts, [FIRST + N_DAYS]).z, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("gone", [0, 5, N_USERS - 1])
def test_with_and_without_one_user_nobody_elses_row_moves_by_a_bit(gone: int) -> None:
    parts, end = made_parts(3), FIRST + N_DAYS
    without = only(parts, parts.user_index != gone)
    others = np.arange(N_USERS) != gone
    lists = []
    for rows in (parts, without):
        learnt, state = learnt_from(rows, [end]), state_at(rows, end)
        options: dict[str, Any] = {"n_users": N_USERS, "k": 5, "config": CANDIDATES}
        found = recommend(state, index(), PRIOR, corrections=learnt.spread(CONFIG), **options)
        lists.append((learnt, found))
    (a, listed), (b, listed_without) = lists
    assert a.z[others].tobytes() == b.z[others].tobytes() and a.n[others].tobytes() == b.n[others].tobytes()
    assert a.n[gone].any() and not b.n[gone].any()
    for task in TASKS:
        assert listed[task].score[others].tobytes() == listed_without[task].score[others].tobytes()
        assert np.array_equal(listed[task].item_index[others], listed_without[task].item_index[others])


def test_a_correction_moves_the_next_purchases_of_its_user_alone() -> None:
    parts, end = made_parts(4), FIRST + N_DAYS
    state, item_side = state_at(parts, end), index()
    options: dict[str, Any] = {"n_users": N_USERS, "k": 5, "config": CANDIDATES}
    frozen = recommend(state, item_side, PRIOR, **options)
    corrections = np.zeros((N_USERS, len(FEATURES)))
    same = recommend(state, item_side, PRIOR, corrections=corrections, **options)
    assert all(frozen[task].score.tobytes() == same[task].score.tobytes() for task in TASKS)
    corrections[3, FEATURES.index("own")] = -50.0
    moved = recommend(state, item_side, PRIOR, corrections=corrections, chunk_users=1, **options)
    others = np.arange(N_USERS) != 3
    assert moved["discovery"].score.tobytes() == frozen["discovery"].score.tobytes()
    assert moved["next_purchases"].score[others].tobytes() == frozen["next_purchases"].score[others].tobytes()
    own = set(state.item_index[state.user_index == 3].tolist())
    assert frozen["next_purchases"].item_index[3, 0] in own and moved["next_purchases"].item_index[3, 0] not in own
    with pytest.raises(ValueError, match="corrections have shape"):
        recommend(state, item_side, PRIOR, corrections=corrections[1:], **options)


def test_who_took_nothing_stays_at_the_release() -> None:
    parts = made_parts(5)
    idle = only(parts, ~((parts.user_index == 2) & parts.is_taken))
    learnt = learnt_from(idle, [FIRST + N_DAYS])
    assert not learnt.spread(CONFIG)[2].any()
    assert (np.abs(learnt.spread(CONFIG)) > 0).any(axis=1).sum() == N_USERS - 1


def test_days_that_are_known_already_or_of_unknown_users_are_refused() -> None:
    parts = made_parts(6)
    state = state_at(parts, FIRST + 5)
    with pytest.raises(ValueError, match="lies before 105"):
        learn(parts, state, FIRST + 5, index(), PRIOR, Learnt.nothing(N_USERS), FIRST + 5)
    with pytest.raises(ValueError, match="there are 3 users"):
        learn(parts, state_at(parts, FIRST), FIRST, index(), PRIOR, Learnt.nothing(3), FIRST)
    with pytest.raises(ValueError, match="not sorted"):
        only(parts, slice(None, None, -1))


@pytest.mark.parametrize("seed", [21, 22])
def test_it_wins_where_tastes_change_and_not_when_it_is_switched_off(seed: int) -> None:
    shop = made_up(seed, 1.0, 120, 10)
    late = slice(4, 10)  # the first weeks teach what has changed

    def gain(config: OnlineConfig) -> float:
        frozen, learnt = np.array(list(curve(shop, 10, config)))[late].T
        return float((learnt - frozen).mean())

    assert gain(OnlineConfig()) > 0.05
    assert abs(gain(OnlineConfig(alpha=1e-9))) < 1e-3
