"""A batch corrupted after the guard: nothing after it runs, in the same run, by automation, or in the next run."""

import json
import shutil

import dagster as dg
import pytest
from typer.testing import CliRunner

from data import core
from data.contracts import TABLES
from data.contracts.core import EVENTS, ITEMS
from data.expectations import expectations
from orchestration.cli import app
from orchestration.definitions import build_defs
from tests.support.corruption import corruptible, corruptions
from tests.support.runs import WHOLE, days, execute, land, rows
from tests.support.shops import CATALOGUE, workspace_of, write_shop

MAKERS = {EVENTS.key: "make_events", ITEMS.key: "make_rows"}
FIRST_OF_KIND = {
    (contract.key, one.kind): one
    for contract in (EVENTS, ITEMS)
    for one in reversed(corruptible(contract))
    if one.severity == "critical"
}
CASES = [pytest.param(key, one, id=f"{key}-{one.name}") for (key, _), one in reversed(FIRST_OF_KIND.items())]
NEW_DAY = days("2024-02-05")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A shop that is made up to its profiles; copied, never changed."""
    folder = tmp_path_factory.mktemp("made")
    workspace = workspace_of(write_shop(folder / "shop"), folder / "var")
    defs = build_defs(workspace)
    with dg.DagsterInstance.ephemeral() as instance:
        assert execute(defs, instance, "main", WHOLE, only=line(defs)).success
    return folder


def line(defs):
    """Everything that needs no learning."""
    graph = defs.resolve_asset_graph()
    return [key for key in graph.materializable_asset_keys if key.path[0] not in ("model", "out")]


def corrupt_after_the_guard(monkeypatch, key, corruption):
    """Real rows, made and cleaned as always, are corrupted on their way to the gate."""
    make = getattr(core, MAKERS[key])

    def corrupted(*arguments):
        found = make(*arguments)
        return {**found, key: corruption(found[key])} if key in found else found

    monkeypatch.setattr(core, MAKERS[key], corrupted)


def state(workspace):
    """Content of every published table, as readers see it."""
    found = {key: workspace.lake.published(key) for key in TABLES}
    return {key: (one.version, one.content) for key, one in found.items() if one}


def profile(workspace, monkeypatch):
    """What `portrait profile ann` answers."""
    monkeypatch.setenv("PORTRAIT_SHOP", str(workspace.shop.location))
    monkeypatch.setenv("PORTRAIT_VAR", str(workspace.settings.var))
    result = CliRunner().invoke(app, ["profile", "ann", "--json"], prog_name="portrait", catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(("key", "one"), CASES)
def test_nothing_follows_a_corrupted_batch_and_the_last_good_version_is_read(made, tmp_path, monkeypatch, key, one):
    shutil.copytree(made, tmp_path / "copy")
    workspace = workspace_of(tmp_path / "copy" / "shop" / "shop.yaml", tmp_path / "copy" / "var")
    defs, instance = build_defs(workspace), dg.DagsterInstance.ephemeral()
    looked = dg.evaluate_automation_conditions(defs, instance)
    before, kept, answer = state(workspace), rows(workspace, "profile.profiles"), profile(workspace, monkeypatch)
    land(
        workspace,
        "new.csv",
        ["20,ann,d,buy,1,12.0,2024-02-05 10:00:00,y1", "21,bob,a,buy,1,0.5,2024-02-05 10:00:00,y2"],
    )
    if key == ITEMS.key:
        land(workspace, "new.csv", [*CATALOGUE.splitlines(), "e,Egg,Food,Fresh,Farm,1"], "catalogue")
    corrupt_after_the_guard(monkeypatch, key, corruptions(TABLES[key], one)[-1])

    step, asset = key.replace(".", "__"), dg.AssetKey(key.split("."))
    graph = defs.resolve_asset_graph()
    after = {k for k in graph.get_all_asset_keys() if asset in graph.get_ancestor_asset_keys(k)}
    for job, only in (("main", line(defs)), ("daily", None)):  # the same run, and the next one
        result = execute(defs, instance, job, NEW_DAY, only=only)
        assert [e.step_key for e in result.all_events if e.is_step_failure] == [step]
        found = [e for e in result.get_asset_check_evaluations() if not e.passed]
        assert [(e.asset_key, e.check_name, e.severity) for e in found] == [
            (asset, one.name, dg.AssetCheckSeverity.ERROR)
        ]
        assert found[0].metadata["outcome"].value == "the data is bad" and one.name in found[0].description
        materialised = {e.asset_key for e in result.get_asset_materialization_events()}
        assert not materialised & (after | {asset})
        looked = dg.evaluate_automation_conditions(defs, instance, cursor=looked.cursor)
        assert not {k for k in after if looked.get_num_requested(k)}
        now = state(workspace)
        followers = {".".join(k.path) for k in after | {asset}}
        assert {k: v for k, v in now.items() if k in followers} == {k: v for k, v in before.items() if k in followers}
        assert rows(workspace, "profile.profiles") == kept and profile(workspace, monkeypatch) == answer


def test_the_next_good_batch_goes_through(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "copy")
    workspace = workspace_of(tmp_path / "copy" / "shop" / "shop.yaml", tmp_path / "copy" / "var")
    defs, instance = build_defs(workspace), dg.DagsterInstance.ephemeral()
    land(workspace, "new.csv", ["20,ann,d,buy,1,12.0,2024-02-05 10:00:00,y1"])
    looked = dg.evaluate_automation_conditions(defs, instance)
    state_key = dg.AssetKey(["features", "state"])
    key_unique = next(one for one in expectations(EVENTS) if one.name == "key_unique")
    with monkeypatch.context() as patched:
        corrupt_after_the_guard(patched, EVENTS.key, corruptions(EVENTS, key_unique)[0])
        assert not execute(defs, instance, "daily", NEW_DAY).success
    looked = dg.evaluate_automation_conditions(defs, instance, cursor=looked.cursor)
    assert not looked.get_num_requested(state_key)
    assert execute(defs, instance, "daily", NEW_DAY).success
    looked = dg.evaluate_automation_conditions(defs, instance, cursor=looked.cursor)
    assert looked.get_num_requested(state_key)
    assert "20" in {row["event_id"] for row in rows(workspace, EVENTS.key)}
