"""Feature tables: per-day partial sums, their merge as of an instant, and what is read off it, one user at a time."""

from data.contracts.core import DAY, INPUT_VERSION, USER_ID
from data.contracts.facets import FACETS, HALF_LIVES_DAYS
from data.contracts.schema import Column, Table

USER = USER_ID.model_copy(update={"required": True, "pattern": None})
"""The pattern was proved in core.events."""

FACET_KEY = (
    Column(name="facet", type="text", doc="Facet.", sensitivity="operational", required=True, one_of=tuple(FACETS)),
    Column(name="key", type="text", doc="Key within the facet: an item, a category path, a band.", required=True),
)

SUMS = (
    Column(name="n_events", type="bigint", doc="Events of every type.", required=True, minimum=1),
    Column(name="n_sessions", type="bigint", doc="Sessions, distinct within each day.", required=True, minimum=0),
    Column(name="quantity", type="double", doc="Units bought less units returned.", required=True),
    Column(name="value", type="double", doc="Money paid less money returned, in shop currency.", required=True),
    Column(name="discount", type="double", doc="Money off list prices, in shop currency.", required=True),
    Column(name="first_at_utc", type="timestamp", doc="First event."),
    Column(name="last_at_utc", type="timestamp", doc="Last event."),
    *(
        Column(
            name=f"decayed_{days}d",
            type="double",
            doc=f"Sum of f(x) 2^(-age / {days} d), as of the end of the day (daily) or of as_of_utc (state).",
            required=True,
        )
        for days in HALF_LIVES_DAYS
    ),
)

DAILY = Table(
    key="features.daily",
    doc="Partial sums of one user, facet and key on one UTC day: what every profile is merged from.",
    privacy="per_user",
    columns=(USER, DAY, *FACET_KEY, *SUMS, INPUT_VERSION),
    primary_key=("user_id", "day", "facet", "key"),
    partition_by="day",
)

AS_OF = Column(name="as_of_utc", type="timestamp", doc="Instant that the row holds for.", required=True)

_STATE = (
    USER,
    *FACET_KEY,
    Column(name="last_day", type="date", doc="Last day with an event.", required=True),
    Column(name="n_days", type="bigint", doc="Days with an event.", required=True, minimum=1),
    *SUMS,
    AS_OF,
)

CHECKPOINT = Table(
    key="features.checkpoint",
    doc="Merged partial sums up to the start of a month: a cache that spares reading old days again.",
    privacy="per_user",
    columns=_STATE,
    primary_key=("user_id", "facet", "key"),
)

STATE = Table(
    key="features.state",
    doc="Every user's state: merge(checkpoint, later days), decayed to one instant.",
    privacy="per_user",
    columns=_STATE,
    primary_key=("user_id", "facet", "key"),
)

RFM = Table(
    key="features.recency_frequency_monetary",
    doc="How recently, how often and for how much each user buys.",
    privacy="per_user",
    columns=(
        USER,
        Column(name="recency_days", type="double", doc="Days since the last event.", minimum=0),
        Column(name="tenure_days", type="double", doc="Days since the first event.", minimum=0),
        Column(name="n_days", type="bigint", doc="Days with an event.", required=True, minimum=1),
        Column(name="n_events", type="bigint", doc="Events.", required=True, minimum=1),
        Column(name="value", type="double", doc="Money paid, all time.", required=True),
        Column(
            name="frequency_28d", type="double", doc="Decayed number of bought units, half-life 28 d.", required=True
        ),
        AS_OF,
    ),
    primary_key=("user_id",),
)

INTEREST = Table(
    key="features.interest",
    doc="The twenty strongest interests of each user in each facet, as shares of that facet.",
    privacy="per_user",
    columns=(
        USER,
        *FACET_KEY,
        Column(name="place", type="bigint", doc="1 is the strongest.", required=True, minimum=1, maximum=20),
        Column(
            name="share", type="double", doc="Share of the facet's decayed sum.", required=True, minimum=0, maximum=1
        ),
        AS_OF,
    ),
    primary_key=("user_id", "facet", "place"),
)

SESSIONS = Table(
    key="features.sessions",
    doc="Session statistics of each user.",
    privacy="per_user",
    columns=(
        USER,
        Column(name="n_sessions", type="bigint", doc="Sessions, distinct within each day.", required=True, minimum=0),
        Column(name="events_per_session", type="double", doc="Mean events a session.", minimum=0),
        Column(name="value_per_session", type="double", doc="Mean money a session."),
        Column(name="gap_days", type="double", doc="Mean days between days with an event.", minimum=0),
        AS_OF,
    ),
    primary_key=("user_id",),
)

PRICE_SENSITIVITY = Table(
    key="features.price_sensitivity",
    doc="How much of the list price each user saves, and which price bands they buy from.",
    privacy="per_user",
    columns=(
        USER,
        Column(name="discount_share", type="double", doc="Discount over list price.", minimum=0, maximum=1),
        Column(name="unit_value", type="double", doc="Mean money a unit."),
        Column(name="favourite_band", type="text", doc="Price band bought from most."),
        AS_OF,
    ),
    primary_key=("user_id",),
)

SEQUENCE = Table(
    key="features.sequence",
    doc="The last fifty distinct items of each user, newest first.",
    privacy="per_user",
    columns=(
        USER,
        Column(name="place", type="bigint", doc="1 is the newest.", required=True, minimum=1, maximum=50),
        Column(name="item_id", type="text", doc="Item.", required=True),
        Column(name="last_at_utc", type="timestamp", doc="Last event with it."),
        AS_OF,
    ),
    primary_key=("user_id", "place"),
)

TABLES = (DAILY, CHECKPOINT, STATE, RFM, INTEREST, SESSIONS, PRICE_SENSITIVITY, SEQUENCE)
