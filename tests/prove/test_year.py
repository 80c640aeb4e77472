"""A year of monthly releases on a made-up shop whose tastes drift: thirteen of each, through the line, under one total.

Files land month by month. PORTRAIT_YEAR_USERS sets the size, 100,000 persons by default; the declared population is
100,000 whatever the size, so that the plan is the same.
"""

import io
import os
import re
import shutil
import time
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest

from assets.release import RELEASE_TABLES, artefacts, open_ledger, plan_of
from data.settings import REPOSITORY
from data.synth.plan import Plan
from data.synth.write import write_shop
from data.workspace import Workspace
from ml.privacy.plan import YEAR, due_days
from orchestration.definitions import build_defs
from orchestration.launch import execute
from tests.orchestration.test_stranger import call
from tests.support.evidence import commit_of
from tests.support.shops import workspace_of

USERS = int(os.environ.get("PORTRAIT_YEAR_USERS", "100000"))
DECLARED = 100_000
FIRST = date(2024, 3, 1)
DAYS = (date(2025, 3, 1) - date(2024, 1, 1)).days + 3
FOLDERS = ("events", "searches")


def made_up(folder: Path) -> Workspace:
    """The shop, with the files of its first two months alone."""
    plan = Plan(
        n_users=USERS, n_items=2_000, n_days=DAYS, seed=1, shape="utc_csv", sessions_per_day=0.02, n_habits=0,
        drift_share=0.5, drift_at=0.5,
    )  # fmt: skip
    write_shop(plan, folder / "shop")
    for name in FOLDERS:
        shutil.move(folder / "shop" / "data" / name, folder / "later" / name)
        (folder / "shop" / "data" / name).mkdir()
    land(folder, FIRST)
    file = folder / "shop" / "shop.yaml"
    call(f"init --from {folder / 'shop' / 'data'} --to {file} --declared-users {DECLARED}")
    drafted = file.read_text(encoding="utf-8")
    file.write_text(re.sub(r"test_start: [\d-]+", f"test_start: {FIRST}", drafted), encoding="utf-8")
    return workspace_of(file, folder / "var")


def land(folder: Path, last: date) -> None:
    """Land the files of all days up to one."""
    for name in FOLDERS:
        for file in sorted((folder / "later" / name).iterdir()):
            if file.name[:10] <= last.isoformat():
                file.rename(folder / "shop" / "data" / name / file.name)


def upstream_of_releases(workspace: Workspace) -> list[dg.AssetKey]:
    """The releases and all that they are made from."""
    graph = build_defs(workspace).resolve_asset_graph()
    chosen = dg.AssetSelection.assets(*(key.split(".") for key in RELEASE_TABLES)).upstream()
    return sorted(chosen.required_multi_asset_neighbors().resolve(graph))


@pytest.mark.prove
def test_a_year_of_releases_costs_one_total(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTRAIT_VAR", str(tmp_path / "var"))
    workspace = made_up(tmp_path)
    dues, only = due_days(plan_of(workspace)), upstream_of_releases(workspace)
    assert len(dues) == YEAR + 1 and dues[0] == FIRST
    lines = []
    for number, due in enumerate(dues):
        land(tmp_path, due)
        started, worked = time.monotonic(), time.process_time()
        with dg.DagsterInstance.ephemeral() as instance:
            ran = execute(workspace, instance, io.StringIO(), only=only)
        assert not ran.failed, ran.failed
        ledger = open_ledger(workspace)
        assert set(RELEASE_TABLES) <= set(ran.made)
        assert [row.state for row in ledger.rows()] == ["committed"] * 3 * (number + 1)
        published = artefacts(workspace.lake)
        ledger.verify(published)
        for key in RELEASE_TABLES:
            notes = workspace.lake.published(key).notes
            assert notes["slot"] == key.split(".")[1] + ("" if number == 0 else f"_{due:%Y_%m}")
        spent = ledger.spent()
        wall, cpu = time.monotonic() - started, time.process_time() - worked
        lines.append(f"| {due} | {spent.epsilon:.3f} | {spent.epsilon_zcdp:.3f} | {wall:.0f} | {cpu:.0f} |")
        print(lines[-1], flush=True)
    assert spent.epsilon <= 4 and spent.free_slots == ()
    write_evidence(lines, workspace)


def write_evidence(lines: list[str], workspace: Workspace) -> None:
    published = workspace.lake.published("core.events")
    day = datetime.now(UTC).date().isoformat()
    text = [
        f"# A year of releases, {day}",
        "",
        f"{USERS:,} made-up persons, {published.rows:,} events, taste of half of them drifts; declared population",
        f"{DECLARED:,}; files land month by month, and each time the line runs up to the releases.",
        f"Commit {commit_of(REPOSITORY)}.",
        "",
        "| due | epsilon spent (PLD) | zCDP | seconds | of processor time |",
        "|---|---|---|---|---|",
        *lines,
        "",
    ]
    (REPOSITORY / "docs" / "evidence" / f"year-{day}.md").write_text("\n".join(text), encoding="utf-8")
