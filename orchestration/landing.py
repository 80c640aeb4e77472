"""What the landing sensor decides, as pure functions: which files are complete, which days a run is about.

A file counts as complete when two looks, a tick apart, saw the same size and time of change. The cursor is a cache:
if it is lost or damaged, files wait one more tick, and the run key (a digest of the bytes) keeps a file from being
launched twice.
"""

import json
from collections.abc import Collection, Mapping
from datetime import date

from data.connectors import SourceFile
from data.contracts.schema import Frozen


class Look(Frozen):
    """What one tick saw of one file."""

    size: int
    """Bytes."""
    changed_ns: int
    """Time of change, nanoseconds since 1970."""
    sha256: str | None = None
    """Digest, once the file was complete."""


def read_cursor(text: str | None) -> dict[str, Look]:
    """The looks of the last tick; none if the cursor is absent or damaged.

    Args:
        text: the stored cursor.

    Returns:
        Path -> look.
    """
    try:
        found = json.loads(text or "{}")
        return {path: Look.model_validate(look) for path, look in found.items()}
    except (ValueError, AttributeError):
        return {}


def write_cursor(looks: Mapping[str, Look]) -> str:
    """The cursor for the next tick."""
    return json.dumps({path: look.model_dump() for path, look in sorted(looks.items())})


def is_complete(now: Look, before: Look | None) -> bool:
    """Whether a file has stopped growing: two looks agree and it is not empty."""
    return before is not None and now.size > 0 and (now.size, now.changed_ns) == (before.size, before.changed_ns)


def run_key(source: str, file: SourceFile) -> str:
    """What makes a launch unique: the source and the bytes, not the name."""
    return f"{source}:{file.sha256}"


def day_range(days: Collection[date], start: date, end: date) -> tuple[date, date]:
    """The partitions that a run covers: from the first to the last day of the calendar that a file touches.

    Args:
        days: days that stand in the file, in the calendar or not.
        start: first day of the calendar.
        end: last day of the calendar.

    Returns:
        First and last day; the calendar's first day if none of the days is in it, so that its rows are judged all the same.
    """
    inside = [d for d in days if start <= d <= end]
    return (min(inside), max(inside)) if inside else (start, start)
