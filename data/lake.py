"""The lake: every published table is a Delta table, written whole or by day, in one atomic commit.

What is published was audited before; a reader sees the last good version until the next one is complete.
Versions are of content: a table that is made again with the same content keeps its version, so nothing
downstream is made again.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake

from data.contracts.schema import Frozen, Table
from data.delta_log import REMOVED_ARE_KNOWN, Snapshots, data_commits, log_properties
from data.fingerprint import content_digest, digest
from data.lake_errors import reaching
from data.row_file import RowFile, Rows

if TYPE_CHECKING:
    import pyarrow.dataset as ds

S3_OPTIONS = {"aws_conditional_put": "etag", "allow_http": "true"}
"""A commit is a PUT that fails if the version exists; http is used only if the endpoint says so. The rest: AWS_*."""


STANDING = "standing"
"""The note that every later commit of a table repeats: facts that hold for good, a JSON list that only grows."""

LOOK_BACK = 50
"""Commits in which standing facts are looked for: two writers at once cannot lose each other's."""


class Published(Frozen):
    """What the last commit of a table says about it."""

    key: str
    """Contract key."""
    version: int
    """Delta version, for time travel."""
    content: str
    """Digest of the content (whole tables) or of the active files (tables partitioned by day)."""
    fingerprint: str
    """Digest of everything the content was made from: inputs, code, configuration."""
    rows: int
    """Rows in the table."""
    notes: Mapping[str, str]
    """What else the writer put down: run, ledger sequence, release version."""


class Lake:
    """Delta tables under one root, addressed by contract."""

    def __init__(self, root: str, storage_options: Mapping[str, str] | None = None) -> None:
        """Open the lake.

        Args:
            root: folder or object-store URL; tables live at `root/layer/name`.
            storage_options: options of the object store, as deltalake takes them.
        """
        self.root = root.rstrip("/")
        self.storage_options = {**(S3_OPTIONS if root.startswith("s3://") else {}), **(storage_options or {})}
        self._snapshots = Snapshots(self.storage_options)

    @property
    def is_remote(self) -> bool:
        """Whether the tables are in an object store, so that their files have no local path."""
        return "://" in self.root

    def uri(self, key: str) -> str:
        """Where the table of a contract key lives."""
        return f"{self.root}/{key.replace('.', '/')}"

    def open(self, key: str) -> DeltaTable | None:
        """The newest snapshot of a Delta table, or None before its first publication.

        Raises:
            LakeError: if the place cannot be reached.
        """
        with reaching(self.uri(key)):
            return self._snapshots.newest(self.uri(key))

    def files(self, key: str, days: Collection[date] | None = None) -> list[str]:
        """Parquet files of the last version, or of only some days of it, for an engine to read."""
        table = self.open(key)
        if table is None:
            return []
        files = sorted(unquote(file) for file in table.file_uris())  # a folder's name may have a space
        if days is None:
            return files
        folders = {f"/day={d.isoformat()}/" for d in days}
        return [f for f in files if f[f.rindex("/day=") : f.rindex("/") + 1] in folders]

    def dataset(self, key: str, days: Collection[date] | None = None) -> "ds.Dataset | None":
        """The last version, or only some days of it, as a dataset that is read through Delta's own object store.

        Raises:
            LakeError: if the place cannot be reached.
        """
        table = self.open(key)
        if table is None:
            return None
        if days is None:
            return table.to_pyarrow_dataset()
        if not days:
            return None
        return table.to_pyarrow_dataset(file_pruning_predicate=[("day", "in", [d.isoformat() for d in days])])

    def columns(self, key: str) -> set[str]:
        """Columns of the last version; none before the first publication."""
        table = self.open(key)
        return {field.name for field in table.schema().fields} if table is not None else set()

    def published(self, key: str) -> Published | None:
        """What the last data commit says, or None before the first publication."""
        table = self.open(key)
        if table is None:
            return None
        actions = pa.table(table.get_add_actions(flatten=True))
        last: dict[str, Any] = next(data_commits(table), {"portrait": "{}", "version": table.version()})
        notes = json.loads(last["portrait"])
        files = digest(sorted(actions.column("path").to_pylist()))
        return Published(
            key=key,
            version=last["version"],
            content=notes.pop("content", None) or files,
            fingerprint=notes.pop("fingerprint", ""),
            rows=sum(actions.column("num_records").to_pylist()),
            notes=notes,
        )

    def day_versions(self, key: str) -> dict[date, str]:
        """Digest of the active files of each day of a table partitioned by day."""
        table = self.open(key)
        if table is None:
            return {}
        actions = pa.table(table.get_add_actions(flatten=True))
        paths: dict[date, list[str]] = {}
        for day, path in zip(
            actions.column("partition.day").to_pylist(), actions.column("path").to_pylist(), strict=True
        ):
            paths.setdefault(day, []).append(path)
        return {day: digest(sorted(found)) for day, found in sorted(paths.items())}

    def publish(
        self,
        contract: Table,
        data: pa.Table,
        *,
        fingerprint: str,
        days: Sequence[date] | None = None,
        notes: Mapping[str, str] | None = None,
    ) -> Published:
        """Publish audited data in one atomic commit.

        Args:
            contract: whose schema `data` is cast to exactly.
            data: the whole table, or all rows of `days`.
            fingerprint: digest of everything that `data` was made from.
            days: for a table partitioned by day, the days that are replaced, present in `data` or not.
            notes: further facts for the commit.

        Returns:
            What was published.

        Raises:
            ValueError: if a column is missing or unknown, a row is of a day not in `days`, or a
                day-partitioned table is written without naming days.
        """
        data = contract.conform(data)
        if (contract.partition_by is None) != (days is None):
            raise ValueError(f"{contract.key}: days to replace must be named exactly for tables partitioned by day")
        said = {"fingerprint": fingerprint, **(notes or {})}
        predicate = None
        if days is not None:
            _only_days(contract.key, data, days)
            if not days:
                found = self.published(contract.key)
                if found is not None:
                    return found
            predicate = _days_predicate(days)
        else:
            said["content"] = content_digest(data)
        self._write(contract, data, said, "overwrite", predicate)
        found = self.published(contract.key)
        assert found is not None, "a table that was just written exists"
        return found

    def append(
        self,
        contract: Table,
        data: Rows,
        *,
        fingerprint: str,
        notes: Mapping[str, str] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Add audited rows to a table in one atomic commit.

        Args:
            contract: whose schema `data` is cast to exactly; a file must have it.
            data: rows that the table does not hold yet.
            fingerprint: digest of what `data` was made from.
            notes: further facts for the commit.
            overwrite: the rows replace everything that the table holds.

        Raises:
            ValueError: if a column is missing or unknown.
        """
        said = {"fingerprint": fingerprint, **(notes or {})}
        given = data.reader() if isinstance(data, RowFile) else contract.conform(data)
        self._write(contract, given, said, "overwrite" if overwrite else "append", None)

    def vacuum(self, contract: Table) -> int:
        """Delete the files that no version of the last `history_days` refers to.

        Args:
            contract: whose table; without `history_days`, nothing is deleted.

        Returns:
            Number of files deleted.
        """
        table = self.open(contract.key)
        if table is None or contract.history_days is None:
            return 0
        if REMOVED_ARE_KNOWN not in table.metadata().configuration:  # made before this was said of every table
            table.alter.set_table_properties(log_properties(contract))
            table = DeltaTable(table.table_uri, storage_options=self.storage_options or None)
        hours = 24 * contract.history_days
        # Delta holds shorter times than a week to be unsafe for writers at work; none of ours takes a day.
        return len(table.vacuum(hours, dry_run=False, enforce_retention_duration=False))

    def replace_files(
        self, contract: Table, data: pa.Table, gone: Collection[str], *, fact: Mapping[str, object]
    ) -> Published:
        """Take out all rows of some landed files and put others in their place, in one atomic commit.

        Days without such rows keep their files, and so their versions.

        Args:
            contract: of a raw table, with `file_sha256`, that is published.
            data: rows of landed files that the table may hold already; may be empty.
            gone: digests of the files whose rows leave.
            fact: who did it and why; stands in this commit and in every later one.

        Returns:
            What was published.
        """
        data = contract.conform(data)
        files = sorted({*gone, *data.column("file_sha256").unique().to_pylist()})
        before = self.published(contract.key)
        kept = {k: v for k, v in before.notes.items() if k != STANDING} if before else {}
        facts = [*self.standing(contract.key), dict(fact)]
        said = {**kept, "fingerprint": digest(files, facts), STANDING: json.dumps(facts)}
        listed = ", ".join("'" + name.replace("'", "''") + "'" for name in files)
        self._write(contract, data, said, "overwrite", f"file_sha256 in ({listed})")
        found = self.published(contract.key)
        assert found is not None, "a table that was just written exists"
        return found

    def standing(self, key: str) -> list[dict[str, Any]]:
        """Standing facts of a table, oldest first; see `STANDING`."""
        table = self.open(key)
        found: dict[str, dict[str, Any]] = {}
        commits = islice(data_commits(table), LOOK_BACK) if table is not None else ()
        for commit in reversed(list(commits)):
            notes = json.loads(commit["portrait"])
            found |= {json.dumps(fact, sort_keys=True): fact for fact in json.loads(notes.get(STANDING, "[]"))}
        return list(found.values())

    def _write(
        self,
        contract: Table,
        data: pa.Table | pa.RecordBatchReader,
        said: Mapping[str, str],
        mode: str,
        predicate: str | None,
    ) -> None:
        if STANDING not in said and (facts := self.standing(contract.key)):
            said = {**said, STANDING: json.dumps(facts)}
        options: dict[str, Any] = {"mode": mode}
        if self.open(contract.key) is not None:
            if predicate:
                options["predicate"] = predicate
            # A contract may gain a column: other days lack it until they are made again.
            options["schema_mode"] = "overwrite" if mode == "overwrite" and predicate is None else "merge"
        with reaching(self.uri(contract.key)):
            write_deltalake(
                self.uri(contract.key),
                data,
                partition_by=[contract.partition_by] if contract.partition_by else None,
                name=contract.key,
                description=contract.doc,
                commit_properties=CommitProperties(custom_metadata={"portrait": json.dumps(said, sort_keys=True)}),
                storage_options=self.storage_options or None,
                configuration=log_properties(contract),
                **options,
            )


def _only_days(key: str, data: pa.Table, days: Iterable[date]) -> None:
    extra = set(data.column("day").unique().to_pylist()) - set(days)
    if extra:
        raise ValueError(f"{key}: rows of {sorted(map(str, extra))} came with a publication of other days")


def _days_predicate(days: Sequence[date]) -> str:
    return "day in (" + ", ".join(f"'{d.isoformat()}'" for d in sorted(set(days))) + ")"
