"""A release in Dagster: what it reports of the budget, what is amber, and what stops before a row is read."""

import json
import re
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from assets import model
from assets.release import LEDGER_KEY, artefacts, ledger_key, open_ledger, plan_of
from assets.table import IS_CURRENT
from data.contracts.features import DAILY
from data.contracts.model import POPULARITY
from data.ledger import Ledger, LedgerError, Reservation
from data.workspace import Workspace
from ml.privacy.accounting import ledger_composer
from orchestration.cli import app
from orchestration.definitions import build_defs
from orchestration.jobs import DAILY as DAILY_JOB
from tests.support.ledgers import SqlitePlace
from tests.support.postgres import Postgres
from tests.support.runs import days, execute, rows
from tests.support.shops import LIVELY_START, lively_shop, workspace_of

VARIABLE = "PORTRAIT_TEST_LEDGER"
KEY = dg.AssetKey(POPULARITY.key.split("."))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small shop in which everything is made that popularity is learnt from."""
    folder = tmp_path_factory.mktemp("prepared")
    workspace = workspace_of(lively_shop(folder / "shop", 1, 24, 45), folder / "var")
    tags = days(LIVELY_START.isoformat(), (LIVELY_START + timedelta(days=44)).isoformat())
    assert execute(build_defs(workspace), dg.DagsterInstance.ephemeral(), DAILY_JOB.name, tags).success
    return folder


@pytest.fixture(scope="module")
def released(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same shop after one release, its ledger in a file."""
    folder = tmp_path_factory.mktemp("released") / "copy"
    shutil.copytree(prepared, folder)
    assert Released(workspace_of(folder / "shop" / "shop.yaml", folder / "var")).result.success
    return folder


def copied(folder: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A copy of a shop, which the command line finds too."""
    shutil.copytree(folder, target)
    monkeypatch.setenv("PORTRAIT_SHOP", str(target / "shop" / "shop.yaml"))
    monkeypatch.setenv("PORTRAIT_VAR", str(target / "var"))
    monkeypatch.setenv("COLUMNS", "200")
    return workspace_of(target / "shop" / "shop.yaml", target / "var")


@pytest.fixture
def shop(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A shop before its first release."""
    return copied(prepared, tmp_path / "copy", monkeypatch)


@pytest.fixture
def standing(released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A shop after its first release."""
    return copied(released, tmp_path / "copy", monkeypatch)


def declared(workspace: Workspace, text: str) -> Workspace:
    """The same shop with a privacy policy."""
    file = workspace.shop.location
    yaml = "\n".join(line for line in file.read_text().splitlines() if not line.startswith("privacy:"))
    file.write_text(f"{yaml}\nprivacy: {{{text}}}\n")
    return workspace_of(file, workspace.settings.var)


@pytest.fixture(params=["sqlite", "postgresql"])
def placed(request: pytest.FixtureRequest, shop: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The shop with its ledger in either place."""
    if request.param == "sqlite":
        return shop
    postgres: Postgres = request.getfixturevalue("postgres")
    monkeypatch.setenv(VARIABLE, postgres.url(request.getfixturevalue("database")))
    return declared(shop, f"ledger: '${{{VARIABLE}}}'")


class Released:
    """One materialisation of popularity, and what Dagster recorded of it."""

    def __init__(self, workspace: Workspace) -> None:
        [popularity] = [asset for asset in model.build() if KEY in asset.keys]
        self.result = dg.materialize(
            [popularity],
            instance=dg.DagsterInstance.ephemeral(),
            resources={"workspace": workspace},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )

    @property
    def metadata(self) -> dict[str, object]:
        [event] = self.result.asset_materializations_for_node("model__popularity")
        return {name: entry.value for name, entry in event.metadata.items()}

    @property
    def is_current(self) -> dg.AssetCheckEvaluation:
        [found] = [c for c in self.result.get_asset_check_evaluations() if c.check_name == IS_CURRENT]
        return found

    @property
    def failure(self) -> str:
        assert not self.result.success
        data = self.result.failure_data_for_node("model__popularity")
        said = data.user_failure_data.description if data.user_failure_data else None
        return said or str(data.error.cause.message if data.error.cause else data.error.message)


def call(*arguments: str) -> tuple[int, str, str]:
    found = CliRunner().invoke(app, list(arguments), prog_name="portrait", catch_exceptions=False)
    return found.exit_code, found.stdout, found.stderr


def test_a_release_reports_the_budget_and_every_command_knows_it(placed: Workspace, tmp_path: Path) -> None:
    code, out, _ = call("budget", "plan")
    assert code == 0 and out.count(" free ") == 2 and "not founded yet" in out and not placed.ledger_store.is_founded()
    first = Released(placed)
    assert first.result.success and first.is_current.passed
    spent = open_ledger(placed).spent()
    figures = {
        "epsilon_spent": spent.epsilon,
        "epsilon_spent_zcdp": spent.epsilon_zcdp,
        "epsilon_left": 4 - spent.epsilon,
        "slots_left": 1.0,
    }
    assert figures.items() <= first.metadata.items() and 0 < spent.epsilon < 4
    [(key, sequence, head)] = artefacts(placed.lake)
    [row] = open_ledger(placed).rows()
    assert (key, sequence, head, row.asset) == (POPULARITY.key, row.sequence, row.head, POPULARITY.key)
    again = Released(placed)
    assert again.metadata["reused"] and figures.items() <= again.metadata.items()  # the series goes on

    code, out, _ = call("ledger", "show")
    assert code == 0 and f"{spent.epsilon:.4f} (numerical, PLD" in out and "Free slots of the plan: ranker." in out
    code, out, _ = call("ledger", "verify")
    assert code == 0 and out.startswith("In order: 1 release, and 1 published table")
    code, out, _ = call("ledger", "export")
    assert code == 0 and [r["head"] for r in json.loads(out)["rows"]] == [head]
    code, out, _ = call("budget", "plan")
    assert code == 0 and "committed," in out and f"row {sequence} " in out and out.count(" free ") == 1
    assert f"Ledger {placed.ledger_store.place}: 1 slot left." in out


def test_a_refused_slot_is_amber_and_its_last_release_stays(placed: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    Released(placed)
    before, ledger = rows(placed, POPULARITY.key), open_ledger(placed).rows()
    monkeypatch.setitem(model.CODE_VERSIONS, POPULARITY.key, "2")
    refused = Released(placed)
    assert refused.result.success and refused.metadata["reused"]
    check = refused.is_current
    assert not check.passed and check.severity is dg.AssetCheckSeverity.WARN
    assert "the ledger refuses a new release" in check.description and "stays in use" in check.description
    assert refused.metadata["epsilon_left"] == 4 - refused.metadata["epsilon_spent"]
    assert rows(placed, POPULARITY.key) == before and open_ledger(placed).rows() == ledger


def test_a_slot_that_is_spent_on_nothing_is_amber_and_says_that_nothing_stands_in(placed: Workspace) -> None:
    """As after a kill between reserve and commit, when other data has landed since."""
    open_ledger(placed).reserve(
        slot="popularity", asset=POPULARITY.key, run_id="killed", input_version="before", code_version="1",
        is_published=False,
    )  # fmt: skip
    refused = Released(placed)
    check = refused.is_current
    assert not check.passed and check.severity is dg.AssetCheckSeverity.WARN
    said = "already spent in row 1 by run killed.*nothing of it was released.*no earlier release stands in for it"
    for sentence in (check.description, refused.failure):
        assert sentence is not None and re.search(said, sentence), sentence
    assert placed.lake.published(POPULARITY.key) is None


def _away(path: Path) -> None:
    path.rename(path.with_suffix(".away"))


FAULTS: dict[str, tuple[Callable[[Workspace], object], str]] = {
    "missing": (lambda w: _away(w.ledger_path), "is missing or empty, but artefact 'model.popularity' was released"),
    "corrupt": (lambda w: w.ledger_path.write_bytes(b"x" * 9000), "restore it from its latest backup"),
    "a row changed": (
        lambda w: SqlitePlace(w.ledger_path).edit("UPDATE {entry} SET body = body || ' ' WHERE sequence = 1"),
        "row 1 of ledger .* was changed, removed or moved",
    ),
    "cut": (
        lambda w: SqlitePlace(w.ledger_path).edit("DELETE FROM {release}", "DELETE FROM {entry} WHERE sequence > 1"),
        "was released under row 2, but ledger .* ends at row 1",
    ),
    "key gone": (lambda w: _away(w.settings.keys / LEDGER_KEY), "ledger.key of ledger .* is gone; restore it"),
    "key of another": (
        lambda w: (w.settings.keys / LEDGER_KEY).write_text("ab" * 32),
        "the key does not fit ledger .*; use the key that it was founded with",
    ),
    "plan changed": (
        lambda w: declared(w, "epsilon: 2"),
        r"\(epsilon is 2.0, there 4.0\).*put the old values back into the shop file",
    ),
    "database down": (
        lambda w: declared(w, "ledger: 'postgresql://nobody@127.0.0.1:1/none'"),
        r"'lively' at postgresql\+psycopg://nobody@127.0.0.1:1/none cannot be used .*check that the database runs",
    ),
}


def spoil_data(workspace: Workspace) -> None:
    """Leave no row of the days to be read: whoever tries fails by that."""
    for file in Path(workspace.lake.uri(DAILY.key)).rglob("*.parquet"):
        file.write_bytes(b"")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_ledger_that_cannot_be_used_stops_before_a_row_is_read(
    standing: Workspace, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage, said = FAULTS[fault]
    damage(standing)
    shop = workspace_of(standing.shop.location, standing.settings.var)
    with pytest.raises(LedgerError, match=said):
        open_ledger(shop)
    monkeypatch.setitem(model.CODE_VERSIONS, POPULARITY.key, "2")
    spoil_data(shop)
    due = Released(shop)
    assert re.search(said, due.failure), due.failure


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "plan changed"])
def test_a_ledger_that_cannot_be_used_is_amber_where_no_release_is_due(standing: Workspace, fault: str) -> None:
    damage, said = FAULTS[fault]
    damage(standing)
    found = Released(workspace_of(standing.shop.location, standing.settings.var))
    check = found.is_current
    assert found.result.success and not check.passed and check.severity is dg.AssetCheckSeverity.WARN
    assert re.search(rf"^the ledger cannot be asked \(.*{said}.*\); the last release stays in use$", check.description)


def test_data_that_cannot_be_read_fails_after_the_ledger_was_asked(shop: Workspace) -> None:
    """The control of the tests above: with the ledger in order it is the data that fails."""
    spoil_data(shop)
    assert "too small to be a Parquet file" in Released(shop).failure
    assert shop.ledger_store.is_founded() and open_ledger(shop).rows() == []


def test_the_plan_is_shown_even_where_the_ledger_cannot_be_used(standing: Workspace) -> None:
    declared(standing, "epsilon: 2")
    code, out, err = call("budget", "plan")
    assert code == 2 and out.count("unknown") == 2 and "of 2, mu" in out
    assert "(epsilon is 2.0, there 4.0)" in err and len(err.splitlines()) == 1


def test_a_ledger_whose_plan_knew_fewer_fields_keeps_opening(shop: Workspace) -> None:
    plan = plan_of(shop)
    earlier = plan.document()
    earlier["plan"] = {
        **earlier["plan"],
        "slots": [{k: v for k, v in s.items() if k != "randomness"} for s in earlier["plan"]["slots"]],
    }
    Ledger.open(shop.ledger_store, ledger_key(shop), earlier, ledger_composer(plan.delta))
    assert open_ledger(shop).rows() == [] and Released(shop).result.success


def test_two_ledgers_beside_one_another_are_refused_until_one_was_moved(
    standing: Workspace, postgres: Postgres, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = call("ledger", "move")
    assert code == 2 and "privacy.ledger names no database" in err
    before = open_ledger(standing).rows()
    monkeypatch.setenv(VARIABLE, postgres.url(database))
    moved = declared(standing, f"ledger: '${{{VARIABLE}}}'")
    with pytest.raises(LedgerError, match="holds one that is in use; move it there with `portrait ledger move`"):
        open_ledger(moved)
    code, out, err = call("ledger", "move")
    assert code == 0 and out.startswith("3 rows moved to ledger 'lively' at postgresql+psycopg://shopkeeper:***@"), err
    assert open_ledger(moved).rows() == before
    again = Released(moved)
    assert again.result.success and again.metadata["reused"] and again.is_current.passed
    granted = open_ledger(moved).reserve(
        slot="ranker", asset="model.ranker", run_id="r", input_version="v", code_version="1", is_published=False
    )
    assert isinstance(granted, Reservation)
    back = declared(moved, "epsilon: 4")
    with pytest.raises(LedgerError, match="was moved to 'lively' at"):
        open_ledger(back)
