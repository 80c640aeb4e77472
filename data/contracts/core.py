"""Core tables: one clean, typed, consistent view of events, items and users, and what was set aside on the way.

Events and users are `per_user`: whether and how a row stands here depends on that row, that user and public constants
alone. What was set aside, and how much, is `internal`.
"""

from data.contracts.schema import Column, DriftRule, Reference, Repair, Table, VolumeRule

EVENT_TYPES = ("purchase", "return", "view", "cart", "favourite", "search", "rating", "redeem")
"""Every kind of event that a shop file can map onto."""

INPUT_VERSION = Column(
    name="input_version",
    type="text",
    doc="Digests of the code and inputs that this day was made from, and of what it looked up.",
    sensitivity="operational",
    required=True,
)

DAY = Column(name="day", type="date", doc="UTC day.", sensitivity="operational", required=True)

USER_ID = Column(
    name="user_id",
    type="text",
    doc="Keyed pseudonym (HMAC-SHA-256) of the person.",
    sensitivity="pseudonym",
    pattern=r"u_[0-9a-f]{32}",
)

QUARANTINE_COLUMNS = (
    Column(name="reason", type="text", doc="Named reason.", sensitivity="operational", required=True),
    Column(name="column_name", type="text", doc="Column at fault, if one is.", sensitivity="operational"),
    Column(
        name="masked_value", type="text", doc="Value at fault: at most half of it and three characters, then stars."
    ),
    USER_ID,
    Column(name="row_id", type="text", doc="Event or item id, as far as it is known."),
    Column(name="source", type="text", doc="Source.", sensitivity="operational", required=True),
    Column(name="file", type="text", doc="Name of the landed file.", sensitivity="operational", required=True),
    Column(name="file_sha256", type="text", doc="SHA-256 of it.", sensitivity="operational", required=True),
    Column(name="line", type="bigint", doc="Data line in it, from 1.", sensitivity="operational", required=True),
)

SALES = ("purchase", "return")
"""Event types that move goods, so that a quantity and a value are expected."""


def _number(constant: float, *expected_in: str) -> Repair:
    return Repair(
        missing=("constant", "reject", "interpolate"),
        unparsable=("reject", "constant", "interpolate"),
        out_of_range=("reject", "winsorise", "constant", "interpolate"),
        constant=constant,
        expected_in=expected_in,
    )


_LABEL = Repair(missing=("null", "reject", "constant"))

EVENTS = Table(
    key="core.events",
    doc="One row per event: something one person did with one item at one time. Typed, deduplicated, referable.",
    privacy="per_user",
    columns=(
        Column(name="event_id", type="text", doc="Id of the event, unique per user and day.", required=True),
        USER_ID.model_copy(update={"doc": USER_ID.doc + " NULL: anonymous, trains nothing."}),
        Column(name="item_id", type="text", doc="Item; NULL for events without one (search).", sensitivity="public"),
        Column(name="event_type", type="text", doc="Kind of event.", required=True, one_of=EVENT_TYPES),
        Column(name="occurred_at_utc", type="timestamp", doc="When, in UTC; NULL in a shop without timestamps."),
        DAY,
        Column(
            name="quantity",
            type="double",
            doc="Units, net of `cancelled_quantity`; 1 where not given.",
            required=True,
            minimum=0,
            maximum=1e6,
            repair=_number(1, *SALES),
        ),
        Column(
            name="value",
            type="double",
            doc="Money paid for `quantity` in shop currency; the stars of a rating; 0 otherwise.",
            required=True,
            minimum=0,
            maximum=1e7,
            repair=_number(0, *SALES, "rating"),
        ),
        Column(
            name="discount",
            type="double",
            doc="Money off the list price of `quantity`.",
            required=True,
            minimum=0,
            maximum=1e7,
            repair=_number(0, *SALES),
        ),
        Column(
            name="cancelled_quantity",
            type="double",
            doc="Units of a purchase that were returned later; units of a return that cancelled a purchase.",
            required=True,
            minimum=0,
            maximum=1e6,
        ),
        Column(name="session_id", type="text", doc="Session, basket or invoice.", repair=_LABEL),
        Column(name="channel", type="text", doc="Channel.", repair=_LABEL),
        Column(name="place", type="text", doc="Shop, site or country.", repair=_LABEL),
        Column(name="text", type="text", doc="Search words or review text; never read across users."),
        Column(
            name="is_imputed",
            type="boolean",
            doc="Whether a policy of the contract or the shop file put a value there.",
            sensitivity="operational",
            required=True,
        ),
        Column(
            name="imputed_columns",
            type="text",
            doc="Names of the columns that it filled in, separated by commas.",
            sensitivity="operational",
        ),
        Column(name="source", type="text", doc="Source.", sensitivity="operational", required=True),
        INPUT_VERSION,
    ),
    primary_key=("user_id", "event_id", "day"),
    partition_by="day",
    references=(Reference(column="item_id", table="core.items", target="item_id"),),
    min_rows=1,
    max_quarantine_share=0.05,
    is_timely=True,
    volume=VolumeRule(),
    drift=(
        DriftRule(column="event_type"),
        DriftRule(column="channel"),
        DriftRule(column="place"),
        DriftRule(column="quantity", edges=(0, 1, 2, 3, 5, 10, 100, 1000)),
        DriftRule(column="value", edges=(0, 1, 2, 5, 10, 20, 50, 100, 1000)),
    ),
)

CORRECTIONS = Table(
    key="core.corrections",
    doc=(
        "What other days of the same user say about an event: one row per purchase and return of an item that the user "
        "returned, with what cancels out, latest purchase first; and one per event with a value that is interpolated."
    ),
    privacy="per_user",
    columns=(
        USER_ID.model_copy(update={"required": True}),
        Column(name="event_id", type="text", doc="Id of the event.", required=True),
        DAY.model_copy(update={"doc": "UTC day of that event, whose rows are made again when this one changes."}),
        Column(
            name="cancelled_quantity",
            type="double",
            doc="Units of the purchase that were returned, or of the return that found a purchase.",
            required=True,
            minimum=0,
            maximum=1e6,
        ),
        *(
            Column(name=name, type="double", doc=f"Interpolated {name}, between the user's own events of the item.")
            for name in ("quantity", "value", "discount")
        ),
    ),
    primary_key=("user_id", "event_id", "day"),
    partition_by="day",
)

ITEMS = Table(
    key="core.items",
    doc="One row per item of the public catalogue.",
    privacy="public",
    columns=(
        Column(name="item_id", type="text", doc="Item code.", sensitivity="public", required=True),
        Column(name="title", type="text", doc="Short name.", sensitivity="public", required=True),
        Column(name="description", type="text", doc="Long text.", sensitivity="public"),
        Column(name="category_path", type="text", doc="`A > B > C`, widest first.", sensitivity="public"),
        Column(name="brand", type="text", doc="Brand.", sensitivity="public"),
        Column(name="price", type="double", doc="Public list price.", sensitivity="public", minimum=0, maximum=1e7),
        Column(name="image", type="text", doc="Image address.", sensitivity="public"),
        Column(name="is_available", type="boolean", doc="Can be recommended.", sensitivity="public", required=True),
    ),
    primary_key=("item_id",),
    min_rows=1,
    max_quarantine_share=0.05,
)

USERS = Table(
    key="core.users",
    doc="One row per known person: declared attributes and consent.",
    privacy="per_user",
    columns=(
        USER_ID.model_copy(update={"required": True}),
        Column(name="attributes", type="text", doc="Declared attributes, a JSON object.", required=True),
        Column(name="consent", type="boolean", doc="Agreed to personal profiles; true where not asked.", required=True),
    ),
    primary_key=("user_id",),
    max_quarantine_share=0.05,
)


def quarantine_of(table: Table) -> Table:
    """The contract of the rows that `table` set aside.

    Args:
        table: a contract with a row gate (`max_quarantine_share` is set).

    Returns:
        The contract `<key>_quarantine`, partitioned like `table`.
    """
    day = (DAY, INPUT_VERSION) if table.partition_by else ()
    return Table(
        key=f"{table.key}_quarantine",
        doc=f"One row per row that {table.key} set aside, with the reason; nothing is dropped silently.",
        privacy="internal",
        columns=(*QUARANTINE_COLUMNS, *day),
        partition_by=table.partition_by,
    )


EVENTS_QUARANTINE, ITEMS_QUARANTINE, USERS_QUARANTINE = (quarantine_of(t) for t in (EVENTS, ITEMS, USERS))

TABLES = (CORRECTIONS, EVENTS, EVENTS_QUARANTINE, ITEMS, ITEMS_QUARANTINE, USERS, USERS_QUARANTINE)
