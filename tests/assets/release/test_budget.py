"""What a release in Dagster reports of the budget, what is amber, and which plan is in force."""

import json
import re

import dagster as dg
import pytest

from assets import model
from assets.release import artefacts, declared_plan, ledger_key, open_ledger, plan_of
from data.contracts.model import POPULARITY
from data.ledger import Ledger, LedgerError
from data.workspace import Workspace
from ml.privacy.accounting import PrivacyPlan, Slot, ledger_composer
from tests.support.released import Released, call, declared
from tests.support.runs import rows


def test_a_release_reports_the_budget_and_every_command_knows_it(placed: Workspace) -> None:
    n_slots = len(plan_of(placed).slots)
    free = ", ".join(slot.name for slot in plan_of(placed).slots if slot.name != "popularity") or "none"
    code, out, _ = call("budget", "plan")
    assert (
        code == 0
        and out.count(" free ") == n_slots
        and "not founded yet" in out
        and not placed.ledger_store.is_founded()
    )
    first = Released(placed)
    assert first.result.success and first.is_current.passed
    spent = open_ledger(placed).spent()
    figures = {
        "epsilon_spent": spent.epsilon,
        "epsilon_spent_zcdp": spent.epsilon_zcdp,
        "epsilon_left": 4 - spent.epsilon,
        "slots_left": n_slots - 1.0,
    }
    assert figures.items() <= first.metadata.items() and 0 < spent.epsilon < 4
    [(key, sequence, head)] = artefacts(placed.lake)
    [row] = open_ledger(placed).rows()
    assert (key, sequence, head, row.asset) == (POPULARITY.key, row.sequence, row.head, POPULARITY.key)
    again = Released(placed)
    assert again.metadata["reused"] and figures.items() <= again.metadata.items()  # the series goes on

    code, out, _ = call("ledger", "show")
    assert code == 0 and f"{spent.epsilon:.4f} (numerical, PLD" in out and f"Free slots of the plan: {free}." in out
    code, out, _ = call("ledger", "verify")
    assert code == 0 and out.startswith("In order: 1 release, and 1 published table")
    code, out, _ = call("ledger", "export")
    assert code == 0 and [r["head"] for r in json.loads(out)["rows"]] == [head]
    code, out, _ = call("budget", "plan")
    assert code == 0 and "committed," in out and f"row {sequence} " in out and out.count(" free ") == n_slots - 1
    assert f"Ledger {placed.ledger_store.place}: {n_slots - 1} slot" in out


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


def test_the_plan_is_shown_even_where_the_ledger_cannot_be_used(standing: Workspace) -> None:
    declared(standing, "epsilon: 2")
    code, out, err = call("budget", "plan")
    assert code == 2 and "unknown" in out and "of 2, mu" in out
    assert "(epsilon is 2.0, there 4.0)" in err and len(err.splitlines()) == 1


def earlier_ledger(workspace: Workspace) -> PrivacyPlan:
    """A ledger on the plan of version 0.1: other shares, no Gram matrix, slots with fewer fields."""
    declared = declared_plan(workspace)
    slots = (
        Slot(name="popularity", mechanism="discrete_gaussian", share=0.8, bound=1),
        Slot(name="ranker", mechanism="gaussian", share=0.2, bound=0.5, steps=16),
    )
    plan = declared.model_copy(update={"slots": slots})
    document = plan.document()
    fewer = [{k: v for k, v in slot.items() if k != "randomness"} for slot in document["plan"]["slots"]]
    document["plan"] = {**document["plan"], "slots": fewer}
    Ledger.open(workspace.ledger_store, ledger_key(workspace), document, ledger_composer(plan.delta))
    return plan


def test_a_plan_of_an_earlier_version_stays_in_force(placed: Workspace) -> None:
    earlier = earlier_ledger(placed)
    assert earlier != declared_plan(placed) and plan_of(placed) == earlier
    found = Released(placed)
    assert found.result.success and found.is_current.passed
    [row] = open_ledger(placed).rows()
    assert row.event == earlier.events()["popularity"].model_dump(mode="json")
    code, out, _ = call("budget", "plan")
    said = " ".join(out.split())
    assert code == 0 and "The ledger keeps this plan; without one, this version would draw up another: " in said
    assert " 0.8 " in said and "share of slot 'popularity' is " in said and "there 0.8" in said
    changed = declared(placed, f"epsilon: 3, ledger: {json.dumps(placed.shop.privacy.ledger)}")
    with pytest.raises(LedgerError, match=r"\(epsilon is 3.0, there 4.0; .*put the old values back"):
        open_ledger(changed)
