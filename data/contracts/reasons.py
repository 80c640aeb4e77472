"""Why a row is set aside: every reason with its meaning and remedy, declared once for commands, docs and pages.

The SQL that judges rows is the one place that gives reasons; a test holds the two against each other.
"""

from typing import Literal, get_args

from data.contracts.core import EVENTS_QUARANTINE, ITEMS_QUARANTINE, USERS_QUARANTINE
from data.contracts.identity import IDENTITIES_QUARANTINE
from data.contracts.promotions import PROMOTIONS_QUARANTINE
from data.contracts.schema import Frozen

QUARANTINES = {
    "events": EVENTS_QUARANTINE,
    "items": ITEMS_QUARANTINE,
    "users": USERS_QUARANTINE,
    "identities": IDENTITIES_QUARANTINE,
    "promotions": PROMOTIONS_QUARANTINE,
}
"""Kind of source -> contract of what core sets aside of it."""


Kind = Literal["events", "items", "users", "identities", "promotions"]
ALL_KINDS: tuple[Kind, ...] = get_args(Kind)


class Reason(Frozen):
    """One reason."""

    name: str
    """As the quarantine tables spell it."""
    meaning: str
    """What is the matter with the row."""
    remedy: str
    """What the owner of the data can do about it."""
    kinds: tuple[Kind, ...] = ("events",)
    """Kinds of sources whose rows can have it."""
    is_fault: bool = True
    """Whether such rows count towards the quarantine share; bookkeeping does not."""


def _number(name: str, limit: str, kind: Literal["events", "items"] = "events") -> tuple[Reason, ...]:
    kinds = (kind,)
    negative = (
        "if it is a return, `returns: negative_quantity`, or event type `return` with positive numbers; else filter it"
        if kind == "events"
        else "correct the catalogue"
    )
    return (
        Reason(
            name=f"unparsable_{name}",
            meaning=f"The {name} is no plain number.",
            remedy=f"correct `columns.{name}`, or give it `form: decimal_comma` where numbers read 1.234,50",
            kinds=kinds,
        ),
        Reason(name=f"negative_{name}", meaning=f"The {name} is below 0.", remedy=negative, kinds=kinds),
        Reason(
            name=f"{name}_out_of_range",
            meaning=f"The {name} is above {limit}.",
            remedy=f"correct the row, or `columns.{name}` if it is mapped to the wrong column",
            kinds=kinds,
        ),
    )


REASONS: tuple[Reason, ...] = (
    Reason(
        name="unreadable_line",
        meaning="The line has too few or too many fields, an open quote, is no JSON object, or is a header once more.",
        remedy="correct the line and deliver the file again; if all lines have it, correct `csv.quote` or `csv.escape`",
        kinds=ALL_KINDS,
    ),
    Reason(
        name="missing_key",
        meaning="The JSON line lacks a key that the shop file maps; the log says which.",
        remedy="map the key that the line has instead, or mark the column `optional: true` if lines may lack it",
        kinds=ALL_KINDS,
    ),
    Reason(
        name="missing_event_id",
        meaning="The event has no id.",
        remedy="correct `columns.event_id`, or leave it out: the content then makes the id",
    ),
    Reason(
        name="conflicting_event_id",
        meaning="One person has two different events of one id on one day; one of them is kept.",
        remedy="correct `columns.event_id`; a corrected file beside the old one: `portrait quarantine retry --file`",
    ),
    Reason(
        name="duplicate",
        meaning="The same event came twice; one is kept.",
        remedy="nothing, if lines were delivered twice; `duplicates: keep` where identical lines are several events",
        is_fault=False,
    ),
    Reason(
        name="cancelled",
        meaning="The purchase was returned whole.",
        remedy="nothing; the return stands in core.events",
        is_fault=False,
    ),
    Reason(
        name="unknown_event_type",
        meaning="The word for what happened is no event type.",
        remedy="list the word under `event_type.values`, or filter it",
    ),
    Reason(
        name="unparsable_time",
        meaning="The time does not parse.",
        remedy="correct `time.format`, or the time in the file",
        kinds=("events", "identities"),
    ),
    Reason(
        name="missing_time",
        meaning="The row has no time although its source has a time column.",
        remedy="correct `time.column`, or filter such rows",
        kinds=("events", "identities"),
    ),
    Reason(
        name="time_before_calendar",
        meaning="The event is older than the calendar.",
        remedy="let `calendar.start` be earlier, or correct `time.format`",
    ),
    Reason(
        name="time_in_future",
        meaning="The event lies after the calendar's end, or after today.",
        remedy="correct `time.format` or `timezone`, or let `calendar.end` be later",
    ),
    Reason(
        name="missing_item",
        meaning="The event names no item; only a search may do so.",
        remedy="correct `columns.item_id`, or filter such rows",
    ),
    Reason(
        name="unknown_item",
        meaning="The row names an item that the catalogue lacks.",
        remedy="land a file with the item for a source of kind items; the rows then enter by themselves",
        kinds=("events", "promotions"),
    ),
    *_number("quantity", "1,000,000"),
    *_number("value", "10,000,000"),
    *_number("discount", "10,000,000"),
    Reason(
        name="missing_item_id",
        meaning="The row of the catalogue, or of a promotion, has no item code.",
        remedy="correct `columns.item_id` of the source",
        kinds=("items", "promotions"),
    ),
    *_number("price", "10,000,000", "items"),
    Reason(
        name="missing_user_id",
        meaning="The customer row names nobody.",
        remedy="correct `columns.user_id` of the source",
        kinds=("users",),
    ),
    Reason(
        name="unparsable_consent",
        meaning="The consent is none of yes, no, true, false, y, n, 1, 0; until it is, it counts as refused.",
        remedy="write one of these words in the file",
        kinds=("users",),
    ),
    Reason(
        name="missing_identifier",
        meaning="The edge names one identifier only.",
        remedy="correct `columns.user_id` and `columns.other_id`, or filter such rows",
        kinds=("identities",),
    ),
    Reason(
        name="same_identifier",
        meaning="The edge joins an identifier with itself.",
        remedy="correct `columns.other_id`, or its `identifier`",
        kinds=("identities",),
    ),
    Reason(
        name="unparsable_authenticated",
        meaning="It cannot be told whether the person had proved who they are.",
        remedy="write yes, no, true, false, y, n, 1 or 0 in the file",
        kinds=("identities",),
    ),
    Reason(
        name="unparsable_revoked",
        meaning="It cannot be told whether the row undoes the edge.",
        remedy="write yes, no, true, false, y, n, 1 or 0 in the file",
        kinds=("identities",),
    ),
    Reason(
        name="not_authenticated",
        meaning="The person had not proved who they are, so that the row joins nobody.",
        remedy="nothing, if it was meant; otherwise correct `columns.is_authenticated`",
        kinds=("identities",),
        is_fault=False,
    ),
    Reason(
        name="two_people",
        meaning="The edge would make one person of two who share an identifier.",
        remedy="nothing, if two people share a device; an edge between their two ids says that they are one person",
        kinds=("identities",),
        is_fault=False,
    ),
    Reason(
        name="component_too_large",
        meaning="The edges join more identifiers than a person can have.",
        remedy="filter the test account or placeholder that joins them, or raise `identity.max_identifiers`",
        kinds=("identities",),
        is_fault=False,
    ),
    Reason(
        name="unreadable_validity",
        meaning="It cannot be told from when to when the promotion is valid.",
        remedy="correct `valid` of the source, or the days, times or weeks in the file",
        kinds=("promotions",),
    ),
    Reason(
        name="ends_before_start",
        meaning="The promotion ends before it begins, or at that instant.",
        remedy="correct the row, or `valid.start` and `valid.end` if they are swapped",
        kinds=("promotions",),
    ),
    Reason(
        name="superseded",
        meaning="A later row of the same item or person stands in its place.",
        remedy="nothing: the last row wins",
        kinds=("items", "users"),
        is_fault=False,
    ),
)

BOOKKEEPING = tuple(reason.name for reason in REASONS if not reason.is_fault)
"""Reasons that are no faults."""

_BY_NAME = {reason.name: reason for reason in REASONS}


def reason_of(name: str) -> Reason:
    """The declaration of a reason; a name that is not declared here is the reason of a filter of the shop file.

    Args:
        name: as the quarantine tables spell it.

    Returns:
        The reason, with a meaning and a remedy whatever the name is.
    """
    return _BY_NAME.get(name) or Reason(
        name=name,
        meaning="A filter of the shop file leaves such rows out.",
        remedy="nothing, if it was meant; otherwise change the filter under `sources`",
        kinds=ALL_KINDS,
        is_fault=False,
    )


def declared_for(kind: str) -> tuple[Reason, ...]:
    """Every declared reason that rows of one kind of source can have."""
    return tuple(reason for reason in REASONS if kind in reason.kinds)
