"""The definitions of a shop, with batches corrupted between maker and gate as a file says, for the daemon of a proof.

Product code has no such hook: this module, once imported, puts itself in front of the gate wherever the gate is called.
Nothing but that daemon may import it.
"""

import dagster as dg

from assets import embeddings
from data import build, days, ingest
from data.contracts.schema import Table
from data.engine import Session
from data.expectations import expectations
from data.gate import Made, gate
from data.settings import load_settings
from data.verdicts import Verdict
from data.workspace import Workspace, open_workspace
from orchestration.definitions import build_defs
from orchestration.jobs import MAIN
from tests.support.cases import case_in_force
from tests.support.corruption import corruptions


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


def build() -> dg.Definitions:
    """The shop's, with those sensors alone that launch runs: each of the others costs time at every look."""
    product = build_defs(open_workspace(load_settings()))
    return dg.Definitions(
        assets=product.assets,
        jobs=product.jobs,
        schedules=product.schedules,
        sensors=[*(s for s in product.sensors or () if s.name in ("landing", "automation")), cases],
        resources=product.resources,
        executor=product.executor,
    )


defs = build()
