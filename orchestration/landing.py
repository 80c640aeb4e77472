"""What the landing sensor decides, as pure functions: which files are complete, which days a run is about.

A file counts as complete when two looks, a tick apart, saw the same size and time of change, or the same mark on S3.
The cursor is a cache: if it is lost or damaged, files wait one more tick, and the run key (a digest of the bytes)
keeps a file from being launched twice.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from datetime import date

from pydantic import Field

from data.contracts.schema import Frozen


class Look(Frozen):
    """What one tick saw of one file."""

    size: int = Field(ge=0, strict=True)
    """Bytes."""
    changed_ns: int = Field(strict=True)
    """Time of change, nanoseconds since 1970; 0 for a file on S3."""
    mark: str | None = None
    """Of a file on S3: what its server says changes with the bytes."""
    identity: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """What the file was launched, or found to be known, as; None before that."""


def read_cursor(text: str | None) -> dict[str, Look]:
    """The looks of the last tick, without those that are damaged; none if the cursor is absent or no cursor at all.

    Args:
        text: the stored cursor.

    Returns:
        Path below the landing folder, or source and URL -> look.
    """
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    looks: dict[str, Look] = {}
    for path, look in found.items() if isinstance(found, dict) else ():
        try:
            looks[path] = Look.model_validate(look)
        except ValueError:
            continue
    return looks


def write_cursor(looks: Mapping[str, Look]) -> str:
    """The cursor for the next tick."""
    return json.dumps({path: look.model_dump(exclude_none=True) for path, look in sorted(looks.items())})


def is_same(now: Look, before: Look | None) -> bool:
    """Whether a file has not moved between two looks: then it is complete."""
    if before is None:
        return False
    return (now.size, now.changed_ns, now.mark) == (before.size, before.changed_ns, before.mark)


def identity_of(path: str, look: Look, sha256: str | None) -> str:
    """What a file is told by: its bytes, not its name; a delivery without readable bytes by its name and time.

    Args:
        path: below the landing folder, or source and URL.
        look: the look that found it complete.
        sha256: digest of the bytes; None if they cannot be read.

    Returns:
        64 hexadecimal characters.
    """
    if sha256 is not None and look.size > 0:
        return sha256
    return hashlib.sha256(f"{path}\n{look.size}\n{look.mark or look.changed_ns}".encode()).hexdigest()


def run_key(source: str, identity: str) -> str:
    """What makes a launch unique: the source and the identity of the file."""
    return f"{source}:{identity}"


def day_range(days: Collection[date], start: date, end: date) -> tuple[date, date]:
    """The partitions that a run covers: from the first to the last day of the calendar that a file touches.

    Args:
        days: days that the file touches, in the calendar or not.
        start: first day of the calendar.
        end: last day of the calendar.

    Returns:
        First and last day; the calendar's first day twice if none of the days is in it: rows without a day of the
        calendar are judged in every run.
    """
    inside = [d for d in days if start <= d <= end]
    return (min(inside), max(inside)) if inside else (start, start)
