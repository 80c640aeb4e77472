"""The whole line with its lake on S3: the same tables as on a disk, a second day, and a batch that is refused."""

import shutil

import dagster as dg
import pytest

from data.contracts import TABLES
from data.contracts.core import EVENTS
from data.settings import Settings
from data.workspace import Workspace, open_workspace
from orchestration.definitions import build_defs
from orchestration.jobs import MAIN
from orchestration.summary import contracts_of
from tests.support.runs import WHOLE, execute, land, rows
from tests.support.s3 import BUCKET
from tests.support.shops import write_shop

SECOND = ("6,ann,c,buy,1,7.0,2024-01-05 10:00:00,x4", "7,bob,a,buy,3,1.5,2024-01-05 11:00:00,x5")
BAD = tuple(f"9{n},ann,a,buy,-1,1.0,2024-01-06 10:00:00,z" for n in range(9))
RANDOM = {"model", "profile", "out"}
"""Layers behind the releases, whose noise is drawn anew."""


def open_at(folder, lake: str | None) -> Workspace:
    return open_workspace(
        Settings(shop_file=folder / "shop" / "shop.yaml", var=folder / "var", lake=lake, threads=2, memory_limit="1GB")
    )


def run(workspace: Workspace, instance: dg.DagsterInstance) -> bool:
    return execute(build_defs(workspace), instance, MAIN.name, WHOLE).success


def content(workspace: Workspace) -> dict[str, list[dict[str, object]]]:
    """Every table that is made without noise, row by row."""
    keys = [c.key for c in contracts_of(workspace) if c.key in TABLES and c.key.split(".")[0] not in RANDOM]
    return {key: rows(workspace, key) for key in keys}


@pytest.mark.slow
def test_the_whole_line_is_the_same_on_s3_as_on_a_disk_day_by_day(s3, tmp_path):
    write_shop(tmp_path / "near" / "shop")
    near = open_at(tmp_path / "near", None)
    (near.settings.keys).mkdir(parents=True)
    instances = {name: dg.DagsterInstance.ephemeral() for name in ("near", "far")}
    assert run(near, instances["near"])
    shutil.copytree(tmp_path / "near" / "shop", tmp_path / "far" / "shop")
    shutil.copytree(near.settings.keys, tmp_path / "far" / "var" / "keys")
    (tmp_path / "far" / "var" / "keys" / "ledger.key").unlink()
    far = open_at(tmp_path / "far", f"s3://{BUCKET}/lakes")
    assert far.lake.root == f"s3://{BUCKET}/lakes/corner"
    assert run(far, instances["far"])
    assert content(far) == content(near) and content(far)[EVENTS.key]
    assert {c.key for c in contracts_of(far)} == {c.key for c in contracts_of(far) if far.lake.published(c.key)}
    assert not (far.home / "lake").exists() and far.ledger_path.exists()

    before = far.lake.day_versions(EVENTS.key)
    for workspace in (near, far):
        land(workspace, "second.csv", SECOND)
        assert run(workspace, instances["near" if workspace is near else "far"])
    assert content(far) == content(near) and len(rows(far, EVENTS.key)) == len(rows(near, EVENTS.key)) == 7
    after = far.lake.day_versions(EVENTS.key)
    assert before.items() < after.items()

    good = content(far)[EVENTS.key]
    land(far, "bad.csv", BAD)
    assert not run(far, instances["far"])
    assert content(far)[EVENTS.key] == good
