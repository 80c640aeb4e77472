"""Fills the models `features/daily` and `features/state` in from the facet declaration.

Events become per-day partial sums, partial sums a state as of an instant.

Sums are taken over decimals, so that no order of rows, threads or engines changes a bit of a table; they leave as
doubles.
"""

from datetime import date, datetime, time, timedelta

from data.contracts import facets as declared
from data.contracts.facets import EventRule
from data.macros import render
from data.models import model

DECAYED: dict[str, int] = {f"decayed_{half_life}d": half_life for half_life in declared.HALF_LIVES_DAYS}
"""Name of each decayed column -> its half-life in days."""

AMOUNTS = ("quantity", "value", "discount")
COUNTS = ("n_events", "n_sessions")
_PLAIN = (*COUNTS, *AMOUNTS, "first_at_utc", "last_at_utc")

# Scale of the decimals that are summed. A decayed sum stands at the end of its newest day, where the newest event
# weighs about f(x), so the fifteenth decimal is beyond a double's own precision.
SCALES = {"share": "decimal(28, 15)", "amount": "decimal(28, 6)"}


def _number(value: float) -> str:
    """A literal that both engines read as a double."""
    return f"{float(value)}e0"


def _end(day: str) -> str:
    """The midnight that ends a day: the anchor of its decayed sums."""
    return f"cast({day} as timestamp) + interval '1' day"


def _by_type(branches: dict[str, str]) -> str:
    """A CASE over the event type, 0 for the others."""
    whens = " ".join(f"when '{t}' then {sql}" for t, sql in branches.items())
    return f"case event_type {whens} else 0e0 end"


def event_function() -> str:
    """The event function f(x) as SQL over event_type, quantity and value."""

    def term(rule: EventRule) -> str:
        if rule.amount == "rating":
            stars = f"(value - {_number(declared.RATING_NEUTRAL)}) / {_number(declared.RATING_REACH)}"
            return f"{_number(rule.weight)} * greatest(-1e0, least(1e0, {stars}))"
        return f"{_number(rule.weight)} * least(quantity, {_number(declared.QUANTITY_CAP)})"

    return _by_type({name: term(rule) for name, rule in declared.EVENT_RULES.items() if rule.weight})


def event_weight() -> str:
    """The declared weight of the event's type as SQL over event_type."""
    return _by_type({name: _number(rule.weight) for name, rule in declared.EVENT_RULES.items() if rule.weight})


def _paid_price() -> str:
    """The unit price that the event itself shows, as SQL over `ev`; NULL where it moves no goods."""
    sold = ", ".join(f"'{name}'" for name, rule in declared.EVENT_RULES.items() if rule.money)
    return f"case when ev.event_type in ({sold}) then ev.value / nullif(ev.quantity, 0e0) end"


def facet_keys() -> dict[str, str]:
    """Facet -> SQL of its key over item_id, category_path, brand and price; NULL where an event has no such key."""
    separator = declared.CATEGORY_SEPARATOR
    levels = [f"nullif(split_part(category_path, '{separator}', {n}), '')" for n in (1, 2, 3)]
    paths = {f"category_{n}": f" || '{separator}' || ".join(levels[:n]) for n in (1, 2, 3)}
    edges, bands = declared.PRICE_BAND_EDGES, declared.PRICE_BANDS
    cheaper = " ".join(f"when price < {_number(e)} then '{b}'" for e, b in zip(edges, bands[:-1], strict=True))
    band = f"case {cheaper} when price >= {_number(edges[-1])} then '{bands[-1]}' end"
    keys = {"item": "item_id", **paths, "brand": "nullif(brand, '')", "price_band": band}
    keys["all"] = f"'{declared.ALL_KEY}'"
    return {facet: keys[facet] for facet in declared.FACETS}


def item_facts(items: str = "core.items") -> str:
    """What features.daily takes from the catalogue: of each item the keys that it gives its events.

    A list price counts by its band alone; the band of an item without one is the event's own matter, and NULL here.

    Args:
        items: the table with the columns of core.items.

    Returns:
        One SELECT in the portable subset: item_id, and one key a facet.
    """
    keys = ", ".join(f"{key} as key_{facet}" for facet, key in facet_keys().items())
    return f"select item_id, {keys} from {items}"


def daily_sql(events: str = "core.events", items: str = "core.items") -> str:
    """The per-day partial sums of every user, facet and key: the table features.daily.

    Decayed columns are `sum(f(x) * 2 ** (-age / half_life))` with the age of an event taken to the END of its day (the
    next midnight), in whole seconds; an event without a time has age 0. Columns: user_id, day, facet, key, n_events
    BIGINT (of every type), quantity, value and discount DOUBLE (of purchases), first_at_utc, last_at_utc, n_sessions
    BIGINT (distinct within the day), and one DOUBLE for each of `DECAYED`. Anonymous events are left out, and returns:
    core.events has taken off what they cancel.
    Unique by user_id, day, facet, key. A day's rows depend on that day's events and the
    `item_facts` of their items alone.

    Args:
        events: the table with the columns of core.events.
        items: the table with the columns of core.items, unique by item_id.

    Returns:
        One SELECT in the portable subset.
    """
    sign = _by_type({name: _number(rule.money) for name, rule in declared.EVENT_RULES.items() if rule.money})
    return model(
        "features/daily",
        events=events,
        items=items,
        sign=sign,
        paid=_paid_price(),
        f=event_function(),
        silent=", ".join(f"'{name}'" for name, rule in declared.EVENT_RULES.items() if not rule.is_interaction),
        keys=facet_keys(),
        end=_end,
        amounts=AMOUNTS,
        decayed=DECAYED,
        **SCALES,
    )


def state_sql(
    as_of: datetime,
    days: str = "features.daily",
    checkpoint: str | None = None,
    checkpoint_at: datetime | None = None,
) -> str:
    """Merge [a checkpoint and] days into every user's state as of an instant.

    What no later day touches passes from the checkpoint as it stands; only the rest is summed.

    The state holds, for each user, facet and key: last_day, n_days (with an event), n_events, n_sessions (summed over
    days), quantity, value, discount, first_at_utc, last_at_utc, each of `DECAYED` as of the instant, and as_of_utc.
    A state as of a midnight is a checkpoint. It holds until a day before it is rewritten (a late event, an erasure);
    then the days are merged anew, or onto an earlier checkpoint.

    Every day that began before the instant counts whole. At a midnight that is exact; inside a day it is exact as long
    as that day's partial sums hold no event after the instant, as they do for the running day.

    Args:
        as_of: naive UTC.
        days: the table of `daily_sql`'s columns.
        checkpoint: a table of this query's columns, made at `checkpoint_at`; days before it are then not read.
        checkpoint_at: its instant, naive UTC, a midnight.

    Returns:
        One SELECT in the portable subset, unique by user_id, facet, key.

    Raises:
        ValueError: an instant carries a zone, the checkpoint is not at a midnight or lies after `as_of`, or only one of
            `checkpoint` and `checkpoint_at` is given.
    """
    _require_instants(as_of, checkpoint, checkpoint_at)
    return model(
        "features/state",
        days=days,
        checkpoint=checkpoint,
        since=checkpoint_at.date() if checkpoint_at else None,
        until=_first_day_not_begun(as_of),
        instant=f"timestamp '{as_of.isoformat(sep=' ')}'",
        plain=", ".join(_PLAIN),
        plain_of=lambda alias: ", ".join(f"{alias}.{name}" for name in _PLAIN),
        moved=_moved,
        end=_end,
        amounts=AMOUNTS,
        counts=COUNTS,
        decayed=DECAYED,
        **SCALES,
    )


def _first_day_not_begun(instant: datetime) -> date:
    """The first day that begins at or after an instant."""
    return instant.date() + timedelta(days=int(instant.time() > time.min))


def _moved(anchor: str, to: str, source: str = "") -> str:
    """The decayed columns, moved from one anchor to another (back too, where the second is earlier)."""
    factor = source + "{{ name }} * {{ decay(elapsed_s(anchor, to), half_life) }} as {{ name }}"
    return ", ".join(render(factor, name=n, half_life=h, anchor=anchor, to=to) for n, h in DECAYED.items())


def _require_instants(as_of: datetime, checkpoint: str | None, checkpoint_at: datetime | None) -> None:
    """Check the instants of `state_sql`."""
    if (checkpoint is None) != (checkpoint_at is None):
        raise ValueError(f"checkpoint is {checkpoint} and checkpoint_at is {checkpoint_at}; give both or neither.")
    for name, instant in (("as_of", as_of), ("checkpoint_at", checkpoint_at)):
        if instant is not None and instant.tzinfo is not None:
            raise ValueError(f"{name} is {instant.isoformat()}; give a naive UTC instant.")
    if checkpoint_at is not None and (checkpoint_at.time() != time.min or checkpoint_at > as_of):
        raise ValueError(f"checkpoint_at is {checkpoint_at}; give a midnight that is not after as_of, {as_of}.")
