"""What is planted in a made-up shop: every parameter, declared once and written beside the data as its truth."""

import datetime as dt
from typing import Annotated, Literal

from pydantic import Field

from data.contracts.schema import Frozen

Shape = Literal["headerless_csv", "utc_csv", "nested_jsonl"]
Share = Annotated[float, Field(ge=0, le=1)]

EVENT_TYPES = ("view", "cart", "favourite", "purchase", "search")
"""Position is the code of the type inside the generator."""


class ItemClass(Frozen):
    """Items that are bought in one rhythm."""

    name: str
    """Name."""
    share: Share
    """Share of the categories in it."""
    cycle_days: Annotated[float, Field(gt=1)] | None
    """Mean days between two purchases of somebody with the habit; null: nobody has such habits."""


class Plan(Frozen):
    """One made-up shop."""

    n_users: Annotated[int, Field(ge=10, le=50_000_000)]
    """Persons, bots among them."""
    n_items: Annotated[int, Field(ge=20, le=10_000_000)]
    """Size of the catalogue."""
    n_days: Annotated[int, Field(ge=7, le=3660)]
    """Length of the history, days."""
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    """Of everything drawn."""
    shape: Shape
    """How the files are written."""
    start: dt.date = dt.date(2024, 1, 1)
    """First day, UTC."""

    rank: Annotated[int, Field(ge=2, le=64)] = 8
    """Dimensions of taste; user and item factors are unit vectors."""
    taste_strength: Annotated[float, Field(ge=0)] = 4.0
    """Factor of the inner product of user and item in the logit of a choice."""
    n_considered: Annotated[int, Field(ge=1, le=200)] = 16
    """Items drawn by popularity before each choice; one of them is chosen by taste."""
    category_weight: Annotated[float, Field(ge=0)] = 1.0
    """Length of a category's own direction in its items' factors, relative to an item's own."""
    zipf_exponent: Annotated[float, Field(gt=0)] = 0.8
    """Popularity of the item of rank r is proportional to r to the minus this."""

    classes: tuple[ItemClass, ...] = (
        ItemClass(name="staple", share=0.4, cycle_days=7),
        ItemClass(name="household", share=0.3, cycle_days=28),
        ItemClass(name="durable", share=0.3, cycle_days=None),
    )
    """Item classes; shares sum to 1."""
    n_habits: Annotated[int, Field(ge=0, le=50)] = 2
    """Items that each person buys again and again."""
    cycle_jitter: Annotated[float, Field(ge=0, le=0.3)] = 0.1
    """Standard deviation of the days between two purchases of a habit, relative to its cycle."""

    sessions_per_day: Annotated[float, Field(gt=0, le=5)] = 0.12
    """Mean sessions of a person a day, habits aside."""
    activity_sigma: Annotated[float, Field(ge=0, le=1.5)] = 0.7
    """Log-normal spread of that mean between persons."""
    views_per_session: Annotated[float, Field(ge=1, le=10)] = 2.5
    """Mean items viewed in a session (geometric)."""
    cart_rate: Share = 0.25
    """Share of the views that lead to a cart."""
    purchase_rate: Share = 0.5
    """Share of the carts that lead to a purchase."""
    favourite_rate: Share = 0.05
    """Share of the views that lead to a favourite."""
    search_rate: Share = 0.15
    """Share of the sessions that begin with a search, in words of the first item viewed."""
    weekday_weights: tuple[float, float, float, float, float, float, float] = (0.9, 0.85, 0.9, 0.95, 1.1, 1.25, 1.05)
    """Activity from Monday to Sunday."""
    yearly_amplitude: Share = 0.25
    """Swing of the yearly cosine of activity."""
    yearly_peak_day: Annotated[int, Field(ge=1, le=366)] = 340
    """Day of the year on which it is highest."""

    drift_share: Share = 0.3
    """Share of the persons whose taste changes to an independent one, their habits with it."""
    drift_at: Share = 0.6
    """When, as a share of the history."""
    anonymous_share: Share = 0.4
    """Share of the persons who begin with a cookie alone."""
    never_login_share: Share = 0.25
    """Share of those who never log in."""
    logged_out_share: Share = 0.1
    """Share of the sessions after the first login that carry the cookie all the same."""
    late_share: Share = 0.01
    """Share of the events that stand in the file of a later day."""
    max_late_days: Annotated[int, Field(ge=1)] = 3
    """At most so many days later, each alike likely."""
    duplicate_share: Share = 0.01
    """Share of the events that are delivered twice, in the same file or in the next day's."""
    bot_share: Share = 0.002
    """Share of the users that are bots; at least one is."""
    bot_factor: Annotated[float, Field(ge=1, le=100)] = 40.0
    """Sessions of a bot, relative to `sessions_per_day`; bots view, and buy nothing."""

    @property
    def drift_second(self) -> int:
        """Seconds after the start at which tastes change."""
        return int(self.drift_at * self.n_days) * 86_400

    @property
    def start_second(self) -> int:
        """Unix second of the first midnight."""
        return int(dt.datetime.combine(self.start, dt.time(), dt.UTC).timestamp())
