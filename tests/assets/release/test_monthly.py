"""A year of releases under one total: each falls due on its day, is drawn once, and reads the days before it alone."""

import math
from datetime import date, timedelta

import dagster as dg
import pytest

from assets.release import due_periods, open_ledger, plan_of
from data.contracts.model import POPULARITY
from data.workspace import Workspace
from ml.privacy.plan import due_days
from orchestration.definitions import build_defs
from orchestration.jobs import DAILY
from tests.support.released import Released, call, declared
from tests.support.runs import days, execute
from tests.support.shops import LIVELY_HEADER, LIVELY_START, customer, lively_shop, workspace_of, write_lines

LENGTH = 80
FIRST = date(2024, 2, 5)
SECOND = date(2024, 3, 5)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A shop of 80 days whose first release is due after a month, before anything landed."""
    folder = tmp_path_factory.mktemp("monthly")
    file = lively_shop(folder / "shop", 1, 24, LENGTH)
    test = LIVELY_START + timedelta(days=LENGTH - LENGTH // 5)
    file.write_text(file.read_text().replace(f"test_start: {test}", f"test_start: {FIRST}"))
    tills = file.parent / "tills.csv"
    tills.rename(file.parent / "all.csv")
    write_lines(tills, LIVELY_HEADER, [])
    return declared(workspace_of(file, folder / "var"), "epsilon: 4, monthly: 2")


def land(workspace: Workspace, first: date, last: date) -> None:
    """Land the lines of some days as a file of their own."""
    header, *lines = (workspace.shop.location.parent / "all.csv").read_text().splitlines()
    place = header.split(",").index("at")
    found = [line for line in lines if str(first) <= line.split(",")[place][:10] <= str(last)]
    target = workspace.landing / "tills" / f"{first}.csv"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_lines(target, header, found)
    run_days(workspace, first, last)


def run_days(workspace: Workspace, first: date, last: date) -> None:
    tags = days(first.isoformat(), last.isoformat())
    assert execute(build_defs(workspace), dg.DagsterInstance.ephemeral(), DAILY.name, tags).success


def slots(workspace: Workspace) -> list[tuple[str, str]]:
    return [(row.slot, row.state) for row in open_ledger(workspace).rows()]


def window_end(workspace: Workspace) -> date:
    with workspace.engine.session() as session:
        session.attach(POPULARITY, workspace.lake)
        [found] = session.query(f"select distinct window_end as day from {POPULARITY.key}").to_pylist()
    day: date = found["day"]
    return day


def test_releases_fall_due_by_the_calendar_and_cost_one_total(shop: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTRAIT_SHOP", str(shop.shop.location))
    monkeypatch.setenv("PORTRAIT_VAR", str(shop.settings.var))
    monkeypatch.setenv("COLUMNS", "200")
    plan = plan_of(shop)
    assert due_days(plan) == (FIRST, SECOND, date(2024, 4, 5))

    land(shop, LIVELY_START, FIRST + timedelta(days=3))
    first = Released(shop)
    assert first.result.success and first.is_current.passed
    assert slots(shop) == [("popularity", "committed")] and window_end(shop) == FIRST
    one = open_ledger(shop).spent()

    # While its own day has not begun to land, the day before may be incomplete.
    land(shop, FIRST + timedelta(days=4), SECOND - timedelta(days=1))
    assert due_periods(shop).test.date() == FIRST
    assert Released(shop).metadata["reused"] is True

    land(shop, SECOND, SECOND)
    second = Released(shop)
    assert second.is_current.passed and second.metadata["reused"] is False
    assert slots(shop) == [("popularity", "committed"), ("popularity_2024_03", "committed")]
    assert window_end(shop) == SECOND and shop.lake.published(POPULARITY.key).notes["slot"] == "popularity_2024_03"

    # Later days are no business of this release.
    land(shop, SECOND + timedelta(days=1), LIVELY_START + timedelta(days=LENGTH - 1))
    assert Released(shop).metadata["reused"] is True
    ledger = open_ledger(shop)
    spent = ledger.spent()
    assert one.epsilon < spent.epsilon <= 4 and {"popularity", "popularity_2024_03"}.isdisjoint(spent.free_slots)
    share = math.fsum(slot.share for slot in plan.slots if slot.name in {"popularity", "popularity_2024_03"})
    assert spent.mu == pytest.approx(plan.mu * share**0.5, rel=1e-3)

    code, out, _ = call("budget", "plan")
    said = " ".join(out.split())
    assert code == 0 and "3 releases, due on 2024-02-05, then monthly to 2024-04-05" in said
    assert "2 of 3" in said


def test_a_late_row_spends_nothing(shop: Workspace) -> None:
    before = slots(shop)
    late = f"late,{customer(3)},sku005,buy,1,2.0,0,{SECOND - timedelta(days=9)} 12:00:00,late,"
    write_lines(shop.landing / "tills" / "late.csv", LIVELY_HEADER, [late])
    run_days(shop, SECOND - timedelta(days=9), SECOND)
    refused = Released(shop)
    assert refused.result.success and refused.metadata["reused"] is True
    assert not refused.is_current.passed and "already spent" in (refused.is_current.description or "")
    assert slots(shop) == before and window_end(shop) == SECOND
