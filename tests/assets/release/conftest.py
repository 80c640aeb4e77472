"""A small shop before and after its first release, its ledger in a file or in a real PostgreSQL database."""

import shutil
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from data.workspace import Workspace
from orchestration.definitions import build_defs
from orchestration.jobs import DAILY
from tests.support.postgres import Postgres
from tests.support.released import VARIABLE, Released, copied, declared
from tests.support.runs import days, execute
from tests.support.shops import LIVELY_START, lively_shop, workspace_of


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small shop in which everything is made that popularity is learnt from."""
    folder = tmp_path_factory.mktemp("prepared")
    workspace = workspace_of(lively_shop(folder / "shop", 1, 24, 45), folder / "var")
    tags = days(LIVELY_START.isoformat(), (LIVELY_START + timedelta(days=44)).isoformat())
    assert execute(build_defs(workspace), dg.DagsterInstance.ephemeral(), DAILY.name, tags).success
    return folder


@pytest.fixture(scope="module")
def released(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same shop after one release, its ledger in a file."""
    folder = tmp_path_factory.mktemp("released") / "copy"
    shutil.copytree(prepared, folder)
    assert Released(workspace_of(folder / "shop" / "shop.yaml", folder / "var")).result.success
    return folder


@pytest.fixture
def shop(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A shop before its first release."""
    return copied(prepared, tmp_path / "copy", monkeypatch)


@pytest.fixture
def standing(released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A shop after its first release."""
    return copied(released, tmp_path / "copy", monkeypatch)


@pytest.fixture(params=["sqlite", "postgresql"])
def placed(request: pytest.FixtureRequest, shop: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The shop with its ledger in either place."""
    if request.param == "sqlite":
        return shop
    postgres: Postgres = request.getfixturevalue("postgres")
    monkeypatch.setenv(VARIABLE, postgres.url(request.getfixturevalue("database")))
    return declared(shop, f"ledger: '${{{VARIABLE}}}'")
