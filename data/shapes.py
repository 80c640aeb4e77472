"""How the columns of a source differ from those that its shop file maps: told when that changes, kept with the rows."""

import json
from collections.abc import Callable, Collection, Iterable

from data.shop.mapping import Batch
from data.shop.staging import MISSING_KEY
from data.workspace import Workspace

SHOWN_COLUMNS = 20


class Shape:
    """The columns of one source as its last file had them."""

    def __init__(self, source: str, unmapped: Iterable[str] = (), absent: Iterable[str] = ()) -> None:
        """Begin with what was told before.

        Args:
            source: name of the source.
            unmapped: columns that the shop file does not map, of any file so far.
            absent: optional columns that the last file lacked.
        """
        self.source = source
        self.unmapped, self.absent = set(unmapped), set(absent)

    def tell(self, name: str, batch: Batch, tell: Callable[[str], None]) -> None:
        """Say what a file has, or lacks, that the files before it did not.

        Args:
            name: of the file or table.
            batch: what it holds.
            tell: receives a sentence for each difference.
        """
        self.tell_columns(name, batch.unmapped, batch.absent, tell)
        for key, (lines, first) in batch.lacking.items():
            tell(
                f"{self.source}: {name}: {lines:,} lines lack '{key}' (first in line {first}) and are set aside as "
                f"{MISSING_KEY}; map the key that they have instead, or mark the column optional: true"
            )

    def tell_columns(
        self, name: str, unmapped: Collection[str], absent: Collection[str], tell: Callable[[str], None]
    ) -> None:
        """Say which columns are left out or empty, and were not before."""
        if new := set(unmapped) - self.unmapped:
            left_out = "has columns that the shop file does not map and that are left out"
            tell(f"{self.source}: {name} {left_out}: {_listed(new)}")
        if gone := set(absent) - self.absent:
            tell(f"{self.source}: {name} lacks optional columns, which are empty: {_listed(gone)}")
        self.unmapped |= set(unmapped)
        self.absent = set(absent)

    def notes(self) -> dict[str, str]:
        """Facts for the commit of the rows."""
        found = {"unmapped_columns": self.unmapped, "absent_columns": self.absent}
        return {name: json.dumps(sorted(columns), ensure_ascii=False) for name, columns in found.items()}


def shape_of(workspace: Workspace, source: str) -> Shape:
    """The shape of a source as its raw table knows it."""
    found = workspace.lake.published(workspace.raw(source).key)
    notes = found.notes if found else {}
    return Shape(source, *(json.loads(notes.get(name, "[]")) for name in ("unmapped_columns", "absent_columns")))


def _listed(columns: Collection[str]) -> str:
    shown = ", ".join(f"'{column}'" for column in sorted(columns)[:SHOWN_COLUMNS])
    return shown + (f" and {len(columns) - SHOWN_COLUMNS} more" if len(columns) > SHOWN_COLUMNS else "")
