"""Taking landed files back, and putting a corrected delivery in the place of an earlier one.

A raw table holds each file once, told by its digest. Here a file's rows leave again, in the same atomic commit that
puts down who did it, when and why. That record stands in every later commit of the table, so that the file is not
read again although it may still lie in its folder. Exactly the days that held its rows become stale.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from data.connectors import SourceFile, resolve_files
from data.contracts.schema import Frozen
from data.gate import Made, gate
from data.ingest import landed_rows
from data.shop.errors import ShopError
from data.withdrawn import Action, Note, record, withdrawn
from data.workspace import Workspace


class Held(Frozen):
    """One file that a raw table holds."""

    source: str
    """Source."""
    file: str
    """Name when it landed."""
    sha256: str
    """Digest."""
    n_rows: int
    """Rows."""
    first_day: date | None = None
    """First day with a row of it."""
    last_day: date | None = None
    """Last day with a row of it."""

    def __str__(self) -> str:
        """For a sentence that lists files."""
        days = f", {self.first_day} to {self.last_day}" if self.first_day else ""
        return f"{self.file} {self.sha256[:12]} ({self.n_rows:,} rows{days})"


def held_files(workspace: Workspace, source: str) -> list[Held]:
    """The files that the raw table of a source holds, by name."""
    contract = workspace.raw(source)
    timed = "nullif(day, date '1970-01-01')" if contract.partition_by else "cast(null as date)"
    sql = f"""
        select source, file, file_sha256 as sha256, count(*) as n_rows, min({timed}) as first_day,
            max({timed}) as last_day
        from {contract.key} group by source, file, file_sha256 order by file, first_day, sha256
    """
    with workspace.engine.session() as session:
        session.attach(contract, workspace.lake)
        return [Held.model_validate(row) for row in session.query(sql).to_pylist()]


def take_back(workspace: Workspace, file: str, *, by: str, why: str, source: str | None = None) -> Held:
    """Take the rows of one landed file out of its raw table for good.

    Args:
        workspace: the shop; its lock is held.
        file: name of the file, or the beginning of its digest, at least 8 characters.
        by: who wants it.
        why: the reason, for the record; no personal data.
        source: the source, where names do not tell.

    Returns:
        The file as it was held.

    Raises:
        ShopError: if no file or several files match, or no reason is given.
    """
    _has_reason(why)
    found = _one(workspace, file, [h for s in _sources(workspace, source) for h in held_files(workspace, s)])
    contract = workspace.raw(found.source)
    note = _note("taken back", found, by, why)
    workspace.lake.replace_files(contract, contract.arrow_schema().empty_table(), [found.sha256], fact=_fact(note))
    return found


def allow_again(workspace: Workspace, file: str, *, by: str, why: str, source: str | None = None) -> Held:
    """Let a file that was taken back be read again, if it still lies in its folder.

    Args:
        workspace: the shop; its lock is held.
        file: name or beginning of the digest of a file that was taken back or replaced.
        by: who wants it.
        why: the reason, for the record.
        source: the source, where names do not tell.

    Returns:
        The file.

    Raises:
        ShopError: if no file or several files match, or no reason is given.
    """
    _has_reason(why)
    gone = []
    for name in _sources(workspace, source):
        key = workspace.raw(name).key
        notes = {n.sha256: n for n in record(workspace.lake, key) if n.sha256 in withdrawn(workspace.lake, key)}
        gone += [Held(source=name, file=n.file, sha256=n.sha256, n_rows=n.n_rows) for n in notes.values()]
    found = _one(workspace, file, gone, "was taken back")
    contract = workspace.raw(found.source)
    note = _note("allowed again", found.model_copy(update={"n_rows": 0}), by, why)
    workspace.lake.replace_files(contract, contract.arrow_schema().empty_table(), [found.sha256], fact=_fact(note))
    return found


def replace(
    workspace: Workspace,
    file: str,
    *,
    by: str,
    why: str,
    source: str | None = None,
    replaces: str | None = None,
) -> tuple[Held, SourceFile]:
    """Put a corrected delivery in the place of the file of the same name that was landed before.

    What is replaced is a held file of that name whose bytes lie nowhere in the source any more. A name that is used
    again for new data (today.csv) has several of them, and then one must be named: nothing is guessed.

    Args:
        workspace: the shop; its lock is held.
        file: name of the corrected file, or the end of its path where several files have that name.
        by: who wants it.
        why: the reason, for the record.
        source: the source, where names do not tell.
        replaces: beginning of the digest of the file that is replaced.

    Returns:
        The file that left, and the file that stands in its place.

    Raises:
        ShopError: if it is not clear which file is meant, or there is nothing to replace.
        SourceError: if the corrected file cannot be read.
        Refused: if its rows do not meet the raw contract.
    """
    _has_reason(why)
    name, found, present = _corrected(workspace, file, source)
    contract = workspace.raw(name)
    if found.sha256 in withdrawn(workspace.lake, contract.key):
        raise ShopError(f"{file}: these very bytes were taken back; allow them again with `portrait take-back --undo`.")
    held = held_files(workspace, name)
    old = [h for h in held if h.file == found.name and h.sha256 not in present]
    if replaces:
        gone = _one(workspace, replaces, [h for h in held if h.sha256 != found.sha256])
    elif len(old) == 1:
        [gone] = old
    elif not old:
        raise ShopError(
            f"{file}: source '{name}' holds no earlier version of it, so there is nothing to replace; `portrait run` "
            "lands a new file."
        )
    else:
        raise ShopError(
            f"{file}: source '{name}' holds several files of that name: {'; '.join(map(str, old))}; "
            "name the one that is replaced with --replaces DIGEST."
        )
    is_held = any(h.sha256 == found.sha256 for h in held)
    rows = contract.arrow_schema().empty_table() if is_held else landed_rows(workspace, name, found)
    with workspace.engine.session() as session:
        gate(workspace, contract, Made(data=rows), session)
    note = _note("replaced", gone, by, why, found.sha256)
    workspace.lake.replace_files(contract, rows, [gone.sha256], fact=_fact(note))
    return gone, found


def _corrected(workspace: Workspace, file: str, source: str | None) -> tuple[str, SourceFile, set[str]]:
    """Source and file of the corrected delivery, and the digests of all files of that source."""
    digests = workspace.digests
    listed = {
        name: resolve_files(workspace.shop, name, workspace.landing, digests=digests)
        for name in _sources(workspace, source)
    }
    matching = [(n, f) for n, files in listed.items() for f in files if f"/{f.path}".endswith(f"/{file}")]
    if len(matching) != 1:
        said = "lies in no folder of a source" if not matching else "is several files"
        places = ": " + "; ".join(f.path for _, f in matching) if matching else ""
        raise ShopError(f"{file}: {said}{places}; name one by the end of its path, and its source with --source.")
    [(name, found)] = matching
    return name, found, {f.sha256 for f in listed[name]}


def _sources(workspace: Workspace, source: str | None) -> Sequence[str]:
    if source is None:
        return list(workspace.shop.sources)
    if source not in workspace.shop.sources:
        known = ", ".join(workspace.shop.sources)
        raise ShopError(f"{workspace.shop.location}: there is no source '{source}'; name one of {known}.")
    return [source]


def _one(workspace: Workspace, file: str, files: Sequence[Held], was: str = "was landed") -> Held:
    found = [h for h in files if h.file == file or (len(file) >= 8 and h.sha256.startswith(file.lower()))]
    if not found:
        raise ShopError(
            f"{file}: no file of that name or digest {was} in shop '{workspace.shop.name}'; `portrait quarantine show` "
            "names files with their digests, and a file that was never landed can simply be removed."
        )
    if len(found) > 1:
        by_digest = ["its digest"] if len({h.sha256 for h in found}) > 1 else []
        by_source = ["its source with --source"] if len({h.source for h in found}) > 1 else []
        listed = "; ".join(f"{h} of source {h.source}" for h in found)
        raise ShopError(f"{file}: that is several files: {listed}; name one by {' or '.join(by_digest + by_source)}.")
    return found[0]


def _has_reason(why: str) -> None:
    if not why.strip():
        raise ShopError("--why is empty; say in a few words why, it is kept with the table for good.")


def _note(action: Action, held: Held, by: str, why: str, replaced_by: str | None = None) -> Note:
    return Note(
        action=action,
        sha256=held.sha256,
        file=held.file,
        n_rows=held.n_rows,
        by=by,
        why=why.strip(),
        at_utc=datetime.now(UTC).isoformat(timespec="milliseconds"),
        replaced_by=replaced_by,
    )


def _fact(note: Note) -> dict[str, Any]:
    return note.model_dump(mode="json", exclude_none=True)
