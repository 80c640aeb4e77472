"""Decayed interest as a mergeable state: the update law of the profile, in numpy.

The law is ``P <- b(dt) P + (1 - b(dt)) f(x)`` with ``b(dt) = 2 ** (-dt / half_life)``. Kept here is the decayed sum

    ``S(T) = sum_i f(x_i) * b(T - t_i)``

which is a commutative monoid over sets of events: any order, any batching and late events give the same state, where
the law itself, applied event by event, would not (its weight ``1 - b(dt)`` depends on which event came before).

The two are tied exactly. Let the law run on a grid of equal steps ``step``, with ``f`` of a step the sum of its events'
``f(x)``, 0 in an empty one, and every event at its step's end. Unrolled, ``P_n = (1 - b(step)) * sum_k b((n - k) step)
f_k``, hence

    ``P = (1 - b(step)) * S``

for every history, which `moving_average` returns; for events inside a step the same formula carries on their true age.
Dividing by the like sum of another key (`all`, say) cancels the factor, so shares of interest need no step at all. The
law over irregular gaps, for comparison, is ``P_n = sum_i (1 - b(t_i - t_(i-1))) b(t_n - t_i) f_i``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.contracts import facets as declared

DAY_S = 86_400
"""Seconds of a day."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Texts = NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class State:
    """Decayed sums of some keys at one instant."""

    keys: Texts
    """(n_keys,) unique and sorted; of one user or of many, as the caller composes them."""
    sums: Floats
    """(n_keys, n_half_lives) decayed sums at `anchor_s`."""
    anchor_s: int
    """Instant of the sums in whole seconds since 1970, UTC; no event of the state is later."""
    half_lives_days: tuple[float, ...]
    """In days, each above 0."""


def empty(half_lives_days: Sequence[float] = declared.HALF_LIVES_DAYS) -> State:
    """The state of no events: merging it changes nothing.

    Args:
        half_lives_days: in days, each above 0.

    Raises:
        ValueError: there is no half-life, or one is not above 0.
    """
    half_lives = tuple(float(h) for h in half_lives_days)
    if not half_lives or min(half_lives) <= 0:
        raise ValueError(f"half_lives_days is {half_lives}; give at least one, each above 0 days.")
    return State(np.empty(0, dtype=np.str_), np.empty((0, len(half_lives))), 0, half_lives)


def from_events(
    keys: Sequence[str] | Texts,
    at_s: Sequence[int] | Ints,
    f: Sequence[float] | Floats,
    half_lives_days: Sequence[float] = declared.HALF_LIVES_DAYS,
) -> State:
    """The state of a batch of events, anchored at the latest of them.

    Args:
        keys: (n,) what each event counts for; an event with several facets stands here once for each.
        at_s: (n,) instants in whole seconds since 1970, UTC, in any order.
        f: (n,) values of the event function, finite.
        half_lives_days: in days, each above 0.

    Returns:
        The state; `empty` for no events.

    Raises:
        ValueError: the lengths differ, a value is not finite, or a half-life is not above 0.
    """
    names, values = np.asarray(keys, dtype=np.str_), np.asarray(f, dtype=float)
    instants = np.asarray(at_s, dtype=np.int64)
    if not len(names) == len(instants) == len(values):
        raise ValueError(f"{len(names)} keys, {len(instants)} instants, {len(values)} values; give each event one.")
    if not np.isfinite(values).all():
        raise ValueError(f"Event function value {values[~np.isfinite(values)][0]} in a batch; repair it before here.")
    state = empty(half_lives_days)
    if not len(names):
        return state
    anchor = int(instants.max())
    shares = values[:, None] * _factors(anchor - instants, state.half_lives_days)
    return _summed(names, shares, anchor, state.half_lives_days)


def merge(a: State, b: State) -> State:
    """The state of the union of two disjoint sets of events; commutative, associative, with `empty` as its unit.

    Args:
        a: one state.
        b: another with the same half-lives; it may hold earlier, later or late events.

    Returns:
        The state anchored at the later of the two anchors.

    Raises:
        ValueError: the half-lives differ.
    """
    if a.half_lives_days != b.half_lives_days:
        raise ValueError(f"Half-lives {a.half_lives_days} and {b.half_lives_days} do not merge; rebuild one state.")
    if not len(a.keys) or not len(b.keys):
        return b if not len(a.keys) else a
    anchor = max(a.anchor_s, b.anchor_s)
    sums = np.concatenate([as_of(a, anchor), as_of(b, anchor)])
    return _summed(np.concatenate([a.keys, b.keys]), sums, anchor, a.half_lives_days)


def advance(state: State, to_s: int) -> State:
    """The same state anchored later: what time alone does to a profile.

    Raises:
        ValueError: `to_s` lies before the state's anchor.
    """
    return State(state.keys, as_of(state, to_s), to_s, state.half_lives_days)


def as_of(state: State, at_s: int) -> Floats:
    """The decayed sums at an instant.

    Args:
        state: the state.
        at_s: whole seconds since 1970, UTC; not before the anchor, for a sum cannot forget events after the instant.

    Returns:
        (n_keys, n_half_lives) float64, rows as `state.keys`.

    Raises:
        ValueError: `at_s` lies before the state's anchor.
    """
    if len(state.keys) and at_s < state.anchor_s:
        raise ValueError(f"Instant {at_s} lies before the state's anchor {state.anchor_s}; rebuild it from the events.")
    return state.sums * _factors(np.asarray([at_s - state.anchor_s]), state.half_lives_days)


def moving_average(state: State, at_s: int, step_s: float = DAY_S) -> Floats:
    """P of the update law on a grid of steps: `(1 - b(step)) * S`, see the module's docstring.

    Args:
        state: the state.
        at_s: whole seconds since 1970, UTC; not before the anchor.
        step_s: length of the law's step in seconds, above 0.

    Returns:
        (n_keys, n_half_lives) float64: a weighted mean of f a step.

    Raises:
        ValueError: `step_s` is not above 0, or `at_s` lies before the anchor.
    """
    if step_s <= 0:
        raise ValueError(f"step_s is {step_s}; give a step above 0 seconds.")
    return (1 - _factors(np.asarray([step_s]), state.half_lives_days)) * as_of(state, at_s)


def event_function(event_types: Sequence[str] | Texts, quantity: Floats, value: Floats) -> Floats:
    """The event function f(x) of `data.contracts.facets`.

    Args:
        event_types: (n,) types of the events contract.
        quantity: (n,) units, 0 or more.
        value: (n,) money; the stars where the event is a rating.

    Returns:
        (n,) float64.

    Raises:
        ValueError: an event type has no rule.
    """
    names, inverse = np.unique(np.asarray(event_types, dtype=np.str_), return_inverse=True)
    if unknown := [str(name) for name in names if name not in declared.EVENT_RULES]:
        raise ValueError(f"Event type {unknown[0]} has no rule; map it onto one of {', '.join(declared.EVENT_RULES)}.")
    rules = [declared.EVENT_RULES[name] for name in names.tolist()]
    weight = np.asarray([rule.weight for rule in rules])[inverse]
    is_rating = np.asarray([rule.amount == "rating" for rule in rules], dtype=bool)[inverse]
    stars = np.clip((np.asarray(value) - declared.RATING_NEUTRAL) / declared.RATING_REACH, -1.0, 1.0)
    amount: Floats = np.where(is_rating, stars, np.minimum(quantity, declared.QUANTITY_CAP))
    return weight * amount


def facet_keys(
    item_id: str | None, category_path: str | None, brand: str | None, price: float | None
) -> dict[str, str]:
    """The keys of one event in every facet that it has.

    Args:
        item_id: item, if any.
        category_path: `A > B > C`, widest first, if any.
        brand: brand, if any.
        price: public list price in shop currency, or the event's own paid unit price, if any.

    Returns:
        Facet -> key, without the facets that the event lacks.
    """
    keys = {"item": item_id} if item_id is not None else {}
    levels = (category_path or "").split(declared.CATEGORY_SEPARATOR)[:3]
    for n in range(1, len(levels) + 1):
        if not all(levels[:n]):
            break
        keys[f"category_{n}"] = declared.CATEGORY_SEPARATOR.join(levels[:n])
    if brand:
        keys["brand"] = brand
    if price is not None:
        keys["price_band"] = declared.PRICE_BANDS[int(np.searchsorted(declared.PRICE_BAND_EDGES, price, side="right"))]
    return {**keys, "all": declared.ALL_KEY}


def _factors(age_s: NDArray[np.int64] | Floats, half_lives_days: tuple[float, ...]) -> Floats:
    """`2 ** (-age / half_life)`: (n, n_half_lives)."""
    factors: Floats = np.exp2(-np.asarray(age_s, dtype=float)[:, None] / (np.asarray(half_lives_days) * DAY_S))
    return factors


def _summed(keys: Texts, shares: Floats, anchor_s: int, half_lives_days: tuple[float, ...]) -> State:
    """Add up the rows of equal keys."""
    names, inverse = np.unique(keys, return_inverse=True)
    columns = [np.bincount(inverse, weights=column, minlength=len(names)) for column in shares.T]
    return State(names, np.stack(columns, axis=1), anchor_s, half_lives_days)
