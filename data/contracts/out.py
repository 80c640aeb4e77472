"""What leaves: recommendations with their reason, their evaluation, and the report of unusual events."""

from data.contracts.core import USER_ID
from data.contracts.features import AS_OF
from data.contracts.schema import Column, Table

TASKS = ("next_purchases", "discovery")
"""next_purchases: whatever will be bought, known or new; discovery: only what the person has never bought."""

TASK = Column(name="task", type="text", doc="Task.", sensitivity="operational", required=True, one_of=TASKS)

RECOMMENDATIONS = Table(
    key="out.recommendations",
    doc="Twenty items per person and task, best first, each with its reason; made of own rows, releases, public facts.",
    privacy="per_user",
    columns=(
        USER_ID.model_copy(update={"required": True}),
        TASK,
        Column(name="place", type="bigint", doc="1 is the best.", required=True, minimum=1),
        Column(name="item_id", type="text", doc="Item.", required=True),
        Column(name="title", type="text", doc="Its title.", required=True),
        Column(name="score", type="double", doc="Score; comparable within one person and task.", required=True),
        Column(name="reason", type="text", doc="Why: what sets the item apart for this person.", required=True),
        AS_OF,
    ),
    primary_key=("user_id", "task", "place"),
    min_rows=1,
)

EVALUATION = Table(
    key="out.evaluation",
    doc="How good each model is on the days after the release's window; exact, for operators only.",
    privacy="internal",
    columns=(
        TASK,
        Column(
            name="model",
            type="text",
            doc="`portrait`, its twin without noise, or a baseline.",
            sensitivity="operational",
            required=True,
        ),
        Column(name="metric", type="text", doc="Metric at 20.", sensitivity="operational", required=True),
        Column(
            name="score",
            type="double",
            doc="Mean over users with a relevant item.",
            sensitivity="operational",
            required=True,
            minimum=0,
            maximum=1,
        ),
        Column(
            name="n_users",
            type="bigint",
            doc="Users with a relevant item.",
            sensitivity="operational",
            required=True,
            minimum=1,
        ),
    ),
    primary_key=("task", "model", "metric"),
)

UNUSUAL_EVENTS = Table(
    key="out.unusual_events",
    doc="The events that an isolation forest and DBSCAN find most unusual: a report for operators; decides nothing.",
    privacy="internal",
    columns=(
        Column(name="event_id", type="text", doc="Event.", required=True),
        Column(name="day", type="date", doc="Its day.", required=True),
        Column(
            name="method",
            type="text",
            doc="What found it.",
            sensitivity="operational",
            required=True,
            one_of=("isolation_forest", "dbscan"),
        ),
        Column(name="anomaly", type="double", doc="Score; higher is more unusual, by one method.", required=True),
        Column(name="feature", type="text", doc="Feature that stands out most.", required=True),
    ),
    primary_key=("day", "event_id", "method", "anomaly", "feature"),
)

TABLES = (RECOMMENDATIONS, EVALUATION, UNUSUAL_EVENTS)
