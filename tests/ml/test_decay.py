"""The decayed-sum state: a monoid that equals the update law, in any order and batching."""

from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.contracts import facets as declared
from data.contracts.core import EVENT_TYPES
from ml import decay
from ml.decay import State

EVENT = st.tuples(
    st.sampled_from(["item|1", "item|2", "brand|é", "all|all"]),
    st.integers(1_480_000_000, 1_520_000_000),
    st.floats(-5, 5).map(lambda x: round(x, 3)),
)
EVENTS = st.lists(EVENT, max_size=40)
Event = tuple[str, int, float]
END_S = 1_520_000_000


def state_of(events: Sequence[Event]) -> State:
    keys, at_s, f = ([event[i] for event in events] for i in range(3))
    return decay.from_events(keys, at_s, f)


def assert_same(found: State, expected: State) -> None:
    """Equal to 1e-9 of what the events weigh, at one instant after all of them."""
    assert found.keys.tolist() == expected.keys.tolist()
    np.testing.assert_allclose(decay.as_of(found, END_S), decay.as_of(expected, END_S), rtol=1e-9, atol=1e-9)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(EVENTS, st.randoms(use_true_random=False), st.integers(1, 7))
def test_any_order_and_any_batching_equal_the_batch(events: list[Event], random: Random, size: int) -> None:
    shuffled = list(events)
    random.shuffle(shuffled)
    state = decay.empty()
    for batch in _batches(shuffled, size):
        state = decay.merge(state, state_of(batch))
    assert_same(state, state_of(events))


def _batches(events: list[Event], size: int) -> list[list[Event]]:
    return [events[i : i + size] for i in range(0, len(events), size)]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(EVENTS, EVENTS, EVENTS)
def test_merge_is_a_commutative_monoid(a: list[Event], b: list[Event], c: list[Event]) -> None:
    x, y, z = state_of(a), state_of(b), state_of(c)
    assert_same(decay.merge(x, y), decay.merge(y, x))
    assert_same(decay.merge(decay.merge(x, y), z), decay.merge(x, decay.merge(y, z)))
    assert_same(decay.merge(x, decay.empty()), x)
    assert_same(decay.merge(decay.empty(), x), x)
    assert_same(decay.merge(x, y), state_of([*a, *b]))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(EVENT, min_size=1, max_size=20), EVENT, st.integers(0, 10**8))
def test_a_late_event_after_any_wait_equals_the_batch(events: list[Event], late: Event, wait_s: int) -> None:
    state = state_of(events)
    waited = decay.advance(state, min(state.anchor_s + wait_s, END_S))
    assert_same(decay.merge(waited, state_of([late])), state_of([*events, late]))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=60))
def test_moving_average_is_the_update_law_on_daily_steps(f_by_day: list[float]) -> None:
    at_s = [day * decay.DAY_S for day in range(len(f_by_day))]
    state = decay.from_events(["all"] * len(f_by_day), at_s, f_by_day)
    for column, half_life in enumerate(declared.HALF_LIVES_DAYS):
        b, p = 2.0 ** (-1 / half_life), 0.0
        for f in f_by_day:
            p = b * p + (1 - b) * f
        assert decay.moving_average(state, at_s[-1])[0, column] == pytest.approx(p, rel=1e-9, abs=1e-12)


def test_values_by_hand() -> None:
    day = decay.DAY_S
    state = decay.from_events(["a", "b", "a"], [0, 0, 28 * day], [4.0, 1.0, 1.0], half_lives_days=(28,))
    assert state.keys.tolist() == ["a", "b"]
    assert state.anchor_s == 28 * day
    np.testing.assert_allclose(state.sums, [[3.0], [0.5]])
    np.testing.assert_allclose(decay.as_of(state, 56 * day), [[1.5], [0.25]])
    np.testing.assert_allclose(decay.moving_average(state, 28 * day, step_s=28 * day), [[1.5], [0.25]])


def test_errors_name_the_value_and_the_remedy() -> None:
    state = state_of([("a", 100, 1.0)])
    with pytest.raises(ValueError, match="99 lies before the state's anchor 100"):
        decay.as_of(state, 99)
    with pytest.raises(ValueError, match="2 keys, 1 instants"):
        decay.from_events(["a", "b"], [1], [1.0, 2.0])
    with pytest.raises(ValueError, match="value nan"):
        decay.from_events(["a"], [1], [float("nan")])
    with pytest.raises(ValueError, match="do not merge"):
        decay.merge(state, decay.empty((7,)))
    with pytest.raises(ValueError, match="above 0 days"):
        decay.empty((0,))
    with pytest.raises(ValueError, match="step_s is 0"):
        decay.moving_average(state, 100, 0)


def test_the_event_function_is_declared_for_every_event_type() -> None:
    assert set(declared.EVENT_RULES) == set(EVENT_TYPES)


def test_event_function_by_hand() -> None:
    types = ["purchase", "purchase", "return", "view", "search", "rating", "rating", "rating"]
    quantity = np.asarray([2.0, 900.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    value = np.asarray([7.0, 7.0, 7.0, 0.0, 0.0, 5.0, 1.0, 3.5])
    found = decay.event_function(types, quantity, value)
    np.testing.assert_allclose(found, [2.0, declared.QUANTITY_CAP, 0.0, 0.1, 0.0, 0.5, -0.5, 0.125])
    with pytest.raises(ValueError, match="Event type refund has no rule"):
        decay.event_function(["refund"], np.ones(1), np.ones(1))


@pytest.mark.parametrize(
    ("price", "band"), [(0.0, "<1"), (0.999, "<1"), (1.0, "1-2"), (99.9, "50-100"), (100.0, ">=100")]
)
def test_price_bands_hold_their_lower_edge(price: float, band: str) -> None:
    assert decay.facet_keys(None, None, None, price) == {"price_band": band, "all": "all"}


def test_facet_keys_by_hand() -> None:
    assert decay.facet_keys("i", "A > B > C > D", "b", None) == {
        "item": "i", "category_1": "A", "category_2": "A > B", "category_3": "A > B > C", "brand": "b", "all": "all",
    }  # fmt: skip
    assert decay.facet_keys(None, "A >  > C", "", None) == {"category_1": "A", "all": "all"}
    assert set(decay.facet_keys("i", "A > B > C", "b", 1.0)) == set(declared.FACETS)
