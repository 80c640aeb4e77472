"""Arrays for learning: who had what as of an instant, and who took what in a period, for fitting, testing and serving.

With timestamps the periods are days: fit on the days before the test window, test on the window, serve as of the last
landed day. Without them each user's own items are dealt to periods by a keyed digest: which period an item falls into
depends on that user, that item and the declared seed alone.
"""

import hashlib
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.contracts.core import EVENTS, ITEMS
from data.contracts.features import DAILY, STATE
from data.contracts.schema import Frozen, Table
from data.engine import Session
from data.facet_sql import event_function, event_weight, state_sql
from data.features import as_of, days_between, end_of
from data.fingerprint import digest
from data.workspace import Workspace

Phase = Literal["fit", "test", "serve"]

STATE_COLUMNS = ("n_days", "decayed_28d", "decayed_104d", "first_at_utc", "last_at_utc")


class Periods(Frozen):
    """The days that everything learnt across users is read from, fixed by the shop file before data is seen."""

    fit: datetime
    """Features for fitting are as of this midnight; labels are the days from here to `test`."""
    test: datetime
    """End of the release's window; features for testing are as of this midnight, labels the days after it."""
    end: datetime
    """End of the test window."""
    windows: tuple[tuple[date, date], ...]
    """Windows that popularity is counted in, up to `fit` and up to `test`: [first day, day after the last)."""


WINDOW_DAYS = 28
"""Days of the labels' period and of each window of popularity: the privacy plan's constant, held equal by a test."""


def periods(workspace: Workspace, dues: Sequence[date] = ()) -> Periods:
    """The periods of a shop: those of the latest release that is due.

    A release is due once its own day has begun to land: then the days before it, which it reads, are complete.

    Args:
        workspace: the shop.
        dues: the days on which the privacy plan lets releases fall due, ascending; none for a plan of one release.

    Returns:
        The periods; for a shop without timestamps all of them are its one constant day.
    """
    shop = workspace.shop
    span = timedelta(days=WINDOW_DAYS)
    if shop.calendar is None:
        day = datetime(1970, 1, 2)
        window = (day.date(), end_of(day.date()).date())
        return Periods(
            fit=end_of(day.date()), test=end_of(day.date()), end=end_of(day.date()), windows=(window, window)
        )
    start, landed = shop.evaluation.test_start, as_of(workspace)
    if dues:
        start = max((day for day in dues if landed and day < landed.date()), default=dues[0])
    length = timedelta(days=shop.evaluation.test_days)
    if start is None:
        last = landed or datetime.combine(shop.calendar.start, time.min)
        start = (last - length).date()
    test = datetime.combine(start, time.min)
    windows = ((test - 2 * span).date(), (test - span).date()), ((test - span).date(), test.date())
    return Periods(fit=test - span, test=test, end=test + length, windows=windows)


class History:
    """Reads the item facet of the state, and what was taken, as index arrays over fixed users and items."""

    def __init__(self, workspace: Workspace, session: Session, spans: Periods, people: Table = DAILY) -> None:
        """Number the catalogue and the users.

        Args:
            workspace: the shop.
            session: a session; the tables are attached to it.
            spans: the periods.
            people: the table that says who there is; the state knows the same people as the days, in fewer rows.
        """
        self.workspace, self.session, self.spans = workspace, session, spans
        self.is_timed = workspace.shop.is_timed
        session.attach(ITEMS, workspace.lake)
        session.attach(STATE, workspace.lake)
        session.attach(DAILY, workspace.lake)
        items = session.query(f"select item_id, row_number() over (order by item_id) - 1 as i from {ITEMS.key}")
        users = session.query(
            f"select user_id, row_number() over (order by user_id) - 1 as u from "
            f"(select distinct user_id from {people.key} where facet = 'all')"
        )
        session.register("item_numbers", items)
        session.register("user_numbers", users)
        self.item_ids = session.query("select item_id from item_numbers order by i").column("item_id")
        self.user_ids = session.query("select user_id from user_numbers order by u").column("user_id")
        sells = any(
            "purchase" in {s.event_type.constant, *s.event_type.values.values()}
            for s in workspace.shop.sources.values()
            if s.event_type is not None
        )
        self.sells = sells
        self.taken = "quantity > 0e0" if sells else "decayed_104d > 0e0"

    def state(self, phase: Phase) -> dict[str, npt.NDArray[np.float64]]:
        """Every user's own items as of the phase's instant, sorted by user, then item.

        Args:
            phase: `fit`, `test` or `serve`.

        Returns:
            Arrays of one length: user_index, item_index, n_days, decayed_28d, decayed_104d, last_days, first_days (days
            from the last and first event to the instant, at least 0).
        """
        if not self.is_timed:
            return self._dealt(phase, is_label=False)[0]
        if phase == "serve":
            return self._numbered(STATE.key)
        return self.state_at({"fit": self.spans.fit, "test": self.spans.test}[phase])

    def state_at(self, instant: datetime) -> dict[str, npt.NDArray[np.float64]]:
        """As `state`, as of any midnight; only for a shop with timestamps."""
        self.session.attach(DAILY, self.workspace.lake, days=days_between(self.workspace, None, instant))
        self.session.define("history.items", f"select * from {DAILY.key} where facet = 'item'")
        self.session.materialise("state_then", state_sql(instant, days="history.items"))
        self.session.attach(DAILY, self.workspace.lake)
        return self._numbered("state_then")

    def taken_between(self, start: date, stop: date) -> pa.Table:
        """Distinct (user_id, item_id) of what users took in days [start, stop), in a fixed order."""
        days = [d for d in self.workspace.lake.day_versions(DAILY.key) if start <= d < stop]
        self.session.attach(DAILY, self.workspace.lake, days=days)
        found = self.session.query(
            f"select distinct user_id, key as item_id from {DAILY.key} where facet = 'item' and {self.taken} "
            "order by user_id, item_id"
        )
        self.session.attach(DAILY, self.workspace.lake)
        return found

    def named(self, state: dict[str, npt.NDArray[np.float64]]) -> pa.Table:
        """A state with ids in place of numbers, which do not shift when others come or go."""
        users = self.user_ids.take(pa.array(state["user_index"], pa.int64()))
        items = self.item_ids.take(pa.array(state["item_index"], pa.int64()))
        numbers = {name: column for name, column in state.items() if not name.endswith("_index")}
        return pa.table({"user_id": users, "item_id": items, **numbers})

    def labels(self, phase: Literal["fit", "test"]) -> pa.Table:
        """Distinct (user_id, item_id) that users took in the phase's labels' period, in a fixed order."""
        if not self.is_timed:
            return self._dealt(phase, is_label=True)[1]
        spans = self.spans
        return self.taken_between(
            *((spans.fit.date(), spans.test.date()) if phase == "fit" else (spans.test.date(), spans.end.date()))
        )

    def fit_labels(self) -> pa.Table:
        """The labels for fitting, in a fixed order; where they are of several types of event, by their weight.

        Where a shop sells, a label is a purchase, and there is one class. Elsewhere it is whatever speaks for an item:
        then `weight` is the declared weight of the weightiest type of event by which it does.

        Returns:
            user_id, item_id, and weight above 0 where the shop does not sell.
        """
        labels = self.labels("fit")
        if self.sells:
            return labels
        first, last = self.spans.fit.date(), self.spans.test.date()
        landed = self.workspace.lake.day_versions(EVENTS.key)
        days = [d for d in landed if first <= d < last or not self.is_timed]
        self.session.attach(EVENTS, self.workspace.lake, days=days)
        self.session.register("fit_labels", labels)
        return self.session.query(
            f"select l.user_id, l.item_id, max({event_weight()}) as weight from fit_labels l join {EVENTS.key} e "
            f"on e.user_id = l.user_id and e.item_id = l.item_id where {event_function()} > 0e0 "
            "group by l.user_id, l.item_id order by l.user_id, l.item_id"
        )

    def weighted(
        self, labels: pa.Table
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float64]]:
        """As `numbered`, and the weight of each pair; 1 where the labels have none."""
        if "weight" not in labels.column_names:
            user, item = self.numbered(labels)
            return user, item, np.ones(len(user))
        self.session.register("pairs", labels)
        found = self.session.query(
            "select u.u, i.i, p.weight from pairs p join user_numbers u on u.user_id = p.user_id "
            "join item_numbers i on i.item_id = p.item_id order by u.u, i.i"
        )
        user, item = (found.column(name).to_numpy().astype(np.int32) for name in ("u", "i"))
        return user, item, found.column("weight").to_numpy()

    def numbered(self, pairs: pa.Table) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """(user_id, item_id) pairs as user and item numbers; pairs of unknown items are left out."""
        self.session.register("pairs", pairs)
        found = self.session.query(
            "select u.u, i.i from pairs p join user_numbers u on u.user_id = p.user_id "
            "join item_numbers i on i.item_id = p.item_id order by u.u, i.i"
        )
        return (
            found.column("u").to_numpy().astype(np.int32),
            found.column("i").to_numpy().astype(np.int32),
        )

    def popular(self) -> list[pa.Table]:
        """What popularity is counted from: distinct (user_id, item_id) of each window, oldest first."""
        if not self.is_timed:
            return [self._dealt("fit", is_label=False)[1], self._dealt("test", is_label=False)[1]]
        return [self.taken_between(*window) for window in self.spans.windows]

    def _numbered(self, source: str) -> dict[str, npt.NDArray[np.float64]]:
        found = self.session.query(
            f"""
            select
                u.u as user_index,
                i.i as item_index,
                s.n_days,
                s.decayed_28d,
                s.decayed_104d,
                greatest(coalesce(date_diff('second', s.last_at_utc, s.as_of_utc) / 86400e0, 0e0), 0e0) as last_days,
                greatest(coalesce(date_diff('second', s.first_at_utc, s.as_of_utc) / 86400e0, 0e0), 0e0) as first_days
            from {source} s
            join user_numbers u on u.user_id = s.user_id
            join item_numbers i on i.item_id = s.key
            where s.facet = 'item'
            order by u.u, i.i
            """
        )
        return {name: found.column(name).to_numpy() for name in found.column_names}

    def _dealt(self, phase: Phase, is_label: bool) -> tuple[dict[str, npt.NDArray[np.float64]], pa.Table]:
        """Rows of one phase of a shop without timestamps: a user's items are dealt to fit labels, test or the rest."""
        evaluation = self.workspace.shop.evaluation
        whole = self._numbered(STATE.key)
        users = self.user_ids.take(pa.array(whole["user_index"], pa.int64()))
        items = self.item_ids.take(pa.array(whole["item_index"], pa.int64()))
        key = f"hold-out {evaluation.holdout_seed}".encode()
        draw = np.array(
            [
                int.from_bytes(hashlib.blake2b(f"{u}\n{i}".encode(), key=key, digest_size=8).digest()) / 2**64
                for u, i in zip(users.to_pylist(), items.to_pylist(), strict=True)
            ]
        )
        share = evaluation.holdout_share
        is_test = draw < share
        is_fit = (draw >= share) & (draw < 2 * share)
        kept = {
            ("fit", False): ~is_test & ~is_fit,
            ("fit", True): is_fit,
            ("test", False): ~is_test,
            ("test", True): is_test,
            ("serve", False): np.ones(len(draw), bool),
        }[phase, is_label]
        mask = pa.array(kept)
        return {name: column[kept] for name, column in whole.items()}, pa.table(
            {"user_id": users.filter(mask), "item_id": items.filter(mask)}
        )


def rows_digest(*tables: pa.Table) -> str:
    """Digest of what a release reads, by content and order, the same on every version of every library.

    Args:
        tables: columns of texts without line breaks, or of numbers; no nulls.

    Returns:
        32 hexadecimal characters.
    """
    hasher = hashlib.sha256()
    for table in tables:
        for name in table.column_names:
            column = table.column(name)
            is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
            content = "\n".join(column.to_pylist()).encode() if is_text else column.to_numpy().tobytes()
            hasher.update(f"{name} {table.num_rows}\n".encode() + content)
    return digest(hasher.hexdigest())
