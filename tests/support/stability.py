"""Two data sets that differ by all rows of one user, and what of other users is compared between them."""

import io
import shutil
from collections.abc import Collection
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from assets.release import RELEASE_TABLES
from data.contracts.schema import Table
from data.workspace import Workspace
from orchestration.launch import Ran, execute
from orchestration.summary import contracts_of

SHIFTS = ("input_version", "file_sha256", "line")
"""Columns that say where a row stood, or what a whole day was made from."""


def run(workspace: Workspace) -> Ran:
    """One run of the main job, recorded nowhere."""
    with dg.DagsterInstance.ephemeral() as instance:
        return execute(workspace, instance, io.StringIO())


def copy_releases(folder: Path, target: Path) -> None:
    """Give another data set the keys, the ledger and the releases of the lively shop: it then learns nothing anew."""
    for part in ("keys", "shops/lively/ledger.sqlite", "shops/lively/lake/model"):
        source, place = folder / "var" / part, target / "var" / part
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, place) if source.is_dir() else shutil.copy(source, place)


def table(workspace: Workspace, contract: Table) -> pa.Table:
    """All published rows, in order, but for `SHIFTS`."""
    names = ", ".join(f'"{name}"' for name in contract.names if name not in SHIFTS)
    with workspace.engine.session() as session:
        session.attach(contract, workspace.lake)
        return session.query(f"select {names} from {contract.key} order by all").combine_chunks()


def check_others(whole: Workspace, rest: Workspace, ids: Collection[str]) -> dict[str, int]:
    """Releases and public tables are equal, and so is every row of a `per_user` table that is not of these ids.

    Returns:
        Contract key of each `per_user` table -> how many rows of these ids the first data set has in it.

    Raises:
        AssertionError: naming the table and the first rows that differ.
    """
    removed = {}
    for contract in contracts_of(whole):
        left, right = table(whole, contract), table(rest, contract)
        if contract.key in RELEASE_TABLES or contract.privacy == "public":
            assert left.equals(right), contract.key
        elif contract.privacy == "per_user":
            is_theirs = pc.is_in(left.column("user_id"), pa.array(sorted(ids)))
            expected = left.filter(pc.invert(is_theirs)).combine_chunks()
            assert expected.equals(right), (contract.key, _difference(expected, right))
            removed[contract.key] = left.num_rows - expected.num_rows
    return removed


def _difference(expected: pa.Table, found: pa.Table) -> str:
    """The first rows that only one of two tables has."""
    left, right = (set(map(str, t.to_pylist())) for t in (expected, found))
    return f"{len(left - right)} changed: {sorted(left - right)[:2]} became {sorted(right - left)[:2]}"
