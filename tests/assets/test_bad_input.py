"""Files that cannot be used, through the real job: one clear sentence, and nothing of that source is published."""

import gzip
import logging

import dagster as dg
import pytest

from assets.table import FILES_READABLE
from data.workspace import Workspace
from orchestration.definitions import build_defs
from orchestration.jobs import MAIN
from orchestration.progress import is_expected, sentence_of
from tests.support.runs import WHOLE, execute, land, rows
from tests.support.shops import CATALOGUE, GOOD, HEADER, YAML, workspace_of, write_shop

TILLS = "\n".join([HEADER, *GOOD, ""])
PACKED = gzip.compress(TILLS.encode())

BROKEN = {
    "a missing file": ("catalogue.csv", None, ("no such file", "sources.catalogue.path", "put the files there")),
    "an empty file": ("tills.csv", b"", ("is empty", "deliver it again")),
    "a truncated gz": (
        "tills.csv.gz",
        PACKED[: len(PACKED) // 2],
        ("is damaged or cut short", "deliver the file again"),
    ),
    "a wrong delimiter": (
        "tills.csv",
        TILLS.replace(",", ";").encode(),
        ("has no column 'id'", "csv.delimiter to ';'"),
    ),
    "an unknown column": (
        "tills.csv",
        TILLS.replace(",sku,", ",article,").encode(),
        ("has no column 'sku'", "correct the column in the shop file"),
    ),
    "a misspelt column": ("tills.csv", TILLS.replace("basket", "baskets").encode(), ("'basket'", "map 'baskets'")),
    "text that is not UTF-8": (
        "catalogue.csv",
        CATALOGUE.replace("Apple", "Käse").encode("latin-1"),
        ("is not UTF-8 text (first in data line 1)", "csv.encoding"),
    ),
}


def run(workspace: Workspace, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """The main job, as far as core."""
    defs = build_defs(workspace)
    keys = [k for k in defs.resolve_asset_graph().executable_asset_keys if k.path[0] in ("raw", "core")]
    return execute(defs, instance, MAIN.name, WHOLE, keys)


@pytest.mark.parametrize("what", BROKEN)
def test_an_unusable_file_ends_in_one_sentence_and_nothing_of_it_is_published(tmp_path, what):
    name, content, said = BROKEN[what]
    source = name.split(".")[0]
    shop_file = write_shop(tmp_path / "shop", yaml=YAML.replace(f"{source}.csv", name))
    path = shop_file.parent / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    workspace = workspace_of(shop_file, tmp_path / "var")
    result = run(workspace, dg.DagsterInstance.ephemeral())
    failures = [e for e in result.all_events if e.is_step_failure]
    assert [e.step_key for e in failures] == [f"raw__{source}"] and is_expected(failures[0])
    sentence = sentence_of(failures[0])
    assert name in sentence and all(part in sentence for part in said), sentence
    assert "\n" not in sentence and sentence.endswith(".") and "Traceback" not in sentence
    assert "ann" not in sentence.removeprefix(str(path))
    assert workspace.lake.published(f"raw.{source}") is None and workspace.lake.published("core.events") is None
    assert workspace.lake.published("raw.members").rows == 2


def test_the_file_put_right_makes_up_for_it(tmp_path):
    shop_file = write_shop(tmp_path / "shop")
    (shop_file.parent / "tills.csv").write_bytes(b"")
    workspace = workspace_of(shop_file, tmp_path / "var")
    instance = dg.DagsterInstance.ephemeral()
    assert not run(workspace, instance).success
    (shop_file.parent / "tills.csv").write_text(TILLS)
    assert run(workspace, instance).success
    assert len(rows(workspace, "core.events")) == len(GOOD)


def test_one_corrupt_file_among_several_is_named_and_the_good_ones_are_published(tmp_path):
    workspace = workspace_of(write_shop(tmp_path / "shop"), tmp_path / "var")
    land(workspace, "good.csv", ["20,ann,a,buy,1,0.5,2024-01-05 10:00:00,y1"])
    bad = land(workspace, "bad.csv.gz", ["21,ann,a,buy,1,0.5,2024-01-06 10:00:00,y1"])
    bad.write_bytes(PACKED[:40])
    land(workspace, "new.csv", ["22,bob,b,buy,1,2.5,2024-01-07 10:00:00,y1"])
    instance = dg.DagsterInstance.ephemeral()
    for _ in range(2):  # it is named again in every run until it is gone
        result = run(workspace, instance)
        assert result.success
        assert {r["event_id"] for r in rows(workspace, "core.events")} == {"1", "2", "3", "4", "5", "20", "22"}
        logged = [e.user_message for e in instance.all_logs(result.run_id) if e.level == logging.ERROR]
        assert len(logged) == 1 and "bad.csv.gz" in logged[0]
        checks = {
            c.asset_key.path[-1]: c for c in result.get_asset_check_evaluations() if c.check_name == FILES_READABLE
        }
        assert checks["catalogue"].passed and checks["members"].passed
        assert not checks["tills"].passed and checks["tills"].severity is dg.AssetCheckSeverity.WARN
        assert "bad.csv.gz: is damaged or cut short" in checks["tills"].description
    bad.unlink()
    assert all(c.passed for c in run(workspace, instance).get_asset_check_evaluations())
