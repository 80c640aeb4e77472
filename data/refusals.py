"""Batches that a gate refused and that still stand: one small file a table, beside the lake, for the quality page.

The lake holds only what passed, so that a refusal leaves no trace there. A refusal ends when its table comes through
a run that covers all the days that the refused run was about.
"""

import json
import os
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from data.build import Refused
from data.contracts.schema import Frozen
from data.verdicts import Verdict
from data.workspace import Workspace


class Refusal(Frozen):
    """One refused batch."""

    table: str
    """Contract key."""
    run_id: str
    """The run that it was refused in."""
    at_utc: str
    """When, ISO 8601."""
    verdicts: tuple[Verdict, ...]
    """Everything that the gate found."""
    first_day: date | None = None
    """First day that the run was about, of a table partitioned by day."""
    last_day: date | None = None
    """Last day."""

    @property
    def failed(self) -> tuple[Verdict, ...]:
        """The verdicts because of which it was refused: those that stop a batch."""
        stops = [v for v in self.verdicts if not v.passed and getattr(v, "severity", "critical") == "critical"]
        return tuple(stops)


def refusal_of(refused: Refused, run_id: str, days: Sequence[date]) -> Refusal:
    """What is kept of a refusal.

    Args:
        refused: the error.
        run_id: of the run.
        days: days that the run was about; none for a table without.
    """
    return Refusal(
        table=refused.key,
        run_id=run_id,
        at_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        verdicts=refused.verdicts,
        first_day=min(days, default=None),
        last_day=max(days, default=None),
    )


def keep(workspace: Workspace, refusal: Refusal) -> None:
    """Put a refusal down; it replaces an older one of its table, but never forgets that one's days."""
    before = _read(_path(workspace, refusal.table))
    if before and before.first_day and before.last_day and refusal.first_day and refusal.last_day:
        first, last = min(before.first_day, refusal.first_day), max(before.last_day, refusal.last_day)
        refusal = refusal.model_copy(update={"first_day": first, "last_day": last})
    path = _path(workspace, refusal.table)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(refusal.model_dump_json(), encoding="utf-8")
    os.replace(temporary, path)


def clear(workspace: Workspace, key: str, days: Sequence[date]) -> None:
    """A table came through a run: its refusal ends if the run was about all days of it.

    Args:
        workspace: the shop.
        key: contract key.
        days: days that the run was about; none for a table without.
    """
    path = _path(workspace, key)
    found = _read(path)
    if found is None:
        return
    if (
        found.first_day
        and found.last_day
        and not (days and min(days) <= found.first_day and max(days) >= found.last_day)
    ):
        return
    path.unlink(missing_ok=True)


def standing(workspace: Workspace) -> dict[str, Refusal]:
    """Contract key -> the refusal that stands."""
    paths = sorted((workspace.home / "refusals").glob("[!.]*.json"))
    return {one.table: one for one in map(_read, paths) if one is not None}


def _path(workspace: Workspace, key: str) -> Path:
    return workspace.home / "refusals" / f"{key}.json"


def _read(path: Path) -> Refusal | None:
    """A refusal; None if there is none, or its file is damaged (a crash of the machine): it says nothing then."""
    try:
        return Refusal.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return None
