"""The profile: what a shop, and the customer, see of one person, and what that person's own days taught the ranker."""

from data.contracts.core import USER_ID
from data.contracts.features import AS_OF
from data.contracts.schema import Column, Table

PROFILES = Table(
    key="profile.profiles",
    doc="One row per person who agreed to a profile: attributes, habits, interests, last items. Their own rows only.",
    privacy="per_user",
    columns=(
        USER_ID.model_copy(update={"required": True}),
        AS_OF,
        Column(name="attributes", type="text", doc="Declared attributes, a JSON object.", required=True),
        Column(name="recency_days", type="double", doc="Days since the last event.", minimum=0),
        Column(name="tenure_days", type="double", doc="Days since the first event.", minimum=0),
        Column(name="n_days", type="bigint", doc="Days with an event.", required=True, minimum=1),
        Column(name="n_events", type="bigint", doc="Events.", required=True, minimum=1),
        Column(name="value", type="double", doc="Money paid, all time, in shop currency.", required=True),
        Column(name="frequency_28d", type="double", doc="Decayed bought units, half-life 28 d.", required=True),
        Column(name="n_sessions", type="bigint", doc="Sessions.", required=True, minimum=0),
        Column(name="events_per_session", type="double", doc="Mean events a session.", minimum=0),
        Column(name="value_per_session", type="double", doc="Mean money a session."),
        Column(name="gap_days", type="double", doc="Mean days between active days.", minimum=0),
        Column(name="discount_share", type="double", doc="Discount over list price.", minimum=0, maximum=1),
        Column(name="favourite_band", type="text", doc="Price band bought from most."),
        Column(name="categories", type="texts", doc="Ten strongest categories, narrowest level, with their shares."),
        Column(name="brands", type="texts", doc="Ten strongest brands with their shares."),
        Column(name="last_items", type="texts", doc="Last ten distinct items, newest first."),
    ),
    primary_key=("user_id",),
    min_rows=1,
)

ONLINE = Table(
    key="profile.online",
    doc="What each person's own days say against the released weights of the next purchases; only if the shop asks.",
    privacy="per_user",
    columns=(
        USER_ID.model_copy(update={"required": True}),
        Column(name="feature", type="text", doc="Feature of the ranker.", sensitivity="operational", required=True),
        Column(name="gradients", type="double", doc="z of FTRL-Proximal: summed gradients.", required=True),
        Column(name="squares", type="double", doc="n of FTRL-Proximal: summed squares.", required=True, minimum=0),
        Column(name="correction", type="double", doc="Added to the released weight for this person.", required=True),
        AS_OF,
    ),
    primary_key=("user_id", "feature"),
)

TABLES = (PROFILES, ONLINE)
