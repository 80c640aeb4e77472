"""What a release writes, and what is refused."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from data.ledger import BudgetRefused, Ledger, LedgerError, Row, Store
from ml.privacy.accounting import PrivacyPlan, Slot, compose, ledger_composer
from ml.privacy.events import NonPrivateEvent
from tests.support.ledgers import DOCUMENT, EVENT, KEY, Place, document, granted, opened, release, reserve

PLAN = PrivacyPlan(
    epsilon=1,
    delta=4e-6,
    declared_users=2500,
    slots=(
        Slot(name="popularity", mechanism="discrete_gaussian", share=0.25, bound=2),
        Slot(name="ranker", mechanism="gaussian", share=0.7, bound=1, steps=36),
    ),
)
REAL = {"plan": PLAN.document(), "compose": ledger_composer(PLAN.delta)}
"""A plan with its composition by privacy loss distributions."""


def test_a_release_is_one_complete_row(place: Place) -> None:
    ledger = opened(place.store, **REAL)
    committed = release(ledger)
    event = PLAN.events()["popularity"]
    cost = compose([event], PLAN.delta)
    assert ledger.rows() == [committed]
    assert (committed.state, committed.slot, committed.asset, committed.run_id, committed.code_version) == (
        "committed", "popularity", "model/popularity", "run-1", "abc",
    )  # fmt: skip
    assert committed.event == event.model_dump(mode="json")
    assert (committed.bound, committed.mu, committed.epsilon) == (2.0, event.mu, cost.epsilon)
    assert (committed.epsilon_zcdp, committed.delta) == (cost.epsilon_zcdp, 4e-6)
    assert "one user" in committed.unit and not committed.is_clock_behind
    assert "events@7" not in json.dumps(place.entries()), "input versions are stored as keyed MACs only"
    assert ledger.released(committed) == b"noisy"


def test_the_composed_epsilon_grows_row_by_row_to_the_plans(store: Store) -> None:
    ledger = opened(store, **REAL)
    first, second = release(ledger), release(ledger, "ranker")
    both = compose(list(PLAN.events().values()), PLAN.delta)
    assert first.epsilon < second.epsilon == both.epsilon <= 1
    spent = ledger.spent()
    assert (spent.epsilon, spent.epsilon_zcdp, spent.mu) == (both.epsilon, both.epsilon_zcdp, both.mu)
    assert (spent.epsilon_declared, spent.free_slots) == (1, ())
    assert spent.epsilon_left == 1 - both.epsilon


def test_a_reservation_is_spent_before_anything_ran_and_in_every_process(store: Store) -> None:
    reserve(opened(store))
    spent = opened(store).spent()
    assert (spent.epsilon, spent.free_slots) == (0.25, ("ranker",))
    assert [row.state for row in opened(store).rows()] == ["reserved"]


def test_bytes_come_back_as_they_went_in(store: Store) -> None:
    ledger = opened(store)
    content = bytes(range(256)) * 5000 + b"'; \x00 \\x"
    assert ledger.released(release(ledger, content=content)) == content
    assert ledger.released(release(ledger, "ranker", b"")) == b""


def test_a_clock_going_backwards_changes_no_order_and_is_told(store: Store) -> None:
    times = iter(datetime(2030, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in (0, 1, 2, 1, 1))
    ledger = opened(store, clock=lambda: next(times))
    first, second = release(ledger), release(ledger, "ranker")
    assert first.recorded_at_utc > second.recorded_at_utc
    assert (first.sequence, second.sequence) == (2, 4)
    assert (first.is_clock_behind, second.is_clock_behind) == (False, True)
    ledger.verify([("popularity", first.sequence, first.head), ("ranker", second.sequence, second.head)])
    assert [row.slot for row in ledger.rows()] == ["popularity", "ranker"] and ledger.spent().free_slots == ()


# What is refused


def test_a_slot_outside_the_plan_is_refused(store: Store) -> None:
    with pytest.raises(BudgetRefused, match="only the slots popularity, ranker") as refusal:
        reserve(opened(store), "segments")
    assert refusal.value.slot == "segments"


@pytest.mark.parametrize("commit", [True, False])
@pytest.mark.parametrize("change", [{"input_version": "events@8"}, {"code_version": "abd"}, {"asset": "model/other"}])
def test_a_spent_slot_is_refused_to_other_inputs_code_or_asset(
    store: Store, commit: bool, change: dict[str, str]
) -> None:
    ledger = opened(store)
    release(ledger) if commit else reserve(ledger)
    said = "everything else goes on with that release" if commit else "only a rerun on the same inputs"
    with pytest.raises(BudgetRefused, match=f"already spent in row .*{said}"):
        reserve(ledger, **change)
    release(ledger, "ranker")  # a refusal stops only itself


def test_a_second_release_under_one_row_is_refused(store: Store) -> None:
    ledger = opened(store)
    reservation = granted(ledger)
    ledger.commit(reservation, reservation.event, b"first draw")
    with pytest.raises(BudgetRefused, match="no longer valid"):
        ledger.commit(reservation, reservation.event, b"second draw")
    again = reserve(ledger, run_id="run-2")
    assert isinstance(again, Row), "the stored release is reused, nothing is reserved to draw again"
    assert ledger.released(again) == b"first draw"
    assert len(ledger.rows()) == 1


def test_a_holder_that_was_taken_over_cannot_commit(store: Store) -> None:
    ledger = opened(store)
    slow = granted(ledger)
    fast = granted(ledger, run_id="run-2")
    assert (slow.resumed, fast.resumed) == (False, True)
    with pytest.raises(BudgetRefused, match="held by run run-2"):
        ledger.commit(slow, slow.event, b"slow")
    row = ledger.commit(fast, fast.event, b"fast")
    with pytest.raises(BudgetRefused, match="committed"):
        ledger.commit(slow, slow.event, b"slow")
    assert (ledger.released(row), row.run_id) == (b"fast", "run-2")
    assert len(ledger.rows()) == 1


@pytest.mark.parametrize(
    "ran",
    [
        {"scale": 1.0},
        {"sensitivity": 2**19},
        {"bound": 4.0},
        {"randomness": "seeded: not private"},
        {"kind": "none"},
    ],
)
def test_what_ran_must_equal_what_was_reserved(store: Store, ran: dict[str, Any]) -> None:
    ledger = opened(store)
    reservation = granted(ledger)
    event = NonPrivateEvent().model_dump() if "kind" in ran else {**reservation.event, **ran}
    with pytest.raises(LedgerError, match="stays spent and nothing may be published"):
        ledger.commit(reservation, event, b"?")
    assert [row.state for row in ledger.rows()] == ["reserved"]
    assert ledger.spent().free_slots == ("ranker",)


def test_a_published_artefact_without_a_commit_is_refused(store: Store) -> None:
    ledger = opened(store)
    with pytest.raises(BudgetRefused, match="no commit of it"):
        reserve(ledger, is_published=True)
    reserve(ledger)
    with pytest.raises(BudgetRefused, match="no commit of it"):
        reserve(ledger, is_published=True)


def test_slots_are_refused_that_a_stricter_composition_finds_too_dear(store: Store) -> None:
    names = [f"slot_{number}" for number in range(16)]
    opened(store, plan=document(*names))  # sixteen of mu 0.25 make 1, the limit

    def stricter(events: Any) -> dict[str, float]:
        return {"epsilon": 0.25 * len(events), "epsilon_zcdp": len(events), "delta": 1e-6, "mu": 0.25}

    ledger = opened(store, plan=document(*names), compose=stricter)
    for name in names[:4]:
        release(ledger, name)
    with pytest.raises(BudgetRefused, match="epsilon would be 1.25 of 1 declared"):
        reserve(ledger, names[4])
    assert ledger.spent().epsilon == 1


@pytest.mark.parametrize(
    ("slots", "sentence"),
    [
        ({"a": {"kind": "laplace", "scale": 1.0}}, "has no price"),
        ({"a": {"kind": "none"}}, "is not private"),
        ({"a": {**EVENT, "randomness": "seeded: not private"}}, "is not private"),
        ({name: PLAN.document()["slots"]["ranker"] for name in "ab"}, "slots cost epsilon"),
    ],
)
def test_a_plan_that_cannot_hold_founds_no_ledger(store: Store, slots: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LedgerError, match=sentence):
        opened(store, **{**REAL, "plan": {**PLAN.document(), "slots": slots}})
    assert not store.is_founded()
    assert opened(store).rows() == []


def test_a_short_key_is_refused(store: Store) -> None:
    with pytest.raises(LedgerError, match="5 bytes"):
        opened(store, key=b"short")
    assert not store.is_founded()


# The plan of row 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epsilon": 2.0}, r"\(epsilon is 2.0, there 1.0\).*lifetime: put the old values back"),
        ({"declared_users": 9, "delta": 2e-6}, r"\(delta is 2e-06, there 1e-06; declared_users is 9, there 2500\)"),
        ({"slots": []}, r"\(slot 'popularity' is gone; slot 'ranker' is gone\).*use the version that knows"),
        ({"slots": document(*"abcdef")["plan"]["slots"]}, r"slot 'b' is new, and 4 more\)"),
        ({"window": 28}, r"\(window is 28, there missing\)"),
        ({"slots": [{**DOCUMENT["plan"]["slots"][0], "share": 0.5}, DOCUMENT["plan"]["slots"][1]]},
         r"\(share of slot 'popularity' is 0.5, there 0.0625\); .* use the version that knows these slots$"),
    ],
)  # fmt: skip
def test_a_changed_plan_is_refused_by_what_differs(place: Place, change: dict[str, Any], said: str) -> None:
    release(opened(place.store))
    changed = {**DOCUMENT, "plan": {**DOCUMENT["plan"], **change}}
    with pytest.raises(LedgerError, match=f"^the privacy plan is not the one that ledger .*{said}") as fault:
        opened(place.store, plan=changed)
    assert "\n" not in str(fault.value) and len(place.entries()) == 3


def test_the_order_of_slots_and_fields_that_came_later_change_no_plan(store: Store) -> None:
    ledger = opened(store, **{**REAL, "plan": PLAN.document()})
    release(ledger)
    swapped = PLAN.model_copy(update={"slots": PLAN.slots[::-1]})
    assert opened(store, **{**REAL, "plan": swapped.document()}).rows() == ledger.rows()

    def todays(stored: Any) -> dict[str, Any]:
        return {**stored, "slots": [{**slot, "colour": None} for slot in stored["slots"]]}

    later = PLAN.document()
    later["plan"] = todays(later["plan"])
    with pytest.raises(LedgerError, match="colour of slot 'popularity' is null, there missing"):
        opened(store, **{**REAL, "plan": later})
    assert opened(store, **{**REAL, "plan": later}, in_todays_form=todays).rows() == ledger.rows()


def test_the_founding_plan_can_be_asked_for(store: Store) -> None:
    assert Ledger.founding_plan(store, KEY) is None and not store.is_founded()
    opened(store)
    assert Ledger.founding_plan(store, KEY) == DOCUMENT["plan"]
    with pytest.raises(LedgerError, match="the key does not fit"):
        Ledger.founding_plan(store, KEY[::-1])


def test_the_founding_plan_keeps_its_noise_whatever_later_code_would_calibrate(store: Store) -> None:
    event = granted(opened(store)).event
    recalibrated = json.loads(json.dumps(DOCUMENT))
    recalibrated["slots"]["popularity"]["scale"] += 1
    assert granted(opened(store, plan=recalibrated), run_id="run-2").event == event


def test_a_key_of_another_ledger_is_named(store: Store) -> None:
    opened(store)
    with pytest.raises(LedgerError, match="^the key does not fit ledger"):
        opened(store, key=KEY[::-1])
