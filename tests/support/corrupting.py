"""The definitions of a shop, with batches corrupted between maker and gate as a file says, for the daemon of a proof.

The file is named by an environment variable that nothing else reads. Product code has no such hook: this module puts
itself in front of the gate wherever the gate is called.
"""

import os
from pathlib import Path

import dagster as dg

from assets import embeddings
from data import build, days, ingest
from data.contracts.schema import Frozen, Table
from data.engine import Session
from data.expectations import expectations
from data.gate import Made, gate
from data.quality import Verdict
from data.settings import load_settings
from data.workspace import Workspace, open_workspace
from orchestration.definitions import build_defs
from orchestration.jobs import MAIN
from tests.support.corruption import corruptions

CASE_FILE = "PORTRAIT_TEST_CASE"
"""Names the file that holds the case in force; absent or empty: nothing is corrupted."""


class Case(Frozen):
    """One corruption, and what the daemon is to launch for it."""

    number: int
    """Of the case; each is launched once."""
    table: str = ""
    """Contract key; empty: nothing is corrupted."""
    check: str = ""
    """The expectation that is broken."""
    launch: tuple[str, ...] = ()
    """Contract keys to make in one run; empty: whatever lands or follows by automation."""
    tags: dict[str, str] = {}
    """Tags of that run."""

    def write(self, path: Path) -> None:
        """Put it in force, at once for every reader."""
        beside = path.with_suffix(".new")
        beside.write_text(self.model_dump_json(), encoding="utf-8")
        os.replace(beside, path)


def case_in_force() -> Case | None:
    """What the file says now."""
    path = Path(os.environ[CASE_FILE])
    return Case.model_validate_json(path.read_text(encoding="utf-8")) if path.exists() else None


def corrupted(contract: Table, made: Made) -> Made:
    """A batch as the case in force wants it; an empty one has nothing to corrupt."""
    case = case_in_force()
    if case is None or case.table != contract.key or not made.data.num_rows:
        return made
    one = next(one for one in expectations(contract) if one.name == case.check)
    return corruptions(contract, one)[-1](made)


def corrupting(workspace: Workspace, contract: Table, made: Made, session: Session, **options: bool) -> list[Verdict]:
    """The gate, given what the case in force makes of a batch."""
    return gate(workspace, contract, corrupted(contract, made), session, **options)


for module in (build, days, ingest, embeddings):
    assert module.gate is gate
    module.gate = corrupting


@dg.sensor(job=MAIN, name="cases", minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def cases() -> dg.RunRequest | dg.SkipReason:
    """Launch the case in force once."""
    case = case_in_force()
    if case is None or not case.launch:
        return dg.SkipReason("Nothing to launch.")
    assets = [dg.AssetKey(key.split(".")) for key in case.launch]
    return dg.RunRequest(run_key=str(case.number), asset_selection=assets, tags=case.tags)


defs = dg.Definitions.merge(build_defs(open_workspace(load_settings())), dg.Definitions(sensors=[cases]))
