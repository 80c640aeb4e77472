"""The code location: `build_defs` puts the assets of the configured shop together; `defs` is what Dagster loads."""

import dagster as dg

from assets import core, embeddings, features, identity, model, online, out, promotions, raw
from assets.partitions import daily_partitions
from assets.table import TURN
from data.settings import load_settings
from data.workspace import Workspace, open_workspace
from orchestration.jobs import JOBS, SCHEDULES, maintenance
from orchestration.sensors import build_sensors
from orchestration.turn import turn_on


def build_defs(workspace: Workspace | None = None) -> dg.Definitions:
    """All definitions of one shop.

    Args:
        workspace: the shop; by default the one that the environment names.

    Returns:
        Assets, checks, jobs, sensors and resources.
    """
    workspace = workspace or open_workspace(load_settings())
    daily = daily_partitions(workspace)
    return dg.Definitions(
        assets=[
            *raw.build(workspace.shop),
            *identity.build(workspace),
            *core.build(workspace, daily),
            *promotions.build(workspace),
            *features.build(daily),
            *embeddings.build(),
            *model.build(),
            *online.build(workspace.shop),
            *out.build(workspace.shop),
        ],
        jobs=[*JOBS, maintenance],
        schedules=SCHEDULES,
        sensors=build_sensors(workspace.settings),
        resources={"workspace": workspace, TURN: turn_on(workspace)},
        executor=dg.in_process_executor,
    )


defs = build_defs()
