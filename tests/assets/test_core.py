"""Raw to core on a small shop: good rows survive, each bad one is named, a refused batch changes nothing."""

import dagster as dg
import pytest

from data.contracts.core import EVENTS
from orchestration.definitions import build_defs
from tests.support.runs import WHOLE, execute, land, rows
from tests.support.shops import GOOD, YAML, workspace_of, write_shop

MANY = [f"g{i},ann,a,buy,1,0.5,2024-01-08 10:{i // 60:02d}:{i % 60:02d},z{i}" for i in range(400)]
"""Good rows, so many that few bad ones are no reason to refuse the batch."""


def run(workspace):
    """The raw and the core tables."""
    defs = build_defs(workspace)
    keys = [k for k in defs.resolve_asset_graph().executable_asset_keys if k.path[0] in ("raw", "core")]
    return execute(defs, dg.DagsterInstance.ephemeral(), tags=WHOLE, only=keys)


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
    "conflicting_event_id": "2,ann,b,buy,3,7.5,2024-01-02 10:00:00,x1",
    "duplicate": GOOD[0],
    "unreadable_line": "too,few",
}
FIRST_BAD = len(GOOD) + len(MANY) + 1
"""Line of the first bad row."""


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A shop with one bad row of each kind among the good ones: its events, and what was set aside."""
    folder = tmp_path_factory.mktemp("judged")
    workspace = workspace_of(write_shop(folder / "shop", [*GOOD, *MANY, *BAD.values()]), folder / "var")
    assert run(workspace).success
    return rows(workspace, "core.events"), rows(workspace, "core.events_quarantine")


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_row_is_set_aside_with_its_reason(judged, reason):
    _, aside = judged
    [row] = [a for a in aside if a["reason"] == reason]
    # of two rows with one id either may be the one that is kept
    pair = {"duplicate": 1, "conflicting_event_id": 2}
    assert row["file"] == "tills.csv"
    assert row["line"] in {FIRST_BAD + list(BAD).index(reason), pair.get(reason, 0)}
    assert "ann" not in str(row).replace("channel", "")


def test_the_good_rows_survive_and_no_other(judged):
    events, aside = judged
    assert len(aside) == len(BAD)
    assert {e["event_id"] for e in events} == {line.split(",")[0] for line in (*GOOD, *MANY)}
    assert len(events) == len(GOOD) + len(MANY)


def test_too_many_bad_rows_refuse_the_batch_and_keep_the_last_good_version(tmp_path):
    shop_file = write_shop(tmp_path / "shop")
    workspace = workspace_of(shop_file, tmp_path / "var")
    assert run(workspace).success
    before = rows(workspace, "core.events")
    land(workspace, "late.csv", [f"n{i},ann,a,buy,-1,0.5,2024-01-02 11:00:{i:02d},z" for i in range(10)])
    result = run(workspace)
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
    result = run(workspace)
    failed = [e.check_name for e in result.get_asset_check_evaluations() if not e.passed]
    assert (result.success, failed) == ((True, []) if passes else (False, ["freshness"]))
