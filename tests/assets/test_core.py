"""Raw to core on a small shop: good rows survive, each bad one is named, a refused batch changes nothing."""

import dagster as dg
import pytest

from data.contracts.core import EVENTS
from orchestration.definitions import build_defs
from tests.support.shops import GOOD, YAML, workspace_of, write_shop

RANGE = {"dagster/asset_partition_range_start": "2024-01-01", "dagster/asset_partition_range_end": "2024-03-31"}


def run(workspace, instance=None, raise_on_error=True):
    job = build_defs(workspace).resolve_implicit_global_asset_job_def()
    keys = [k for k in job.asset_layer.executable_asset_keys if k.path[0] in ("raw", "core")]
    return job.execute_in_process(
        instance=instance or dg.DagsterInstance.ephemeral(),
        tags=RANGE,
        asset_selection=keys,
        raise_on_error=raise_on_error,
    )


def rows(workspace, key, columns="*"):
    from data.contracts import TABLES

    with workspace.engine.session() as session:
        session.attach(TABLES[key], workspace.lake)
        return session.query(f"select {columns} from {key} order by all").to_pylist()


def test_good_rows_arrive_typed_with_pseudonyms(tmp_path):
    workspace = workspace_of(write_shop(tmp_path / "shop"), tmp_path / "var")
    assert run(workspace).success
    events = rows(workspace, "core.events")
    assert len(events) == 5
    assert {e["event_type"] for e in events} == {"purchase", "view"}
    users = {e["user_id"] for e in events}
    assert None in users and len(users) == 3
    assert all(u.startswith("u_") and len(u) == 34 for u in users if u)
    assert sum(e["value"] for e in events) == pytest.approx(22.5)
    assert rows(workspace, "core.events_quarantine") == []


BAD = {
    "unknown_event_type": "90,ann,a,steal,1,1.0,2024-01-05 10:00:00,y",
    "unparsable_time": "91,ann,a,buy,1,1.0,yesterday,y",
    "time_in_future": "92,ann,a,buy,1,1.0,2031-01-05 10:00:00,y",
    "time_before_calendar": "93,ann,a,buy,1,1.0,1999-01-05 10:00:00,y",
    "missing_item": "94,ann,,buy,1,1.0,2024-01-05 10:00:00,y",
    "unknown_item": "95,ann,zz,buy,1,1.0,2024-01-05 10:00:00,y",
    "unparsable_quantity": "96,ann,a,buy,two,1.0,2024-01-05 10:00:00,y",
    "negative_quantity": "97,ann,a,buy,-1,1.0,2024-01-05 10:00:00,y",
    "unparsable_value": "98,ann,a,buy,1,1d,2024-01-05 10:00:00,y",
    "negative_value": "99,ann,a,buy,1,-1.0,2024-01-05 10:00:00,y",
    "conflicting_event_id": "1,ann,a,buy,3,1.5,2024-01-02 10:00:00,x1",
    "duplicate": GOOD[0],
    "unreadable_line": "too,few",
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_row_is_set_aside_with_its_reason_and_the_good_ones_survive(tmp_path, reason):
    many = [f"g{i},ann,a,buy,1,0.5,2024-02-01 10:00:{i:02d},z{i}" for i in range(40)]
    workspace = workspace_of(write_shop(tmp_path / "shop", [*GOOD, *many, BAD[reason]]), tmp_path / "var")
    assert run(workspace).success
    assert len(rows(workspace, "core.events")) == 45
    aside = rows(workspace, "core.events_quarantine")
    assert [a["reason"] for a in aside] == [reason]
    lines = {"duplicate": (1, 46), "conflicting_event_id": (1, 46)}.get(reason, (46,))
    assert aside[0]["file"] == "tills.csv" and aside[0]["line"] in lines
    text = str(aside)
    assert "ann" not in text.replace("channel", "")


def test_too_many_bad_rows_refuse_the_batch_and_keep_the_last_good_version(tmp_path):
    shop_file = write_shop(tmp_path / "shop")
    workspace = workspace_of(shop_file, tmp_path / "var")
    assert run(workspace).success
    before = rows(workspace, "core.events")
    landing = tmp_path / "shop" / "landing" / "tills"
    landing.mkdir(parents=True)
    bad = [f"n{i},ann,a,buy,-1,0.5,2024-01-02 11:00:{i:02d},z" for i in range(10)]
    (landing / "late.csv").write_text("\n".join(["id,customer,sku,what,qty,paid,at,basket", *bad, ""]))
    instance = dg.DagsterInstance.ephemeral()
    result = run(workspace, instance, raise_on_error=False)
    assert not result.success
    assert rows(workspace, "core.events") == before
    checks = {e.check_name: e.passed for e in result.get_asset_check_evaluations() if e.asset_key.path[-1] == "events"}
    assert checks["quarantine_share"] is False
    assert [name for name, passed in checks.items() if not passed] == ["quarantine_share"]
    failure = next(e for e in result.all_events if e.is_step_failure)
    assert "negative_quantity" in str(failure.event_specific_data.error)


def test_a_second_run_makes_nothing(tmp_path):
    workspace = workspace_of(write_shop(tmp_path / "shop"), tmp_path / "var")
    run(workspace)
    version = workspace.lake.published(EVENTS.key).version
    result = run(workspace)
    reused = [m.metadata["reused"].value for m in result.asset_materializations_for_node("core__events")]
    assert reused and all(reused)
    assert workspace.lake.published(EVENTS.key).version == version


@pytest.mark.parametrize(("allowed", "passes"), [(90, True), (3, False)])
def test_events_that_are_too_old_are_refused_where_the_shop_says_how_old_they_may_be(tmp_path, allowed, passes):
    yaml = YAML.replace("currency: EUR", f"currency: EUR\nmax_lag_days: {allowed}")
    workspace = workspace_of(write_shop(tmp_path / "shop", yaml=yaml), tmp_path / "var")
    result = run(workspace, raise_on_error=False)
    failed = [e.check_name for e in result.get_asset_check_evaluations() if not e.passed]
    assert (result.success, failed) == ((True, []) if passes else (False, ["freshness"]))
