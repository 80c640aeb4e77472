"""Choices: a user's range is what the event says, probabilities are the mechanism's, the best candidate wins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.privacy import exponential
from ml.privacy.events import ExponentialEvent, NonPrivateEvent
from ml.privacy.exponential import (
    ExponentialNoise,
    quantile_range,
    quantile_scores,
    release_quantile,
    release_selection,
    vote_scores,
)
from tests.ml.privacy.checks import S, check_separable

LADDER = np.array([0.5, 1.0, 2.0, 4.0, 8.0])
LOUD = ExponentialEvent(sensitivity=S, scale=S / 0.5, bound=1.0, randomness="opendp")
QUIET = ExponentialEvent(sensitivity=S, scale=S / 8.0, bound=1.0, randomness="opendp")

values = st.lists(st.sampled_from([0.1, 0.5, 0.7, 1.0, 3.0, 8.0, 9.0]), min_size=1, max_size=8)


@given(values, st.sampled_from([0.01, 0.3, 0.5, 0.9]), st.integers(2**10, 2**12))
def test_no_user_moves_two_quantile_scores_further_apart_than_the_sensitivity(data, alpha, sensitivity) -> None:
    options = {"candidates": LADDER, "alpha": alpha, "sensitivity": sensitivity}
    everybody = quantile_scores(np.arange(len(data)), np.array(data), **options)
    for user in range(len(data)):
        rest = np.delete(np.arange(len(data)), user)
        moved = everybody - quantile_scores(rest, np.array(data)[rest], **options)
        assert int(moved.max()) - int(moved.min()) <= sensitivity


def test_quantile_scores_are_opendps_own() -> None:
    import opendp.prelude as dp

    dp.enable_features("contrib")
    data = np.random.default_rng(0).lognormal(0.5, 1.0, 200)
    for alpha in (0.25, 0.5, 0.9):
        space = dp.vector_domain(dp.atom_domain(T="f64", nan=False)), dp.symmetric_distance()
        theirs = dp.t.make_quantile_score_candidates(*space, candidates=LADDER.tolist(), alpha=alpha)
        ours = quantile_scores(np.arange(200), data, candidates=LADDER, alpha=alpha, sensitivity=S)
        np.testing.assert_allclose(-ours / S, np.array(theirs(data.tolist())) / (2 * theirs.map(1)), atol=200 / S)


def test_votes_of_a_user_are_separable_and_capped() -> None:
    rng = np.random.default_rng(2)
    user, candidate, weight = rng.integers(0, 20, 300), rng.integers(-1, 6, 300), rng.normal(size=300)

    def scores(users: list[int]) -> np.ndarray:
        rows = np.isin(user, users)
        return vote_scores(user[rows], candidate[rows], n_candidates=6, bound=0.7, sensitivity=S, weight=weight[rows])

    parts = check_separable(scores, range(20))
    assert parts.min() >= 0 and parts.max() == S


def test_probabilities_are_those_of_the_exponential_mechanism() -> None:
    scores, scale, runs = np.array([0, 2 * S, 3 * S]), 2.0 * S, 4000
    chosen = [ExponentialNoise(scale).choose(scores, sensitivity=S, bound=1.0) for _ in range(runs)]
    wanted = np.exp(scores / scale) / np.exp(scores / scale).sum()
    found = np.bincount(chosen, minlength=3) / runs
    assert (np.abs(found - wanted) < 5 * np.sqrt(wanted * (1 - wanted) / runs)).all(), (found, wanted)


def test_the_event_is_read_back_and_priced() -> None:
    found = release_selection(np.arange(9), np.arange(9) % 3, n_candidates=3, planned=LOUD)
    assert found.event == LOUD
    assert (LOUD.epsilon, LOUD.rho) == (0.5, 0.03125)
    assert LOUD.mu == pytest.approx(0.31298, abs=1e-5)
    noise = ExponentialNoise(123.0)
    with pytest.raises(RuntimeError, match="no noise was drawn yet"):
        _ = noise.event
    noise.choose(np.array([1, 2]), sensitivity=1024, bound=3.0)
    assert noise.event == ExponentialEvent(sensitivity=1024, scale=123.0, bound=3.0, randomness="opendp")
    with pytest.raises(RuntimeError, match="already released"):
        noise.choose(np.array([1, 2]), sensitivity=1024, bound=3.0)


def test_opendp_must_prove_what_the_event_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    real = exponential._opendp_noisy_max
    monkeypatch.setattr(exponential, "_opendp_noisy_max", lambda scale: real(scale / 2))
    with pytest.raises(ArithmeticError, match="nothing is released"):
        release_selection(np.arange(9), np.arange(9) % 3, n_candidates=3, planned=LOUD)


def test_a_large_shop_gets_its_quantile_and_its_favourite() -> None:
    rng = np.random.default_rng(1)
    user = np.repeat(np.arange(2000), 2)
    value = np.repeat(rng.lognormal(0.7, 1.0, 2000), 2) * np.tile([0.5, 1.5], 2000)  # a user's mean counts
    for alpha, wanted in ((0.5, 2), (0.9, 4)):
        planned = QUIET.model_copy(update={"bound": quantile_range(alpha)})
        options = {"candidates": LADDER, "alpha": alpha, "planned": planned}
        assert release_quantile(user, value, **options).index == wanted
        assert release_quantile(user, value, non_private=True, **options).index == wanted
    favourite = release_selection(user, np.where(user % 3 == 0, 4, user % 2), n_candidates=6, planned=QUIET)
    assert favourite.index in (0, 1, 4)
    twin = release_selection(user, np.where(user % 3, 5, 1), n_candidates=6, planned=QUIET, non_private=True)
    assert (twin.index, twin.event) == (5, NonPrivateEvent())


def test_nobody_is_a_uniform_choice_and_strangers_enter_nothing() -> None:
    nobody = np.array([], dtype=np.int64)
    assert release_quantile(nobody, np.array([]), candidates=LADDER, alpha=0.5, planned=LOUD).index in range(5)
    scores = quantile_scores(np.array([-1, 3]), np.array([9.0, 0.7]), candidates=LADDER, alpha=0.5, sensitivity=S)
    assert scores.tolist() == quantile_scores(
        np.array([3]), np.array([0.7]), candidates=LADDER, alpha=0.5, sensitivity=S
    ).tolist()  # fmt: skip
    one = {"n_candidates": 3, "bound": 1.0, "sensitivity": S}
    assert vote_scores(np.array([-1, 0]), np.array([1, -1]), **one).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"alpha": 0.0}, "strictly between 0 and 1"),
        ({"alpha": 1.0}, "strictly between 0 and 1"),
        ({"alpha": 0.9}, "bound is 1, a quantile at 0.9 has 1.8"),
        ({"candidates": LADDER[::-1]}, "strictly ascending"),
        ({"candidates": np.array([])}, "at least one"),
        ({"candidates": np.array([1.0, np.nan])}, "finite and strictly ascending"),
        ({"value": np.array([np.nan])}, "must be finite"),
    ],
)
def test_bad_quantiles_get_one_sentence(changes: dict[str, object], sentence: str) -> None:
    good = {"user_index": np.array([0]), "value": np.array([1.0]), "candidates": LADDER, "alpha": 0.5, "planned": LOUD}
    with pytest.raises(ValueError, match=sentence):
        release_quantile(**{**good, **changes})
    with pytest.raises(ValueError, match="positive and finite"):
        ExponentialNoise(0.0)
