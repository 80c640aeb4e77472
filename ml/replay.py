"""Users' own items, day by day: what the state held at any midnight, at the cost of the days in between.

The sums are merged as `data.facet_sql` merges them: a day's part stands at the end of its day and decays from there.
"""

from dataclasses import dataclass, fields

import numpy as np

from data.contracts.facets import HALF_LIVES_DAYS
from ml.ranking.features import own_columns
from ml.ranking.inputs import Bool, Float64, Floats, Indices, Int32, Int64, UserItemState


@dataclass(frozen=True, eq=False)
class DayParts:
    """What users did with items on each day: the facet `item` of the daily sums, in order of day, user, item."""

    day: Int32
    """(n,) days since 1970, ascending."""
    user_index: Int32
    """(n,) >= 0, ascending within a day."""
    item_index: Int32
    """(n,) positions in the catalogue, ascending within a day and user."""
    decayed_28d: Float64
    """(n,) the day's decayed sum as of its end, half-life 28 days."""
    decayed_104d: Float64
    """(n,) the same, half-life 104 days."""
    first_at: Float64
    """(n,) instant of the first event, in days since 1970, within the day."""
    last_at: Float64
    """(n,) instant of the last one."""
    is_taken: Bool
    """(n,) whether the user took the item on that day: what is learnt from."""

    def __post_init__(self) -> None:
        """Check lengths, order and finiteness.

        Raises:
            ValueError: if a column has another length or is not finite, or the rows are not sorted and unique.
        """
        for field in fields(self):
            column = getattr(self, field.name)
            if column.shape != self.day.shape or not bool(np.all(np.isfinite(column))):
                raise ValueError(
                    f"day part column {field.name!r} has shape {column.shape} against {self.day.shape} of day, or "
                    "holds a value that is not finite; repair it in the features layer"
                )
        day, user, item = (np.diff(c) for c in (self.day, self.user_index, self.item_index))
        is_later = (day > 0) | ((day == 0) & ((user > 0) | ((user == 0) & (item > 0))))
        if not bool(np.all(is_later)):
            raise ValueError("day parts are not sorted by day, user_index, item_index and unique; order the query")


class OwnItems:
    """What is known of every pair of user and item that a replay meets, up to the day that it has come to."""

    def __init__(self, before: UserItemState, midnight: int, parts: DayParts, n_items: int, n_users: int) -> None:
        """Lay out all pairs, users one after the other, and fill in those that are known before the first day.

        Args:
            before: everybody's own items as of a midnight.
            midnight: that midnight, in days since 1970.
            parts: all days of the replay, none of them earlier.
            n_items: size of the catalogue.
            n_users: users 0 .. n_users - 1.

        Raises:
            ValueError: if a day lies before the midnight, or a row names an unknown user or item.
        """
        for rows in (parts, before):
            user, item = int(rows.user_index.max(initial=-1)), int(rows.item_index.max(initial=-1))
            if user >= n_users or item >= n_items:
                raise ValueError(f"rows name user {user} and item {item}; there are {n_users} users, {n_items} items")
        if len(parts.day) and int(parts.day[0]) < midnight:
            raise ValueError(f"day {parts.day[0]} lies before {midnight}, up to which the items are known already")
        held = before.user_index.astype(np.int64) * n_items + before.item_index
        met = parts.user_index.astype(np.int64) * n_items + parts.item_index
        pairs = np.unique(np.concatenate([held, met]))
        self.item = pairs % n_items
        self.edges = np.searchsorted(pairs, np.arange(n_users + 1) * n_items)
        self.place_of_part = np.searchsorted(pairs, met)
        place = np.searchsorted(pairs, held)
        self.n_days = np.zeros(len(pairs))
        self.fast, self.slow = np.zeros(len(pairs)), np.zeros(len(pairs))
        self.first_at, self.last_at = np.zeros(len(pairs)), np.zeros(len(pairs))
        self.anchor = np.full(len(pairs), midnight, dtype=np.int64)
        self.n_days[place] = before.n_days
        self.fast[place], self.slow[place] = before.decayed_28d, before.decayed_104d
        self.first_at[place] = midnight - before.first_days.astype(np.float64)
        self.last_at[place] = midnight - before.last_days.astype(np.float64)
        self._mark = np.zeros(len(pairs), dtype=np.bool_)
        ages = np.arange(int(parts.day.max(initial=midnight)) - midnight + 2)
        self.fast_left, self.slow_left = (2.0 ** (-ages / half_life) for half_life in HALF_LIVES_DAYS)

    def of(self, users: Indices) -> tuple[Int64, Int64]:
        """Places of all that some users (ascending) have, and for each its user's position among them."""
        start, length = self.edges[users], self.edges[users + 1] - self.edges[users]
        at = np.repeat(np.arange(len(users)), length)
        place = np.arange(len(at)) - np.repeat(np.cumsum(length) - length, length) + np.repeat(start, length)
        known = self.n_days[place] > 0
        return place[known], at[known]

    def marked(self, place: Int64, chosen: Int64) -> Bool:
        """Which of some places are among the chosen ones."""
        self._mark[chosen] = True
        found: Bool = self._mark[place]
        self._mark[chosen] = False
        return found

    def columns(self, place: Int64, day: int) -> list[Floats]:
        """The seven features of own purchases, as of the midnight that begins a day."""
        age = day - self.anchor[place]
        return own_columns(
            np.ones(len(place)),
            self.n_days[place],
            np.maximum(self.slow[place] * self.slow_left[age], 0.0),
            np.maximum(self.fast[place] * self.fast_left[age], 0.0),
            np.maximum(day - self.last_at[place], 0.0),
            np.maximum(day - self.first_at[place], 0.0),
        )

    def add(self, parts: DayParts, rows: slice) -> None:
        """Take in a day; its sums stand at its end."""
        place, end = self.place_of_part[rows], int(parts.day[rows.start]) + 1
        age, is_new = end - self.anchor[place], self.n_days[place] == 0
        self.fast[place] = self.fast[place] * self.fast_left[age] + parts.decayed_28d[rows]
        self.slow[place] = self.slow[place] * self.slow_left[age] + parts.decayed_104d[rows]
        self.first_at[place] = np.where(is_new, parts.first_at[rows], self.first_at[place])
        self.last_at[place] = parts.last_at[rows]
        self.anchor[place] = end
        self.n_days[place] += 1
