"""The log of a Delta table: how long it keeps what, and reading it no more often or further back than a question needs.

A log grows by one file a commit, and a run asks some ten tables nearly a hundred questions: to read the log for each
question would make every landed file dearer than the one before it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from data.contracts.schema import Table

LOG_IS_KEPT = {"delta.logRetentionDuration": "interval 3650 days"}
"""Commits carry the notes by which a table is known to be up to date: they outlive the files that they replaced."""

REMOVED_ARE_KNOWN = "delta.deletedFileRetentionDuration"
"""For how long a checkpoint of the log still lists a file that was replaced or removed; Delta says a week."""

SLACK_DAYS = 365
"""For so long the clean-up may stand still: a file that the log lists no more would never be deleted."""

FIRST_LOOK = 8
"""Commits that are read first; nearly always the last one answers."""


class Snapshots:
    """The newest snapshots of Delta tables, each read once for as long as it is the newest.

    In a local folder the file of the last commit, and that there is no next one, tell that. Of an object store nothing
    is kept: to ask it would cost as much as to read.
    """

    def __init__(self, storage_options: Mapping[str, str]) -> None:
        """Keep what the store needs.

        Args:
            storage_options: as deltalake takes them.
        """
        self._options = dict(storage_options) or None
        self._held: dict[str, tuple[DeltaTable, tuple[int, ...]]] = {}

    def newest(self, uri: str) -> DeltaTable | None:
        """The table as its last commit left it; None if there is no table."""
        if (held := self._held.get(uri)) and held[1] == _mark(uri, held[0].version()):
            return held[0]
        self._held.pop(uri, None)
        try:
            table = DeltaTable(uri, storage_options=self._options)
        except TableNotFoundError:
            return None
        if mark := _mark(uri, table.version()):
            self._held[uri] = table, mark
        return table


def _mark(uri: str, version: int) -> tuple[int, ...] | None:
    """What the file of a commit looks like, if it is the last one of a local table."""
    if "://" in uri:
        return None
    commit, following = (Path(uri, "_delta_log", f"{number:020d}.json") for number in (version, version + 1))
    try:
        found = commit.stat()
    except OSError:
        return None
    return None if following.exists() else (found.st_ino, found.st_mtime_ns, found.st_size)


def data_commits(table: DeltaTable) -> Iterator[dict[str, Any]]:
    """Commits that published data, the newest first; clean-ups are none.

    Args:
        table: any table of the lake.

    Yields:
        What Delta says of each commit, and as `portrait` the notes of its writer; read as far back as is asked for.
    """
    n_seen, limit = 0, FIRST_LOOK
    while True:
        found = table.history(limit)
        yield from (commit for commit in found[n_seen:] if "portrait" in commit)
        if len(found) < limit:
            return
        n_seen, limit = limit, 4 * limit


def log_properties(contract: Table) -> dict[str, str]:
    """What Delta is told about the log of a table.

    Args:
        contract: of the table.

    Returns:
        Table properties of Delta.
    """
    if contract.history_days is None:
        return LOG_IS_KEPT
    return LOG_IS_KEPT | {REMOVED_ARE_KNOWN: f"interval {contract.history_days + SLACK_DAYS} days"}
