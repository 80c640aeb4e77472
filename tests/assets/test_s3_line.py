"""The whole line with its lake on S3: the same tables as on a disk, a second day, and a batch that is refused."""

import shutil
from datetime import timedelta

import dagster as dg
import pytest

from data.contracts import TABLES
from data.contracts.core import EVENTS
from data.pseudonym import load_key
from data.settings import Settings
from data.workspace import Workspace, open_workspace
from orchestration.definitions import build_defs
from orchestration.jobs import DAILY, MAIN
from orchestration.summary import contracts_of
from tests.support.runs import WHOLE, days, execute, land, rows
from tests.support.s3 import BUCKET
from tests.support.shops import GOOD, LIVELY_START, lively_shop, write_shop

SECOND = ("6,ann,c,buy,1,7.0,2024-01-05 10:00:00,x4", "7,bob,a,buy,3,1.5,2024-01-05 11:00:00,x5")
BAD = tuple(f"9{n},ann,a,buy,-1,1.0,2024-01-06 10:00:00,z" for n in range(9))
EXACT = {"core", "features"}
"""Layers before the releases, whose noise is drawn anew."""


def open_at(folder, lake: str | None) -> Workspace:
    return open_workspace(
        Settings(shop_file=folder / "shop" / "shop.yaml", var=folder / "var", lake=lake, threads=2, memory_limit="1GB")
    )


def run(
    workspace: Workspace, instance: dg.DagsterInstance, job: str = DAILY.name, tags: dict[str, str] = WHOLE
) -> bool:
    return execute(build_defs(workspace), instance, job, tags).success


def content(workspace: Workspace, layers: set[str]) -> dict[str, list[dict[str, object]]]:
    """Every published table of some layers, row by row."""
    keys = [c.key for c in contracts_of(workspace) if c.key in TABLES and c.key.split(".")[0] in layers]
    return {key: rows(workspace, key) for key in keys if workspace.lake.published(key)}


def pair(tmp_path, write) -> tuple[Workspace, Workspace]:
    """The same shop with the same pseudonyms: its lake on a disk, and on S3."""
    for name in ("near", "far"):
        write(tmp_path / name / "shop")
    near = open_at(tmp_path / "near", None)
    far = open_at(tmp_path / "far", f"s3://{BUCKET}/lakes")
    key = load_key(near.settings.keys / "pseudonym.key")
    assert load_key(far.settings.keys / "pseudonym.key") != key
    shutil.copy(near.settings.keys / "pseudonym.key", far.settings.keys / "pseudonym.key")
    return near, far


@pytest.mark.slow
def test_tables_are_the_same_on_s3_as_on_a_disk_day_by_day_and_a_refused_batch_changes_nothing(s3, tmp_path):
    near, far = pair(tmp_path, write_shop)
    near_runs, far_runs = dg.DagsterInstance.ephemeral(), dg.DagsterInstance.ephemeral()
    assert run(near, near_runs) and run(far, far_runs)
    found = content(far, EXACT)
    assert found == content(near, EXACT) and len(found[EVENTS.key]) == len(GOOD)
    assert far.lake.root == f"s3://{BUCKET}/lakes/corner" and not (far.home / "lake").exists()

    before = far.lake.day_versions(EVENTS.key)
    for workspace, runs in ((near, near_runs), (far, far_runs)):
        land(workspace, "second.csv", SECOND)
        assert run(workspace, runs)
    good = content(far, EXACT)
    assert good == content(near, EXACT) and len(good[EVENTS.key]) == len(GOOD) + len(SECOND)
    assert before.items() < far.lake.day_versions(EVENTS.key).items()

    land(far, "bad.csv", BAD)
    assert not run(far, far_runs)
    assert content(far, EXACT)[EVENTS.key] == good[EVENTS.key]


@pytest.mark.slow
def test_the_whole_line_runs_on_s3_and_makes_the_exact_tables_of_a_disk(s3, tmp_path):
    near, far = pair(tmp_path, lambda folder: lively_shop(folder, 1, 24, 45))
    last = LIVELY_START + timedelta(days=44)
    tags = days(LIVELY_START.isoformat(), last.isoformat())
    assert run(near, dg.DagsterInstance.ephemeral(), DAILY.name, tags)
    assert run(far, dg.DagsterInstance.ephemeral(), MAIN.name, tags)
    here = content(near, EXACT)
    assert {key: rows(far, key) for key in here} == here and here[EVENTS.key]
    assert [c.key for c in contracts_of(far) if not far.lake.published(c.key).rows] == []
    assert far.ledger_path.exists() and not (far.home / "lake").exists()
