"""How a shop.yaml says when something happened, and from when to when it is valid."""

import datetime as dt
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Self
from zoneinfo import available_timezones

import duckdb
from pydantic import BeforeValidator, Field, model_validator

from data.contracts.schema import Frozen

UNIX_FORMATS: dict[str, int] = {"unix_s": 1, "unix_ms": 1_000, "unix_us": 1_000_000}
"""Numbers since 1970 -> how many of them make a second."""


def probe(sql: str, what: str) -> Callable[[Any], Any]:
    """Let DuckDB itself judge a pattern, since DuckDB is what will use it.

    Args:
        sql: Statement with one parameter, the pattern.
        what: What the pattern should be, for messages.

    Returns:
        A validator, which raises ValueError for a pattern that DuckDB refuses.
    """

    def check(pattern: Any) -> Any:
        if isinstance(pattern, str) and (fault := _fault_of(sql, pattern)):
            raise ValueError(f"'{pattern}' is no {what} ({fault})")
        return pattern

    return check


@lru_cache
def _fault_of(sql: str, pattern: str) -> str | None:
    try:
        with duckdb.connect() as connection:
            connection.execute(sql, [pattern])
    except duckdb.Error as error:
        return str(error).splitlines()[0].split(": ", 1)[-1]
    return None


def _zone(name: Any) -> Any:
    if isinstance(name, str) and name not in available_timezones():
        raise ValueError(f"'{name}' is no time zone; use an IANA name such as Europe/London or UTC")
    return name


def _time_format(value: Any) -> Any:
    if isinstance(value, str) and value not in ("iso", *UNIX_FORMATS):
        if "%" not in value:
            known = ", ".join(("iso", *UNIX_FORMATS))
            raise ValueError(f"'{value}' is no time format; use {known} or a pattern such as %d/%m/%Y")
        return probe("SELECT try_strptime('', ?)", "time pattern")(value)
    return value


Zone = Annotated[str, BeforeValidator(_zone)]
TimeFormat = Annotated[str, BeforeValidator(_time_format)]


class Time(Frozen):
    """When a row happened; in the YAML a column's name alone stands for ISO texts in the shop's time zone."""

    column: str
    """Source column."""
    format: TimeFormat = "iso"
    """iso (2019-10-01 00:00:00, with or without an offset or zone), unix_s, unix_ms, unix_us, or a strptime pattern."""
    timezone: Zone | None = None
    """Zone of times without an offset; null takes the shop's."""


class Validity(Frozen):
    """From when to when a promotion is valid: `start` and `end`, `start` and `days`, or `week` and `week_one`."""

    start: str | None = None
    """Source column of the first day, or of the instant at which it begins."""
    end: str | None = None
    """Source column of the last day, which counts whole, or of the instant at which it ends."""
    days: Annotated[int, Field(ge=1, le=3660)] | None = None
    """How many days each promotion lasts, from its start."""
    week: str | None = None
    """Source column of the number of a week."""
    week_one: dt.date | None = None
    """The day on which week 1 begins, which may lie before the first day of the data."""
    format: TimeFormat = "iso"
    """How `start` and `end` are written; see `Time.format`."""
    timezone: Zone | None = None
    """Zone in which days and weeks begin, and of times without an offset; null takes the shop's."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = {name for name in ("start", "end", "days", "week", "week_one") if getattr(self, name) is not None}
        if given not in ({"start", "end"}, {"start", "days"}, {"week", "week_one"}):
            raise ValueError("give `start` and `end`, or `start` and `days`, or `week` and `week_one`, and no more")
        if self.week is not None and self.format != "iso":
            raise ValueError("format: is for start and end, not for the number of a week; remove it")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The source columns that are read: of the beginning, then of the end where there is one."""
        return tuple(name for name in (self.start or self.week, self.end) if name is not None)
