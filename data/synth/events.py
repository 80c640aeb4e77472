"""What some users do: sessions of views that lead to carts and purchases, searches, habits, and their deliveries."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.synth.draws import Floats, Integers, bits, normal, poisson, uniform
from data.synth.plan import EVENT_TYPES, Plan
from data.synth.world import Items, Persons

VIEW, CART, FAVOURITE, PURCHASE, SEARCH = range(len(EVENT_TYPES))
DAY_S = 86_400
ROW = np.dtype(
    [
        ("second", np.int64),  # after the start
        ("user", np.int64),
        ("session", np.uint64),
        ("item", np.int32),  # of a search: the item whose words are searched
        ("kind", np.uint8),
        ("words", np.uint8),  # which words of its title a search has
        ("is_cookie", np.bool_),
    ]
)
"""One event as it is kept between making and writing."""
_HOURS = np.array([1, 1, 1, 1, 1, 2, 4, 7, 9, 10, 10, 11, 12, 11, 10, 10, 11, 13, 16, 18, 18, 14, 8, 3], float)
_VIEW_GAP_S, _MAX_VIEWS, _SLICE = 75, 30, 20_000


@dataclass(frozen=True)
class Block:
    """What some users did, and how it was delivered."""

    events: NDArray[np.void]
    """(n,) of `ROW`: every event once."""
    delivered: NDArray[np.void]
    """(m,) of `ROW`: the same, the copies among them."""
    arrival: Integers
    """(m,): the day in whose file each stands."""
    n_late: int
    """Events that stand in a later day's file."""
    habits: dict[str, NDArray[np.generic]]
    """Columns of the truth about habits."""


@dataclass(frozen=True)
class _Sessions:
    """Arrays over sessions; `user` counts within the block."""

    user: Integers
    day: Integers
    nth: Integers
    second: Integers


def make_block(plan: Plan, items: Items, persons: Persons) -> Block:
    """Make everything that some users do.

    Args:
        plan: The shop.
        items: Its catalogue.
        persons: Some of its users.

    Returns:
        Their events; the same ones in whichever block they are made.
    """
    visits, habits = _habit_events(plan, items, persons)
    events = np.concatenate([_session_events(plan, items, persons, _sessions(plan, persons)), visits])
    events = events[(events["second"] >= 0) & (events["second"] < plan.n_days * DAY_S)]
    events = _distinct(events)
    day = events["second"] // DAY_S
    address = (events["user"], events["second"], events["kind"], events["item"])
    lag = 1 + (bits(plan.seed, "lag", *address) % np.uint64(plan.max_late_days)).astype(np.int64)
    is_late = uniform(plan.seed, "late", *address) < plan.late_share
    arrival = np.minimum(day + np.where(is_late, lag, 0), plan.n_days - 1)
    is_copied = uniform(plan.seed, "copied", *address) < plan.duplicate_share
    again = np.minimum(arrival + (bits(plan.seed, "again", *address) % np.uint64(2)).astype(np.int64), plan.n_days - 1)
    return Block(
        events=events,
        delivered=np.concatenate([events, events[is_copied]]),
        arrival=np.concatenate([arrival, again[is_copied]]),
        n_late=int((arrival > day).sum()),
        habits=habits,
    )


def in_order(rows: NDArray[np.void]) -> NDArray[np.void]:
    """Sort rows by time; what happens in the same second has a fixed order too."""
    return rows[np.lexsort([rows[name] for name in ("is_cookie", "session", "item", "kind", "user", "second")])]


def activity(plan: Plan) -> Floats:
    """Return the factor of each day on the rate of sessions, (n_days,), by week and by season."""
    days = np.datetime64(plan.start) + np.arange(plan.n_days)
    weekday = (days.astype("datetime64[D]").astype(np.int64) + 3) % 7
    of_year = (days - days.astype("datetime64[Y]")).astype(np.int64) + 1
    season = 1 + plan.yearly_amplitude * np.cos(2 * np.pi * (of_year - plan.yearly_peak_day) / 365.25)
    return np.asarray(np.array(plan.weekday_weights)[weekday] * season)


def _distinct(events: NDArray[np.void]) -> NDArray[np.void]:
    """Drop what nobody could tell from a copy: the same act of one user in the same second."""
    events = events[np.lexsort([events[name] for name in ("session", "item", "kind", "second", "user")])]
    same = np.ones(max(len(events) - 1, 0), np.bool_)
    for name in ("user", "second", "kind", "item"):
        same &= events[name][1:] == events[name][:-1]
    return events[np.concatenate([[True][: len(events)], ~same]).astype(np.bool_)]


def _sessions(plan: Plan, persons: Persons) -> _Sessions:
    days = np.arange(plan.n_days)
    mean = persons.rate[:, None] * activity(plan)
    counts = poisson(uniform(plan.seed, "sessions", persons.number[:, None], days), mean)
    user, day = np.nonzero(counts)
    n = counts[user, day]
    user, day = np.repeat(user, n), np.repeat(day, n)
    nth = np.arange(len(user)) - np.repeat(np.cumsum(n) - n, n)
    second = day * DAY_S + _of_day(plan, "at", persons.number[user], day, nth)
    return _Sessions(user, day, nth, second)


def _of_day(plan: Plan, purpose: str, *address: Integers) -> Integers:
    """Draw a second of the day by the hours' weights, at least a minute after midnight."""
    place = uniform(plan.seed, purpose, *address)
    ends = np.cumsum(_HOURS) / _HOURS.sum()
    hour = np.searchsorted(ends, place)
    within = (place - (ends[hour] - _HOURS[hour] / _HOURS.sum())) / (_HOURS[hour] / _HOURS.sum())
    return np.asarray(np.maximum((hour * 3600 + within * 3600).astype(np.int64), 60))


def _session_events(plan: Plan, items: Items, persons: Persons, s: _Sessions) -> NDArray[np.void]:
    number = persons.number[s.user]
    session = (number, s.day, s.nth)
    stay = 1 - 1 / plan.views_per_session
    drawn = np.log(uniform(plan.seed, "views", *session)) / np.log(max(stay, 1e-12))
    n_views = np.minimum(1 + np.floor(drawn).astype(np.int64), _MAX_VIEWS)
    at = np.repeat(np.arange(len(s.user)), n_views)
    place = np.arange(len(at)) - np.repeat(np.cumsum(n_views) - n_views, n_views)
    act = tuple(key[at] for key in session) + (place,)
    second = s.second[at] + place * _VIEW_GAP_S + (60 * uniform(plan.seed, "gap", *act)).astype(np.int64)
    item = choose(plan, items, _taste(persons, s.user[at], s.second[at]), "item", *act)
    buyer = ~persons.is_bot[s.user]
    is_cart = (uniform(plan.seed, "cart", *act) < plan.cart_rate) & buyer[at]
    is_bought = is_cart & (uniform(plan.seed, "purchase", *act) < plan.purchase_rate)
    is_liked = (uniform(plan.seed, "favourite", *act) < plan.favourite_rate) & buyer[at]
    is_search = (uniform(plan.seed, "search", *session) < plan.search_rate) & buyer
    last = s.second[at] + n_views[at] * _VIEW_GAP_S + 60 + place
    name = bits(plan.seed, "session", *session)
    is_cookie = _is_cookie(plan, persons, s.user, s.second, name)

    def rows(kind: int, chosen: NDArray[np.generic], when: Integers) -> NDArray[np.void]:
        made = np.zeros(len(chosen), ROW)
        made["second"], made["kind"], made["item"] = when, kind, item[chosen]
        for field, values in (("user", number), ("session", name), ("is_cookie", is_cookie)):
            made[field] = values[at[chosen]]
        return made

    searching = np.nonzero(place == 0)[0][is_search]
    searches = rows(SEARCH, searching, s.second[is_search] - 20)
    searches["words"] = (bits(plan.seed, "words", *(key[is_search] for key in session)) % np.uint64(3)).astype(np.uint8)
    parts = [rows(VIEW, np.arange(len(at)), second), searches]
    for kind, mask, when in (
        (CART, is_cart, second + 7),
        (FAVOURITE, is_liked, second + 3),
        (PURCHASE, is_bought, last),
    ):
        parts.append(rows(kind, np.nonzero(mask)[0], when[mask]))
    return np.concatenate(parts)


def choose(plan: Plan, items: Items, taste: Floats, purpose: str, *address: Integers) -> Integers:
    """Choose an item for each act: some are considered by popularity, one of them is taken by taste.

    Args:
        plan: The shop.
        items: Its catalogue.
        taste: (n, rank) unit vectors.
        purpose: Of the draw.
        address: Keys of the draw, (n,) each.

    Returns:
        (n,) positions of items.
    """
    return _choose(plan, items.cumulative, items.factors, taste, purpose, address)


def _choose(
    plan: Plan, cumulative: Floats, factors: Floats, taste: Floats, purpose: str, address: tuple[Integers, ...]
) -> Integers:
    chosen = np.empty(len(taste), np.int64)
    options = np.arange(plan.n_considered)
    for start in range(0, len(taste), _SLICE):
        part = slice(start, start + _SLICE)
        keys = [key[part, None] for key in address]
        drawn = uniform(plan.seed, f"{purpose}, considered", *keys, options)
        found = np.minimum(np.searchsorted(cumulative, drawn), len(cumulative) - 1)
        liking = plan.taste_strength * np.einsum("nr,ncr->nc", taste[part], factors[found])
        # The greatest of (logit + Gumbel noise) follows the softmax of the logits.
        noise = -np.log(-np.log(uniform(plan.seed, f"{purpose}, chosen", *keys, options)))
        chosen[part] = np.take_along_axis(found, np.argmax(liking + noise, axis=1)[:, None], axis=1)[:, 0]
    return chosen


def _taste(persons: Persons, user: Integers, second: Integers) -> Floats:
    is_after = (second >= persons.drift_second[user])[:, None]
    return np.where(is_after, persons.factors_after[user], persons.factors[user])


def _is_cookie(
    plan: Plan, persons: Persons, user: Integers, second: Integers, session: NDArray[np.uint64]
) -> NDArray[np.bool_]:
    """Say which sessions nobody had logged in for."""
    login = persons.login_second[user]
    drawn = uniform(plan.seed, "logged out", session)
    return np.asarray((second < login) | ((drawn < plan.logged_out_share) & (second > login)))


def _habit_events(
    plan: Plan, items: Items, persons: Persons
) -> tuple[NDArray[np.void], dict[str, NDArray[np.generic]]]:
    """Make the purchases of habits: one visit each, by the cycle of the item; habits end and begin with a drift."""
    found, truth = [np.zeros(0, ROW)], []
    for epoch in range(2 if len(items.repeatable) else 0):
        for nth in range(plan.n_habits):
            user, item = _habit(plan, items, persons, epoch, nth)
            truth.append((persons.number[user], item, np.full(len(user), epoch), items.cycle_days[item]))
            found.append(_visits(plan, items, persons, user, item, epoch, nth))
    columns = [np.concatenate([part[k] for part in truth]) if truth else np.zeros(0, np.int64) for k in range(4)]
    order = np.lexsort((columns[1], columns[2], columns[0]))
    names = ("user", "item", "is_after_drift", "cycle_days")
    return np.concatenate(found), {name: column[order] for name, column in zip(names, columns, strict=True)}


def _habit(plan: Plan, items: Items, persons: Persons, epoch: int, nth: int) -> tuple[Integers, Integers]:
    """Return who has an n-th habit in this epoch, and of which item; the same item twice is one habit."""
    drifts = persons.drift_second < np.iinfo(np.int64).max
    user = np.nonzero(~persons.is_bot & (drifts | (epoch == 0)))[0]
    taste = (persons.factors_after if epoch else persons.factors)[user]
    factors = items.factors[items.repeatable]
    drawn = []
    for k in range(nth + 1):
        keys = (persons.number[user], np.full(len(user), epoch), np.full(len(user), k))
        drawn.append(items.repeatable[_choose(plan, items.cumulative_repeatable, factors, taste, "habit", keys)])
    is_new = np.ones(len(user), np.bool_)
    for earlier in drawn[:-1]:
        is_new &= earlier != drawn[-1]
    return user[is_new], drawn[-1][is_new]


def _visits(
    plan: Plan, items: Items, persons: Persons, user: Integers, item: Integers, epoch: int, nth: int
) -> NDArray[np.void]:
    if not len(user):
        return np.zeros(0, ROW)
    number, cycle = persons.number[user], items.cycle_days[item]
    steps = int(np.ceil(plan.n_days / (cycle.min() * max(1 - 3 * plan.cycle_jitter, 0.1)))) + 1
    keys = (number[:, None], epoch, nth, np.arange(steps))
    length = np.clip(1 + plan.cycle_jitter * normal(plan.seed, "cycle", *keys), 0.1, None)
    length[:, 0] = uniform(plan.seed, "phase", number, epoch, nth)
    begins = plan.drift_second / DAY_S if epoch else 0.0
    day = np.floor(begins + np.cumsum(cycle[:, None] * length, axis=1)).astype(np.int64)
    second = day * DAY_S + _of_day(plan, "visit at", *np.broadcast_arrays(*keys))
    end = np.full(len(user), plan.n_days * DAY_S)
    if epoch == 0:
        end = np.minimum(end, persons.drift_second[user])
    who, step = np.nonzero(second < end[:, None])
    name = bits(plan.seed, "visit", number[who], epoch, nth, step)
    parts = []
    for kind, later in ((VIEW, 0), (CART, 30), (PURCHASE, 90)):
        made = np.zeros(len(who), ROW)
        made["second"], made["kind"], made["item"] = second[who, step] + later, kind, item[who]
        made["user"], made["session"] = number[who], name
        made["is_cookie"] = _is_cookie(plan, persons, user[who], second[who, step], name)
        parts.append(made)
    return np.concatenate(parts)
