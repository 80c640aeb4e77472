"""One release of a small shop in Dagster, and the command line beside it."""

import shutil
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from assets import model
from assets.table import IS_CURRENT, TURN
from data.contracts.model import POPULARITY
from data.workspace import Workspace
from orchestration.cli import app
from orchestration.turn import turn_on
from tests.support.shops import workspace_of

KEY = dg.AssetKey(POPULARITY.key.split("."))
VARIABLE = "PORTRAIT_TEST_LEDGER"
"""Names the database of a ledger."""


def copied(folder: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A copy of a shop, which the command line finds too."""
    shutil.copytree(folder, target)
    monkeypatch.setenv("PORTRAIT_SHOP", str(target / "shop" / "shop.yaml"))
    monkeypatch.setenv("PORTRAIT_VAR", str(target / "var"))
    monkeypatch.setenv("COLUMNS", "200")
    return workspace_of(target / "shop" / "shop.yaml", target / "var")


def declared(workspace: Workspace, text: str) -> Workspace:
    """The same shop with a privacy policy."""
    file = workspace.shop.location
    yaml = "\n".join(line for line in file.read_text().splitlines() if not line.startswith("privacy:"))
    file.write_text(f"{yaml}\nprivacy: {{{text}}}\n")
    return workspace_of(file, workspace.settings.var)


class Released:
    """One materialisation of popularity, and what Dagster recorded of it."""

    def __init__(self, workspace: Workspace) -> None:
        [popularity] = [asset for asset in model.build() if KEY in asset.keys]
        self.result = dg.materialize(
            [popularity],
            instance=dg.DagsterInstance.ephemeral(),
            resources={"workspace": workspace, TURN: turn_on(workspace)},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )

    @property
    def metadata(self) -> dict[str, object]:
        [event] = self.result.asset_materializations_for_node("model__popularity")
        return {name: entry.value for name, entry in event.metadata.items()}

    @property
    def is_current(self) -> dg.AssetCheckEvaluation:
        [found] = [c for c in self.result.get_asset_check_evaluations() if c.check_name == IS_CURRENT]
        return found

    @property
    def failure(self) -> str:
        assert not self.result.success
        data = self.result.failure_data_for_node("model__popularity")
        said = data.user_failure_data.description if data.user_failure_data else None
        return said or str(data.error.cause.message if data.error.cause else data.error.message)


def call(*arguments: str) -> tuple[int, str, str]:
    found = CliRunner().invoke(app, list(arguments), prog_name="portrait", catch_exceptions=False)
    return found.exit_code, found.stdout, found.stderr
