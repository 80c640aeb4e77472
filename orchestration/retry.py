"""After a fix of the shop file or of a file: one run, and what entered and what remains, reason by reason."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

import dagster as dg
from dagster import DagsterInstance

from data.quarantine import CLEAN, counts
from data.workspace import Workspace
from orchestration.definitions import build_defs
from orchestration.launch import Ran, execute


@dataclass(frozen=True)
class Standing:
    """Rows that are in and rows that are set aside, at one moment."""

    entered: Mapping[str, int]
    """Contract key of a clean table -> rows."""
    aside: Mapping[tuple[str, str], int]
    """(Contract key, reason) -> rows that the published version sets aside."""
    waiting: Mapping[tuple[str, str], int]
    """The same for what has landed but is not published."""


@dataclass(frozen=True)
class Retried:
    """What a retry came to."""

    ran: Ran
    """The run."""
    before: Standing
    """Before the fix."""
    after: Standing
    """After the run."""

    @property
    def lines(self) -> list[tuple[str, str, int, int, int, int]]:
        """Table, reason; rows that the published version sets aside, before and after; rows that wait, likewise."""
        sides = (self.before.aside, self.after.aside, self.before.waiting, self.after.waiting)
        keys = sorted({key for side in sides for key in side})
        return [(*key, *(side.get(key, 0) for side in sides)) for key in keys]  # type: ignore[misc]


def standing(workspace: Workspace) -> Standing:
    """How the shop stands now."""
    published = {contract.key: workspace.lake.published(contract.key) for contract in CLEAN.values()}

    def by_reason(waiting: bool) -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        for row in counts(workspace, waiting=waiting):
            key = (row["table"], row["reason"])
            found[key] = found.get(key, 0) + row["n"]
        return found

    return Standing(
        entered={key: one.rows if one else 0 for key, one in published.items()},
        aside=by_reason(False),
        waiting=by_reason(True),
    )


def follows_from(workspace: Workspace, source: str) -> list[dg.AssetKey]:
    """The raw table of a source, and everything that is made from it."""
    graph = build_defs(workspace).resolve_asset_graph()
    raw = dg.AssetKey(workspace.raw(source).key.split("."))
    return sorted(dg.AssetSelection.assets(raw).downstream().resolve(graph))


def retry(
    workspace: Workspace,
    instance: DagsterInstance,
    out: TextIO,
    fix: Callable[[], object] | None = None,
    only: Sequence[dg.AssetKey] | None = None,
) -> Retried:
    """Fix, run what became stale, and compare. The shop's lock must be held.

    Args:
        workspace: the shop.
        instance: where the run is recorded.
        out: where progress goes.
        fix: changes what is landed, in one commit; None: the fix stands in the shop file or in the files already.
        only: run these assets only; see `follows_from`.

    Returns:
        Before, after, and the run.

    Raises:
        ShopError, SourceError: see `launch.days_to_run`; and whatever `fix` raises.
    """
    before = standing(workspace)
    if fix is not None:
        fix()
    ran = execute(workspace, instance, out, only=only)
    return Retried(ran=ran, before=before, after=standing(workspace))
