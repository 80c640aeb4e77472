"""Raw tables: rows as they landed, mapped to contract names, ids already pseudonymised, values still text.

One table per source of the shop file; the shape depends on the source's kind only.
"""

from data.contracts.schema import Column, Table


def _text(name: str, doc: str, sensitivity: str = "personal") -> Column:
    return Column.model_validate({"name": name, "type": "text", "doc": doc, "sensitivity": sensitivity})


ORIGIN: tuple[Column, ...] = (
    Column(name="source", type="text", doc="Source of the shop file.", sensitivity="operational", required=True),
    Column(name="file", type="text", doc="Name of the landed file.", sensitivity="operational", required=True),
    Column(name="file_sha256", type="text", doc="SHA-256 of that file.", sensitivity="operational", required=True),
    Column(name="line", type="bigint", doc="Data line in that file, from 1.", sensitivity="operational", required=True),
)

EVENT_FIELDS: tuple[Column, ...] = (
    _text("event_id", "The source's id of the event, or a digest of its content."),
    Column(name="user_id", type="text", doc="Keyed pseudonym of the person; NULL: anonymous.", sensitivity="pseudonym"),
    _text("item_id", "Item code.", "public"),
    _text("event_type", "Event type in contract words, or the source's own word where it maps to none."),
    Column(name="occurred_at_utc", type="timestamp", doc="Parsed instant in UTC; NULL where it does not parse."),
    _text("occurred_at_text", "The time as it landed."),
    Column(name="day", type="date", doc="UTC day of the instant; the epoch day where there is none.", required=True),
    _text("quantity", "Quantity as it landed."),
    _text("value", "Money paid in total, or the rating of a rating event, as it landed."),
    _text("discount", "Money off the list price in total, as it landed."),
    _text("session_id", "Session, basket or invoice."),
    _text("channel", "Channel."),
    _text("place", "Shop, site or country."),
    _text("text", "Search words or review text."),
    _text("fault", "Why the line itself could not be read; NULL for a readable line."),
)

ITEM_FIELDS: tuple[Column, ...] = (
    _text("item_id", "Item code.", "public"),
    _text("title", "Short name.", "public"),
    _text("description", "Long text.", "public"),
    _text("category_path", "Category path, `A > B > C`.", "public"),
    _text("brand", "Brand.", "public"),
    _text("price", "List price as it landed.", "public"),
    _text("image", "Image address.", "public"),
    _text("availability", "Availability as it landed.", "public"),
    Column(
        name="updated_at_utc",
        type="timestamp",
        doc="Since when the row says so, in UTC; NULL where the source has no time.",
        sensitivity="public",
    ),
    _text("fault", "Why the line itself could not be read; NULL for a readable line.", "operational"),
)

USER_FIELDS: tuple[Column, ...] = (
    Column(name="user_id", type="text", doc="Keyed pseudonym of the person.", sensitivity="pseudonym"),
    _text("attributes", "Declared attributes as a JSON object."),
    _text("consent", "Consent as it landed."),
    _text("fault", "Why the line itself could not be read; NULL for a readable line.", "operational"),
)

IDENTITY_FIELDS: tuple[Column, ...] = (
    Column(name="user_id", type="text", doc="Keyed pseudonym of one identifier.", sensitivity="pseudonym"),
    _text("user_kind", "Kind of that identifier, as the shop file names it.", "operational"),
    Column(name="other_id", type="text", doc="Keyed pseudonym of the other identifier.", sensitivity="pseudonym"),
    _text("other_kind", "Kind of the other identifier.", "operational"),
    Column(name="observed_at_utc", type="timestamp", doc="Parsed instant in UTC; NULL where it does not parse."),
    _text("observed_at_text", "The time as it landed."),
    _text("is_authenticated", "Whether the person had proved who they are, as it landed."),
    _text("is_revoked", "Whether the row undoes the edge, as it landed."),
    _text("fault", "Why the line itself could not be read; NULL for a readable line.", "operational"),
)

PROMOTION_FIELDS: tuple[Column, ...] = (
    _text("item_id", "Item code.", "public"),
    Column(
        name="valid_from_utc",
        type="timestamp",
        doc="From when the promotion is valid, in UTC; NULL where it does not parse.",
        sensitivity="public",
    ),
    _text("valid_from_text", "That day, time or week as it landed.", "public"),
    Column(
        name="valid_until_utc",
        type="timestamp",
        doc="Until when, in UTC, the instant itself excluded; NULL where it does not parse.",
        sensitivity="public",
    ),
    _text("valid_until_text", "That day or time as it landed; NULL where the shop file says how long.", "public"),
    Column(
        name="day",
        type="date",
        doc="UTC day of `valid_from_utc`; the epoch day where there is none.",
        sensitivity="public",
        required=True,
    ),
    _text("display", "Kind of display, as the shop file labels it; NULL: none.", "public"),
    _text("mailer", "Place in the mailer, as the shop file labels it; NULL: not in it.", "public"),
    Column(name="places", type="texts", doc="Places of the lines of this row; `*`: everywhere.", sensitivity="public"),
    Column(
        name="n_lines",
        type="bigint",
        doc="Lines of the file that this row stands for: they differ by their place alone.",
        sensitivity="operational",
        required=True,
        minimum=1,
    ),
    _text("fault", "Why the lines could not be read or were filtered; NULL for readable lines.", "operational"),
)

FIELDS = {
    "events": EVENT_FIELDS,
    "items": ITEM_FIELDS,
    "users": USER_FIELDS,
    "identities": IDENTITY_FIELDS,
    "promotions": PROMOTION_FIELDS,
}
PUBLIC = ("items", "promotions")
"""Kinds whose rows are public by declaration."""
BY_DAY = ("events", "promotions")
"""Kinds whose rows have a day."""


_AS_TEXT = "ids pseudonymised, values as text"
_ROWS = {"promotions": "lines that differ by their place alone as one row"}


def raw_table(source: str, kind: str) -> Table:
    """The contract of one source's raw table.

    Args:
        source: name of the source in the shop file.
        kind: one of `FIELDS`.

    Returns:
        The contract with key `raw.<source>`.
    """
    return Table(
        key=f"raw.{source}",
        doc=f"Rows of source '{source}' as they landed ({kind}), each file once, {_ROWS.get(kind, _AS_TEXT)}.",
        privacy="public" if kind in PUBLIC else "per_user",
        columns=FIELDS[kind] + ORIGIN,
        primary_key=("file_sha256", "line"),
        partition_by="day" if kind in BY_DAY else None,
    )


TABLES: tuple[Table, ...] = ()
