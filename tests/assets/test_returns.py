"""Returns through the real assets: whatever order files land in, the tables are those of one bulk load."""

from datetime import date, timedelta
from random import Random

import dagster as dg
import pytest

from data.workspace import Workspace
from orchestration.definitions import build_defs
from tests.support.runs import days, execute, land, rows
from tests.support.shops import YAML, workspace_of, write_shop

RETURNING = YAML.replace("    time: at\n", "    returns: negative_quantity\n    time: at\n")
WHERE = ("input_version", "file", "file_sha256", "line")
FORTNIGHT = days("2024-01-01", "2024-01-14")
COMPARED = ("core.events", "core.events_quarantine", "core.corrections", "features.daily")


def run(workspace: Workspace, tags: dict[str, str]) -> None:
    defs = build_defs(workspace)
    keys = [
        k
        for k in defs.resolve_asset_graph().executable_asset_keys
        if k.path[0] in ("raw", "core") or k.path == ["features", "daily"]
    ]
    result = execute(defs, dg.DagsterInstance.ephemeral(), tags=tags, only=keys)
    assert result.success, [e.event_specific_data for e in result.all_events if e.is_step_failure]


def by_id(workspace: Workspace) -> dict[str, dict[str, object]]:
    return {r["event_id"]: r for r in rows(workspace, "core.events")}


def test_a_return_takes_back_the_latest_purchase_and_what_is_gone_counts_nowhere(tmp_path):
    lines = [
        "1,ann,a,buy,4,2.0,2024-01-02 10:00:00,x1",
        "2,ann,a,buy,2,1.0,2024-01-05 10:00:00,x2",
        "3,ann,a,buy,-3,-1.5,2024-01-09 10:00:00,x3",
        "4,bob,c,buy,-1,-7.0,2024-01-09 10:00:00,x4",
        "5,,d,buy,1,12.0,2024-01-09 10:00:00,x5",
        "6,,d,buy,-1,-12.0,2024-01-09 11:00:00,x5",
    ]
    workspace = workspace_of(write_shop(tmp_path / "shop", lines, RETURNING), tmp_path / "var")
    run(workspace, FORTNIGHT)
    found = {
        n: (e["event_type"], e["quantity"], e["value"], e["cancelled_quantity"]) for n, e in by_id(workspace).items()
    }
    assert found == {
        "1": ("purchase", 3.0, 1.5, 1.0),
        "3": ("return", 0.0, 0.0, 3.0),
        "4": ("return", 1.0, 7.0, 0.0),
        "5": ("purchase", 1.0, 12.0, 0.0),
        "6": ("return", 1.0, 12.0, 0.0),
    }
    aside = rows(workspace, "core.events_quarantine")
    assert [(r["reason"], r["row_id"], r["masked_value"]) for r in aside] == [("cancelled", "2", None)]
    assert workspace.lake.published("core.corrections").notes["n_returns_without_purchase"] == "1"
    counted = [r for r in rows(workspace, "features.daily") if r["facet"] == "all"]
    assert [(r["day"], r["n_events"], r["quantity"], r["value"]) for r in counted] == [(date(2024, 1, 2), 1, 3.0, 1.5)]


def history(draw: Random, n_days: int) -> dict[date, list[str]]:
    """Till lines by day: three customers and nobody, four items, one return in three, some ids with two contents."""
    found: dict[date, list[str]] = {}
    for number in range(260):
        day = date(2024, 1, 2) + timedelta(days=draw.randrange(n_days))
        units = draw.choice((1, 2, 3, 4, -1, -3))
        who, item = draw.choice(("ann", "bob", "cy", "")), draw.choice("abcd")
        hour = draw.randrange(9, 20)
        for n in (units, -units) if number % 60 == 0 else (units,):
            line = f"{number},{who},{item},buy,{n},{n * 1.5},{day} {hour:02d}:00:00,s"
            found.setdefault(day, []).append(line)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.prove)])
def test_any_order_and_batching_of_files_gives_the_tables_of_one_bulk_load(tmp_path, seed):
    draw = Random(seed)
    lines = history(draw, 12)
    looks = [f"look{day}{n},cy,a,look,,,{day} 08:00:{n:02d},s" for day in lines for n in range(40)]
    moved = [line for day in sorted(lines) for line in lines[day]]
    whole = workspace_of(write_shop(tmp_path / "whole", looks + moved, RETURNING), tmp_path / "var1")
    key = (tmp_path / "var1" / "keys" / "pseudonym.key", tmp_path / "var2" / "keys" / "pseudonym.key")
    run(whole, FORTNIGHT)
    key[1].parent.mkdir(parents=True)
    key[1].write_bytes(key[0].read_bytes())
    key[1].chmod(0o600)

    parts: list[list[date]] = [[] for _ in range(3)]
    for day in lines:
        draw.choice(parts).append(day)
    pieces = workspace_of(write_shop(tmp_path / "parts", looks, RETURNING), tmp_path / "var2")
    run(pieces, FORTNIGHT)
    for number, part in enumerate(part for part in parts if part):
        found = [line for day in part for line in lines[day]]
        found += draw.sample(found, len(found) // 3)
        draw.shuffle(found)
        half = len(found) // 2
        for name, some in (("x", found[:half]), ("y", found[half - 3 :])):
            land(pieces, f"{name}{number}.csv", some)
            run(pieces, days(str(min(part)), str(max(part))))
    for table in COMPARED:
        expected, made = rows(whole, table, but=WHERE), rows(pieces, table, but=WHERE)
        if table == "core.events_quarantine":  # copies of lines landed in the parts alone
            expected, made = ({str(r) for r in t if r["reason"] != "duplicate"} for t in (expected, made))
        assert made == expected, table
    assert any(r["reason"] == "cancelled" for r in rows(whole, "core.events_quarantine"))
    held = whole.lake.published("core.corrections").version
    run(whole, FORTNIGHT)
    assert whole.lake.published("core.corrections").version == held
