"""Promotions: what a shop put up, or printed in its mailer, where and when.

Public by declaration: what everybody could see says nothing of anybody. Only a shop with a source of kind
`promotions` has these tables.
"""

from data.contracts.core import DAY, INPUT_VERSION, quarantine_of
from data.contracts.schema import Column, Reference, Table, VolumeRule

EVERYWHERE = "*"
"""The place of a promotion of which no place is said."""

PROMOTIONS = Table(
    key="core.promotions",
    doc=(
        "One row per item, time and way in which it is promoted, with the places that do so. A row with neither "
        "display nor mailer says of its places that they do not promote the item."
    ),
    privacy="public",
    columns=(
        Column(name="item_id", type="text", doc="Item.", sensitivity="public", required=True),
        Column(
            name="valid_from_utc",
            type="timestamp",
            doc="From when it is promoted; nothing is known before that.",
            sensitivity="public",
            required=True,
        ),
        Column(
            name="valid_until_utc",
            type="timestamp",
            doc="Until when; the instant itself no longer counts.",
            sensitivity="public",
            required=True,
        ),
        DAY.model_copy(update={"doc": "UTC day of `valid_from_utc`."}),
        Column(
            name="display",
            type="text",
            doc="Kind of display, as the shop file labels it; NULL: not on display.",
            sensitivity="public",
        ),
        Column(
            name="mailer",
            type="text",
            doc="Where in the mailer, as the shop file labels it; NULL: not in it.",
            sensitivity="public",
        ),
        Column(
            name="places",
            type="texts",
            doc=f"Places that do so, sorted, each once; `{EVERYWHERE}`: everywhere.",
            sensitivity="public",
        ),
        INPUT_VERSION,
    ),
    primary_key=("item_id", "valid_from_utc", "valid_until_utc", "display", "mailer"),
    partition_by="day",
    references=(Reference(column="item_id", table="core.items", target="item_id"),),
    max_quarantine_share=0.05,
    volume=VolumeRule(),
)

PROMOTIONS_QUARANTINE = quarantine_of(PROMOTIONS)

TABLES = (PROMOTIONS, PROMOTIONS_QUARANTINE)
