"""What a profile counts: facets, half-lives, price bands and the event function f(x), declared once.

`data.facet_sql` renders this declaration as SQL and `ml.decay` computes it in numpy; nothing is written down twice.
Everything here is a public constant: it stands in git before any data is seen.
"""

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import Field

from data.contracts.schema import Frozen

HALF_LIVES_DAYS: Final[tuple[int, ...]] = (28, 104)
"""Half-lives of the decayed sums in days: time constants of 40 and 150 days, a month's habit and a season's."""

FACETS: Final[Mapping[str, str]] = {
    "item": "The item itself; key: item_id.",
    "category_1": "Widest category; key: `A`.",
    "category_2": "Second level; key: the path down to it, `A > B`.",
    "category_3": "Third level; key: the path down to it, `A > B > C`.",
    "brand": "Brand; key: its name.",
    "price_band": "Band of the list price, or of the user's own paid unit price where no list price is public.",
    "all": "Everything the user did; key: `all`.",
}
"""Facet -> what it counts and what its key is; an event without a key counts in `all` and in the facets it has."""

ALL_KEY: Final = "all"
"""The one key of the facet `all`."""

CATEGORY_SEPARATOR: Final = " > "
"""Between the levels of a category path, widest first."""

PRICE_BAND_EDGES: Final[tuple[float, ...]] = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)
"""Inner edges of the price bands in shop currency, ascending; a band holds its lower edge, not its upper one."""

PRICE_BANDS: Final[tuple[str, ...]] = (
    f"<{PRICE_BAND_EDGES[0]:g}",
    *(f"{low:g}-{high:g}" for low, high in zip(PRICE_BAND_EDGES, PRICE_BAND_EDGES[1:], strict=False)),
    f">={PRICE_BAND_EDGES[-1]:g}",
)
"""Key of each band, cheapest first; one more than there are edges."""

QUANTITY_CAP: Final = 5.0
"""Units of one event that count at most: litres and grams are no stronger wish than five pieces."""

RATING_NEUTRAL: Final = 3.0
"""Stars that say nothing."""

RATING_REACH: Final = 2.0
"""Stars above (below) neutral at which a rating counts fully for (against); beyond it is clipped."""


class EventRule(Frozen):
    """How one event type enters the sums."""

    weight: float = Field(ge=-10, le=10)
    """Factor of the event function."""
    amount: Literal["quantity", "rating"] = "quantity"
    """What the factor multiplies: `min(quantity, QUANTITY_CAP)`, or the stars in `value` mapped to -1..1."""
    money: Literal[0, 1] = 0
    """Whether quantity, value and discount enter their sums: 1, or 0 for an event that sells nothing."""
    is_interaction: bool = True
    """Whether the event counts at all; a return does not: core.events has taken off the purchase that it cancels."""


EVENT_RULES: Final[Mapping[str, EventRule]] = {
    "purchase": EventRule(weight=1.0, money=1),
    "return": EventRule(weight=0.0, is_interaction=False),
    "cart": EventRule(weight=0.3),
    "favourite": EventRule(weight=0.5),
    "view": EventRule(weight=0.1),
    "rating": EventRule(weight=0.5, amount="rating"),
    "search": EventRule(weight=0.0),
    "redeem": EventRule(weight=0.0),
}
"""The event function: `f(x) = weight * amount` by event type, for every type of the events contract."""
