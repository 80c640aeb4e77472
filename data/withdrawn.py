"""The record of landed files that were taken back or replaced: it stands in the commits of their raw table.

Written in the very commit that takes the rows out, repeated by every later one, so that it can neither be ahead of the
table nor behind it. How files are taken back is the business of `data.take_back`.
"""

from typing import Literal

from data.contracts.schema import Frozen
from data.lake import Lake

Action = Literal["taken back", "replaced", "allowed again"]


class Note(Frozen):
    """One line of the record."""

    action: Action
    """What was done."""
    sha256: str
    """Digest of the file that it was done to."""
    file: str
    """Its name when it landed."""
    n_rows: int
    """Rows that left the raw table."""
    by: str
    """Who did it."""
    why: str
    """Why, in that person's words."""
    at_utc: str
    """When, ISO 8601."""
    replaced_by: str | None = None
    """Digest of the corrected file."""


def record(lake: Lake, key: str) -> list[Note]:
    """What was ever done to files of a raw table, oldest first."""
    return [Note.model_validate(fact) for fact in lake.standing(key)]


def withdrawn(lake: Lake, key: str) -> set[str]:
    """Digests of the files that must not be read again."""
    last = {note.sha256: note.action for note in record(lake, key)}
    return {sha256 for sha256, action in last.items() if action != "allowed again"}
