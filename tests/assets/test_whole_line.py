"""The main job from landed files to recommendations: what comes out, what never does, and what late data changes."""

import io
import shutil
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from assets.release import RELEASE_TABLES, artefacts, plan_of
from assets.table import IS_CURRENT
from data.contracts import TABLES
from data.contracts.raw import raw_table
from data.contracts.schema import Table
from data.pseudonym import load_key, pseudonymise
from data.workspace import Workspace
from ml.ranking.ranker import REASONS
from orchestration.launch import Ran, execute
from orchestration.ledger import existing_ledger
from orchestration.summary import contracts_of
from tests.support.runs import rows
from tests.support.shops import LIVELY_HEADER, LIVELY_START, customer, lively_shop, workspace_of, write_lines

N_USERS, DAYS = 24, 45
TEST_START = LIVELY_START + timedelta(days=DAYS - DAYS // 5)


class Line:
    """One shop, its instance, and what its first run said."""

    def __init__(self, shop_file: Path, var: Path) -> None:
        self.workspace: Workspace = workspace_of(shop_file, var)
        self.instance = dg.DagsterInstance.ephemeral()
        self.said = ""

    def run(self) -> Ran:
        out = io.StringIO()
        ran = execute(self.workspace, self.instance, out)
        self.said += out.getvalue()
        return ran

    def pseudonym(self, number: int) -> str:
        return pseudonymise([customer(number)], load_key(self.workspace.settings.keys / "pseudonym.key"))[0]

    def metadata(self, key: str) -> dict[str, object]:
        event = self.instance.get_latest_materialization_event(dg.AssetKey(key.split(".")))
        return {name: entry.value for name, entry in event.asset_materialization.metadata.items()}


def versions(workspace: Workspace) -> dict[str, int]:
    return {c.key: workspace.lake.published(c.key).version for c in contracts_of(workspace)}


def all_text(workspace: Workspace, contract: Table) -> str:
    with workspace.engine.session() as session:
        session.attach(contract, workspace.lake)
        return str(session.query(f"select * from {contract.key}").to_pydict())


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """One complete run, which the tests look at and do not change."""
    folder = tmp_path_factory.mktemp("line")
    line = Line(lively_shop(folder / "shop", 1, N_USERS, DAYS), folder / "var")
    ran = line.run()
    assert not ran.failed, ran.failed
    assert set(ran.made) == {c.key for c in contracts_of(line.workspace)}
    return line


def test_every_table_has_rows(line):
    empty = [c.key for c in contracts_of(line.workspace) if line.workspace.lake.published(c.key).rows == 0]
    assert empty == []


def test_every_recommendation_has_a_reason_and_an_available_item_and_discovery_is_new(line):
    workspace = line.workspace
    available = {r["item_id"] for r in rows(workspace, "core.items") if r["is_available"]}
    assert len(available) < len(rows(workspace, "core.items"))
    bought = {(e["user_id"], e["item_id"]) for e in rows(workspace, "core.events") if e["event_type"] == "purchase"}
    found = rows(workspace, "out.recommendations")
    assert {r["item_id"] for r in found} <= available
    assert {r["reason"] for r in found} <= set(REASONS) and len({r["reason"] for r in found}) > 2
    discovered = [r for r in found if r["task"] == "discovery"]
    known = [r for r in found if r["task"] == "next_purchases"]
    assert not [r for r in discovered if (r["user_id"], r["item_id"]) in bought]
    assert any((r["user_id"], r["item_id"]) in bought for r in known)
    for task in (discovered, known):
        assert {r["user_id"] for r in task} == {r["user_id"] for r in rows(workspace, "profile.profiles")}


def test_who_withheld_consent_stands_in_nothing_after_core(line):
    without = line.pseudonym(N_USERS - 1)
    assert without in all_text(line.workspace, TABLES["core.events"])
    for key in TABLES:
        if not key.startswith("core."):
            assert without not in all_text(line.workspace, TABLES[key]), key


def test_the_ledger_holds_the_plan_and_nothing_else(line):
    ledger = existing_ledger(line.workspace)
    assert {(r.slot, r.state) for r in ledger.rows()} == {
        (slot.name, "committed") for slot in plan_of(line.workspace).slots
    }
    assert len(ledger.rows()) == len(RELEASE_TABLES)
    published = artefacts(line.workspace.lake)
    assert {key for key, _, _ in published} == set(RELEASE_TABLES)
    ledger.verify(published)
    spent = ledger.spent()
    assert 0 < spent.epsilon <= spent.epsilon_declared == 4 and spent.free_slots == ()


def test_epsilon_and_quality_are_numbers_that_dagster_draws(line):
    for key in RELEASE_TABLES:
        said = line.metadata(key)
        assert isinstance(said["epsilon_spent"], float) and said["epsilon_spent"] <= said["epsilon_declared"] == 4.0
    found = line.metadata("out.evaluation")
    scores = {r["model"]: r["score"] for r in rows(line.workspace, "out.evaluation") if r["metric"] == "ndcg"}
    assert {"portrait", "without_noise", "popularity"} <= set(scores)
    for row in rows(line.workspace, "out.evaluation"):
        if row["metric"] == "ndcg":
            shown = found[f"{row['task']}_{row['model']}_ndcg"]
            assert isinstance(shown, float) and shown == pytest.approx(row["score"], abs=1e-6)


def test_no_raw_id_leaves_the_files_of_the_shop(line):
    workspace = line.workspace
    names = [customer(n) for n in range(N_USERS)]
    assert names[0] in (workspace.shop.location.parent / "tills.csv").read_text()
    texts = {contract.key: all_text(workspace, contract) for contract in contracts_of(workspace)}
    assert all("'u_" in texts[key] for key in ("raw.tills", "core.events", "core.events_quarantine"))
    runs = line.instance.get_runs()
    texts["events"] = "\n".join(repr(entry) for run in runs for entry in line.instance.all_logs(run.run_id))
    texts["runs"] = repr(runs)
    texts["terminal"] = line.said
    assert "core__events" in texts["events"] and "core.events: published" in texts["terminal"]
    plain = [p for p in workspace.settings.var.rglob("*") if p.is_file() and p.suffix != ".parquet"]
    assert workspace.ledger_path in plain and any(p.suffix == ".html" for p in plain)
    texts |= {str(path): path.read_bytes().decode("utf-8", errors="replace") for path in plain}
    assert [where for where, text in texts.items() if any(name in text for name in names)] == []


def test_a_second_run_makes_nothing(line):
    before = versions(line.workspace)
    ran = line.run()
    assert not ran.failed and ran.made == () and set(ran.up_to_date) == set(before)
    assert versions(line.workspace) == before


def late(line: Line, day: date, name: str) -> Ran:
    found = [f"{name}{n},{customer(0)},sku{n:03d},buy,3,9.0,0,{day} 23:0{n}:00,{name}," for n in range(5)]
    write_lines(line.workspace.landing / "tills" / f"{name}.csv", LIVELY_HEADER, found)
    return line.run()


def is_current(line: Line, ran: Ran) -> dict[str, dg.AssetCheckEvaluation]:
    logs = line.instance.all_logs(ran.run_id)
    found = [e.dagster_event.event_specific_data for e in logs if e.is_dagster_event]
    checks = [c for c in found if isinstance(c, dg.AssetCheckEvaluation) and c.check_name == IS_CURRENT]
    return {".".join(c.asset_key.path): c for c in checks}


@pytest.mark.slow
def test_late_purchases_change_profiles_and_never_the_releases(line, tmp_path):
    shutil.copytree(line.workspace.shop.location.parent.parent, tmp_path / "copy")
    line = Line(tmp_path / "copy" / "shop" / "shop.yaml", tmp_path / "copy" / "var")
    workspace, released = line.workspace, {k: all_text(line.workspace, TABLES[k]) for k in RELEASE_TABLES}
    ledger = [(r.slot, r.head) for r in existing_ledger(workspace).rows()]
    profile = next(r for r in rows(workspace, "profile.profiles") if r["user_id"] == line.pseudonym(0))

    after_window = late(line, TEST_START + timedelta(days=3), "new")
    assert not after_window.failed and {"profile.profiles", "out.recommendations"} <= set(after_window.made)
    assert set(RELEASE_TABLES) <= set(after_window.up_to_date)
    assert all(is_current(line, after_window)[key].passed for key in RELEASE_TABLES)
    now = next(r for r in rows(workspace, "profile.profiles") if r["user_id"] == line.pseudonym(0))
    assert now["n_events"] == profile["n_events"] + 5 and now["value"] == pytest.approx(profile["value"] + 45)

    in_window = late(line, TEST_START - timedelta(days=3), "old")
    assert not in_window.failed and {"profile.profiles", "out.recommendations", "out.evaluation"} <= set(in_window.made)
    checks = is_current(line, in_window)
    assert checks["model.gram"].passed  # it reads the days before the ranker's labels alone
    for key in ("model.popularity", "model.ranker"):
        check = checks[key]
        assert not check.passed and check.severity is dg.AssetCheckSeverity.WARN
        assert "the ledger refuses a new release" in check.description and "stays in use" in check.description
    now = next(r for r in rows(workspace, "profile.profiles") if r["user_id"] == line.pseudonym(0))
    assert now["n_events"] == profile["n_events"] + 10

    assert {k: all_text(workspace, TABLES[k]) for k in RELEASE_TABLES} == released
    assert [(r.slot, r.head) for r in existing_ledger(workspace).rows()] == ledger


def _untimed(shop_file: Path) -> None:
    said = [
        text
        for text in shop_file.read_text().splitlines(keepends=True)
        if not text.startswith(("calendar", "evaluation", "    time:"))
    ]
    shop_file.write_text("".join(said))


def _rated(shop_file: Path) -> None:
    said = shop_file.read_text().replace("      value: paid\n      discount: saved\n", "      value: stars\n")
    said = said.replace("      quantity: qty\n", "")
    shop_file.write_text(said.replace("{buy: purchase, look: view, back: return, ask: search}", "{buy: rating}"))
    path = shop_file.parent / "tills.csv"
    header, *lines = path.read_text().splitlines()
    ratings = [f"{text},{5 - number % 4}" for number, text in enumerate(lines) if ",buy," in text]
    write_lines(path, f"{header},stars", ratings)


@pytest.mark.slow
@pytest.mark.parametrize("change", [_untimed, _rated], ids=["without timestamps", "ratings"])
def test_other_kinds_of_shop_run_to_recommendations(tmp_path, change):
    shop_file = lively_shop(tmp_path / "shop", 2, 12, 45)
    change(shop_file)
    line = Line(shop_file, tmp_path / "var")
    ran = line.run()
    assert not ran.failed, ran.failed
    profiles = {r["user_id"] for r in rows(line.workspace, "profile.profiles")}
    assert len(profiles) == 11
    for task in ("next_purchases", "discovery"):
        assert {r["user_id"] for r in rows(line.workspace, "out.recommendations") if r["task"] == task} == profiles
    models = {(r["task"], r["model"]) for r in rows(line.workspace, "out.evaluation")}
    assert {("next_purchases", "portrait"), ("discovery", "portrait")} <= models
    kind = {"rating"} if change is _rated else {"purchase", "view", "return", "search"}
    assert {e["event_type"] for e in rows(line.workspace, "core.events")} == kind
    assert raw_table("tills", "events").key in ran.made
