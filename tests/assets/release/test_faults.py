"""A ledger that cannot be used stops a due release before a file of data is opened, and nothing else."""

import re
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from assets import model
from assets.release import LEDGER_KEY, declared_plan, ledger_key, open_ledger
from data.contracts.features import DAILY
from data.contracts.model import POPULARITY
from data.ledger import Ledger, LedgerError, Reservation
from data.workspace import Workspace
from ml.privacy.accounting import ledger_composer
from tests.support.ledgers import SqlitePlace
from tests.support.postgres import Postgres
from tests.support.released import VARIABLE, Released, call, declared
from tests.support.shops import workspace_of


def _away(path: Path) -> None:
    path.rename(path.with_suffix(".away"))


def _went_another_way(workspace: Workspace) -> None:
    """A backup from before the release was put back, and other bytes were released from it."""
    SqlitePlace(workspace.ledger_path).edit("DELETE FROM {release}", "DELETE FROM {entry} WHERE sequence > 0")
    plan = declared_plan(workspace)
    ledger = Ledger.open(workspace.ledger_store, ledger_key(workspace), plan.document(), ledger_composer(plan.delta))
    grant = ledger.reserve(
        slot="popularity", asset=POPULARITY.key, run_id="r", input_version="v", code_version="1", is_published=False
    )
    assert isinstance(grant, Reservation)
    ledger.commit(grant, grant.event, b"other bytes")


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
    "restored": (_went_another_way, "'model.popularity' carries another head than row 2 of ledger"),
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
