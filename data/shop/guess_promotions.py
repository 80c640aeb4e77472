"""Whether a file says what was promoted where and when, from the names of its columns and some of their values."""

import datetime as dt
import re
from collections import Counter
from collections.abc import Mapping

from data.shop.sniff import Sniffed
from data.shop.times import time_format
from data.shop.words import plain

WEEK_ONE = "1970-01-05"
"""Stands in a draft for the day on which week 1 begins, until the days of the data are known."""
_ABOUT = r"(valid|promo|promotion|offer|campaign|week)?_?"
_WHEN = r"(_?(on|at|date|day|time|utc))*"
_NAMES = (
    ("week", r"(week|wk)(_?(no|nr|num|number|id))?|week_of_year"),
    ("start", rf"{_ABOUT}(from|start|starts|begin|begins){_WHEN}"),
    ("end", rf"{_ABOUT}(to|until|till|end|ends|thru){_WHEN}"),
    ("display", r".*display.*|end_?cap|endcap"),
    ("mailer", r".*(mailer|flyer|flier|leaflet|circular|brochure).*|featured?|advertised|(on|in)_?ad"),
    ("promoted", r"(is_?)?(on_?)?(promo|promotion|promoted)(_?(type|kind|flag))?"),
)
_MOST_WEEKS = 1000


def promotion_roles(sniffed: Sniffed, roles: Mapping[str, list[str]]) -> tuple[dict[str, list[str]], list[str]] | None:
    """Give roles to the columns of a file that looks like promotions.

    Args:
        sniffed: One of the files, with column names.
        roles: What its columns are by themselves.

    Returns:
        Roles (item_id, place, week, start, end, display, mailer; of each the best column first) and doubts; None for a
        file that names people, or that lacks an item, a time, or what tells that something is promoted.
    """
    if "item_id" not in roles or "user_id" in roles or "cookie_id" in roles:
        return None
    found: dict[str, list[str]] = {role: roles[role] for role in ("item_id", "place") if role in roles}
    for name in sniffed.shape.names:
        role = next((role for role, pattern in _NAMES if re.fullmatch(pattern, plain(name))), None)
        if (
            role
            and sniffed.values[name]
            and (role not in ("week", "start", "end") or _fits(role, sniffed.values[name]))
        ):
            found.setdefault(role, []).append(name)
    doubts = []
    promoted = found.pop("promoted", [])
    if promoted and not found.keys() & {"display", "mailer"}:
        found["mailer"] = promoted
        doubts.append(f"mailer: {promoted[0]} says that something is promoted, not how; it may be display instead")
    if "start" not in found and "week" not in found and roles.get("time") and "end" not in found:
        found["start"] = roles["time"]
    if not found.keys() & {"display", "mailer"} or not found.keys() & {"week", "start"}:
        return None
    return found, doubts


def is_of_days(sniffed: Sniffed, column: str) -> int:
    """Guess how many days lie between two times of a column: 7 where all are whole weeks apart, else 1."""
    form = time_format(sniffed.values[column], is_named=True)
    days = {day for value in sniffed.values[column] if form and (day := _day(value, form[0]))}
    return 7 if len(days) > 1 and all((day - min(days)).days % 7 == 0 for day in days) else 1


def first_week(sniffed: Sniffed, week: str, time: str, form: str) -> dt.date | None:
    """Find the day on which week 1 begins, from events that tell both their week and their time.

    Args:
        sniffed: A file of events.
        week: Its column of the number of the week.
        time: Its column of the time.
        form: How the time is written.

    Returns:
        The day that most rows agree with, of several the one that is a Monday, then the earliest; None without rows.
    """
    at, to = sniffed.shape.names.index(week), sniffed.shape.names.index(time)
    votes: Counter[dt.date] = Counter()
    for row in sniffed.rows:
        number, day = row[at], _day(row[to] or "", form)
        if day and number and number.isdigit() and 1 <= int(number) <= _MOST_WEEKS:
            begins = day - dt.timedelta(weeks=int(number) - 1)
            votes.update(begins - dt.timedelta(days=back) for back in range(7))
    return min(votes, key=lambda day: (-votes[day], day.weekday() != 0, day)) if votes else None


def _fits(role: str, values: list[str]) -> bool:
    if role == "week":
        return all(re.fullmatch(r"\d{1,4}(\.0)?", value) and 1 <= float(value) <= _MOST_WEEKS for value in values)
    return time_format(values, is_named=True) is not None


def _day(value: str, form: str) -> dt.date | None:
    try:
        if form == "iso":
            return dt.date.fromisoformat(value.strip()[:10])
        if form.startswith("unix"):
            scale = {"unix_s": 1, "unix_ms": 1_000, "unix_us": 1_000_000}[form]
            return dt.datetime.fromtimestamp(float(value) / scale, dt.UTC).date()
        return dt.datetime.strptime(value.strip(), form).date()
    except ValueError:
        return None
