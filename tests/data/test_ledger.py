"""The ledger refuses what it must, survives every kill, and notices every touch."""

import json
import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from data.ledger import BudgetRefused, Ledger, LedgerError, Reservation, Row
from ml.privacy.accounting import PrivacyPlan, Slot, compose, ledger_composer
from ml.privacy.events import DiscreteGaussianEvent, NonPrivateEvent

KEY = bytes(range(32))
ROOT = Path(__file__).parents[2]
PLAN = PrivacyPlan(
    epsilon=1,
    delta=4e-6,
    declared_users=2500,
    slots=(
        Slot(name="popularity", mechanism="discrete_gaussian", share=0.25, bound=2),
        Slot(name="ranker", mechanism="gaussian", share=0.7, bound=1, steps=36),
    ),
)
DOCUMENT = PLAN.document()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def opened(path: Path, **changes: Any) -> Ledger:
    options = {"key": KEY, "plan": DOCUMENT, "compose": ledger_composer(PLAN.delta), **changes}
    return Ledger.open(path, **options)


def reserve(ledger: Ledger, slot: str = "popularity", **changes: Any) -> Reservation | Row:
    options = {
        "asset": f"model/{slot}",
        "run_id": "run-1",
        "input_version": "events@7",
        "code_version": "abc",
        "is_published": False,
        **changes,
    }
    return ledger.reserve(slot=slot, **options)


def granted(ledger: Ledger, slot: str = "popularity", **changes: Any) -> Reservation:
    reservation = reserve(ledger, slot, **changes)
    assert isinstance(reservation, Reservation)
    return reservation


def release(ledger: Ledger, slot: str = "popularity", content: bytes = b"noisy") -> Row:
    reservation = granted(ledger, slot)
    return ledger.commit(reservation, reservation.event, content)


def edit(path: Path, *statements: str) -> None:
    """What someone with the file but not the key can do."""
    with sqlite3.connect(path) as db:
        for (trigger,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            db.execute(statement)
    db.close()


# What a release writes


def test_a_release_is_one_complete_row(path: Path) -> None:
    ledger = opened(path)
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
    assert "one user" in committed.unit
    assert "events@7" not in path.read_bytes().decode("latin-1"), "input versions are stored as keyed MACs only"
    assert ledger.released(committed) == b"noisy"


def test_the_composed_epsilon_grows_row_by_row_to_the_plans(path: Path) -> None:
    ledger = opened(path)
    first, second = release(ledger), release(ledger, "ranker")
    both = compose(list(PLAN.events().values()), PLAN.delta)
    assert first.epsilon < second.epsilon == both.epsilon <= 1
    spent = ledger.spent()
    assert (spent.epsilon, spent.epsilon_zcdp, spent.mu) == (both.epsilon, both.epsilon_zcdp, both.mu)
    assert (spent.epsilon_declared, spent.free_slots) == (1, ())


def test_a_reservation_is_spent_before_anything_ran_and_in_every_process(path: Path) -> None:
    reserve(opened(path))
    spent = opened(path).spent()
    assert spent.epsilon == compose([PLAN.events()["popularity"]], PLAN.delta).epsilon
    assert spent.free_slots == ("ranker",)
    assert [row.state for row in opened(path).rows()] == ["reserved"]


def test_a_clock_going_backwards_changes_no_order(path: Path) -> None:
    times = iter(datetime(2030, 1, 1, tzinfo=UTC) - timedelta(days=day) for day in range(9))
    ledger = opened(path, clock=lambda: next(times))
    first, second = release(ledger), release(ledger, "ranker")
    assert first.recorded_at_utc > second.recorded_at_utc
    assert (first.sequence, second.sequence) == (2, 4)
    ledger.verify([("popularity", first.sequence, first.head), ("ranker", second.sequence, second.head)])


# What is refused


def test_a_slot_outside_the_plan_is_refused(path: Path) -> None:
    with pytest.raises(BudgetRefused, match="only the slots popularity, ranker") as refusal:
        reserve(opened(path), "segments")
    assert refusal.value.slot == "segments"


@pytest.mark.parametrize("commit", [True, False])
@pytest.mark.parametrize("change", [{"input_version": "events@8"}, {"code_version": "abd"}, {"asset": "model/other"}])
def test_a_spent_slot_is_refused_to_other_inputs_code_or_asset(
    path: Path, commit: bool, change: dict[str, str]
) -> None:
    ledger = opened(path)
    release(ledger) if commit else reserve(ledger)
    with pytest.raises(BudgetRefused, match="already spent in row"):
        reserve(ledger, **change)
    release(ledger, "ranker")  # a refusal stops only itself


def test_a_second_release_under_one_row_is_refused(path: Path) -> None:
    ledger = opened(path)
    reservation = granted(ledger)
    ledger.commit(reservation, reservation.event, b"first draw")
    with pytest.raises(BudgetRefused, match="no longer valid"):
        ledger.commit(reservation, reservation.event, b"second draw")
    again = reserve(ledger, run_id="run-2")
    assert isinstance(again, Row), "the stored release is reused, nothing is reserved to draw again"
    assert ledger.released(again) == b"first draw"
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
def test_what_ran_must_equal_what_was_reserved(path: Path, ran: dict[str, Any]) -> None:
    ledger = opened(path)
    reservation = granted(ledger)
    event = NonPrivateEvent().model_dump() if "kind" in ran else {**reservation.event, **ran}
    with pytest.raises(LedgerError, match="stays spent and nothing may be published"):
        ledger.commit(reservation, event, b"?")
    assert [row.state for row in ledger.rows()] == ["reserved"]
    assert ledger.spent().free_slots == ("ranker",)


def test_a_published_artefact_without_a_commit_is_refused(path: Path) -> None:
    ledger = opened(path)
    with pytest.raises(BudgetRefused, match="no commit of it"):
        reserve(ledger, is_published=True)
    reserve(ledger)
    with pytest.raises(BudgetRefused, match="no commit of it"):
        reserve(ledger, is_published=True)


def test_a_changed_plan_is_refused_in_one_sentence(path: Path) -> None:
    opened(path)
    other = PLAN.model_copy(update={"epsilon": 2.0})
    with pytest.raises(LedgerError, match=r"^the privacy plan \(sha256 \w{12}\) is not the plan \w{12} .*lifetime$"):
        opened(path, plan=other.document())


def test_the_founding_plan_keeps_its_noise_whatever_later_code_would_calibrate(path: Path) -> None:
    event = granted(opened(path)).event
    recalibrated = json.loads(json.dumps(DOCUMENT))
    recalibrated["slots"]["popularity"]["scale"] += 1
    assert granted(opened(path, plan=recalibrated), run_id="run-2").event == event


@pytest.mark.parametrize(
    ("slots", "sentence"),
    [
        ({"a": {"kind": "laplace", "scale": 1.0}}, "has no price"),
        ({"a": {"kind": "none"}}, "is not private"),
        ({"a": {**DOCUMENT["slots"]["popularity"], "randomness": "seeded: not private"}}, "is not private"),
        ({name: DOCUMENT["slots"]["ranker"] for name in "ab"}, "slots cost epsilon"),
    ],
)
def test_a_plan_that_cannot_hold_founds_no_ledger(path: Path, slots: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LedgerError, match=sentence):
        opened(path, plan={**DOCUMENT, "slots": slots})
    assert opened(path).rows() == []


def test_a_short_key_is_refused(path: Path) -> None:
    with pytest.raises(LedgerError, match="5 bytes"):
        opened(path, key=b"short")
    assert not path.exists()


# What is noticed


def test_a_cut_ledger_tail_fails_verify(path: Path) -> None:
    ledger = opened(path)
    first, second = release(ledger), release(ledger, "ranker")
    edit(path, f"DELETE FROM release WHERE sequence = {second.sequence}", "DELETE FROM entry WHERE sequence > 2")
    ledger.verify([("popularity", first.sequence, first.head)])
    artefacts = [("popularity", first.sequence, first.head), ("ranker", second.sequence, second.head)]
    for check in (ledger.verify, lambda artefacts: opened(path, artefacts=artefacts)):
        with pytest.raises(LedgerError, match="'ranker' was released under row 4, but .* ends at row 2"):
            check(artefacts)


def test_a_restored_backup_that_went_another_way_fails_verify(path: Path) -> None:
    ledger = opened(path)
    backup = path.read_bytes()
    lost = release(ledger)
    path.write_bytes(backup)
    release(ledger, "ranker")
    with pytest.raises(LedgerError, match="another head than row 2"):
        ledger.verify([("popularity", lost.sequence, lost.head)])


@pytest.mark.parametrize(
    ("damage", "row"),
    [
        ("UPDATE entry SET body = replace(body, 'run-1', 'run-9') WHERE sequence = 1", 1),
        ("UPDATE entry SET head = lower(hex(randomblob(32))) WHERE sequence = 3", 3),
        ("DELETE FROM entry WHERE sequence = 1", 1),
        ("DELETE FROM entry WHERE sequence = 0", 0),
        ("UPDATE entry SET sequence = CASE sequence WHEN 3 THEN 9 WHEN 4 THEN 3 ELSE 4 END WHERE sequence > 2", 3),
        ("UPDATE entry SET body = replace(body, '2500', '2501') WHERE sequence = 0", 0),
    ],
)
def test_a_changed_removed_or_moved_row_stops_every_use(path: Path, damage: str, row: int) -> None:
    ledger = opened(path)
    release(ledger)
    release(ledger, "ranker")
    edit(path, "DELETE FROM release", damage)
    uses = (ledger.verify, ledger.rows, ledger.spent, lambda: reserve(ledger), lambda: opened(path))
    for use in uses:
        with pytest.raises(LedgerError, match=f"row {row} of ledger|key does not fit") as fault:
            use()
        assert row == 0 or "key" not in str(fault.value)


def test_changed_released_bytes_fail_verify(path: Path) -> None:
    ledger = opened(path)
    committed = release(ledger)
    edit(path, "UPDATE release SET content = x'00'")
    for use in (ledger.verify, lambda: ledger.released(committed)):
        with pytest.raises(LedgerError, match="release of row 2 .* missing or changed"):
            use()


def test_a_key_that_does_not_fit_is_named(path: Path) -> None:
    opened(path)
    with pytest.raises(LedgerError, match="^the key does not fit ledger"):
        opened(path, key=bytes(32))


def test_the_file_itself_is_append_only(path: Path) -> None:
    release(opened(path))
    with sqlite3.connect(path) as db:
        for table in ("entry", "release"):
            for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET sequence = 99"):
                with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                    db.execute(statement)
    db.close()


@pytest.mark.parametrize("content", [None, b""])
def test_a_missing_or_empty_ledger_is_no_new_start_once_something_was_released(
    path: Path, content: bytes | None
) -> None:
    row = release(opened(path))
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LedgerError, match="missing or empty, but artefact 'popularity'"):
        opened(path, artefacts=[("popularity", row.sequence, row.head)])


@pytest.mark.parametrize("damage", ["header", "half", "page"])
def test_a_corrupt_file_gets_one_sentence(path: Path, damage: str) -> None:
    ledger = opened(path)
    release(ledger, content=os.urandom(50_000))
    content = path.read_bytes()
    spoilt = {
        "header": b"not a database" + content[14:],
        "half": content[: len(content) // 4],
        "page": content[:100] + b"\xff" * 4000 + content[4100:],
    }
    path.write_bytes(spoilt[damage])
    with pytest.raises(LedgerError, match="latest backup"):
        opened(path).verify()


@pytest.mark.parametrize("place", ["missing/ledger.sqlite", "/proc/ledger.sqlite"])
def test_a_place_that_cannot_be_written_gets_one_sentence(tmp_path: Path, place: str) -> None:
    with pytest.raises(LedgerError, match="cannot be used: unable to open"):
        opened(tmp_path / place)


# Processes: the compose function is a plain one here, so that a process starts in a tenth of a second

PROCESS = f"""
import json, math, os, resource, signal, sys, time
from pathlib import Path
from data.ledger import BudgetRefused, Ledger, LedgerError, Row

def compose(events):
    mu = math.sqrt(sum((e["sensitivity"] / e["scale"]) ** 2 for e in events))
    return {{"epsilon": mu, "epsilon_zcdp": 2 * mu, "delta": 1e-6, "mu": mu}}

event = {DiscreteGaussianEvent(sensitivity=2**20, scale=2.0**22, bound=1, randomness="opendp").model_dump()!r}
plan = {{"plan": "p", "unit": "user", "epsilon": 1.0, "delta": 1e-6, "slots": {{"popularity": event}}}}
path, published, run = Path(sys.argv[1]), Path(sys.argv[1] + ".published"), sys.argv[2]

def die_at(point):
    if len(sys.argv) > 3 and sys.argv[3] == point:
        os.kill(os.getpid(), signal.SIGKILL)

def work(input_version="v1"):
    artefacts = [("popularity", *json.loads(published.read_text())[:2])] if published.exists() else []
    ledger = Ledger.open(path, {KEY!r}, plan, compose, artefacts=artefacts)
    die_at("opened")
    grant = ledger.reserve(slot="popularity", asset="a", run_id=run, input_version=input_version, code_version="c",
                           is_published=bool(artefacts))
    die_at("reserved")
    if not isinstance(grant, Row):
        draw = os.urandom(200_000)
        die_at("drawn")
        grant = ledger.commit(grant, event, draw)
        die_at("committed")
    temporary = published.with_suffix(f".{{os.getpid()}}")
    temporary.write_text(json.dumps([grant.sequence, grant.head, ledger.released(grant).hex()]))
    die_at("half published")
    os.replace(temporary, published)
    return ledger
"""


def process(body: str, path: Path, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS + body, str(path), *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def finished(started: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = started.communicate(timeout=120)
    return out.strip(), err


def plain(events: Any) -> dict[str, float]:
    """The composition of PROCESS."""
    mu = math.sqrt(sum((event["sensitivity"] / event["scale"]) ** 2 for event in events))
    return {"epsilon": mu, "epsilon_zcdp": 2 * mu, "delta": 1e-6, "mu": mu}


def check_completed(path: Path) -> Ledger:
    """One commit, published as committed, everything verified."""
    sequence, head, content = json.loads(Path(f"{path}.published").read_text())
    with sqlite3.connect(path) as db:
        document = json.loads(db.execute("SELECT body FROM entry WHERE sequence = 0").fetchone()[0])["document"]
    db.close()
    ledger = Ledger.open(path, KEY, document, plain, artefacts=[("popularity", sequence, head)])
    ledger.verify([("popularity", sequence, head)])
    (row,) = ledger.rows()
    assert (row.state, row.sequence, row.head) == ("committed", sequence, head)
    assert ledger.released(row).hex() == content
    assert ledger.spent().mu == 0.25
    return ledger


@pytest.mark.parametrize("same_inputs", [True, False])
def test_of_racing_processes_exactly_one_releases(path: Path, same_inputs: bool) -> None:
    body = """
time.sleep(max(0, float(sys.argv[3]) - time.time()))
try:
    ledger = Ledger.open(path, KEY, plan, compose)
    version = "v1" if sys.argv[4] == "True" else run
    grant = ledger.reserve(slot="popularity", asset="a", run_id=run, input_version=version, code_version="c",
                           is_published=False)
    if isinstance(grant, Row):
        print("reused")
    else:
        time.sleep(0.02)
        ledger.commit(grant, event, run.encode())
        print("released")
except BudgetRefused:
    print("refused")
""".replace("KEY", repr(KEY))
    start = str(time.time() + 2.5)
    racers = [process(body, path, f"run-{number}", start, str(same_inputs)) for number in range(12)]
    outcomes = [finished(racer) for racer in racers]
    assert all(not err for _, err in outcomes), outcomes
    said = [out for out, _ in outcomes]
    assert said.count("released") == 1
    assert said.count("refused") == 11 if not same_inputs else set(said) <= {"released", "refused", "reused"}
    with sqlite3.connect(path) as db:
        kinds = [json.loads(body)["type"] for (body,) in db.execute("SELECT body FROM entry ORDER BY sequence")]
        (content,) = db.execute("SELECT content FROM release").fetchone()
    db.close()
    assert kinds[:2] == ["plan", "reserve"] and kinds.count("reserve") == kinds.count("commit") == 1
    assert content.decode() == f"run-{said.index('released')}"


@pytest.mark.parametrize("point", ["opened", "reserved", "drawn", "committed", "half published"])
def test_a_kill_at_any_step_and_a_rerun_complete_with_one_commit(path: Path, point: str) -> None:
    killed = process("work()", path, "run-1", point)
    finished(killed)
    assert killed.returncode == -signal.SIGKILL
    assert finished(process("work()", path, "run-2")) == ("", "")
    check_completed(path)


def test_a_release_committed_before_a_kill_is_published_unchanged_and_not_drawn_again(path: Path) -> None:
    finished(process("work()", path, "run-1", "committed"))
    with sqlite3.connect(path) as db:
        (content,) = db.execute("SELECT content FROM release").fetchone()
    db.close()
    finished(process("work()", path, "run-2"))
    (row,) = check_completed(path).rows()
    assert row.run_id == "run-1"
    assert json.loads(Path(f"{path}.published").read_text())[2] == content.hex()


def test_a_holder_that_was_taken_over_cannot_commit(path: Path) -> None:
    ledger = opened(path)
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


def test_twenty_kills_at_random_times_and_a_rerun_complete_with_one_commit(path: Path) -> None:
    started = time.perf_counter()
    assert finished(process("work()", path.with_name("uninterrupted"), "run-0")) == ("", "")
    duration = time.perf_counter() - started
    rng = random.Random(20)
    for number in range(20):
        victim = process("work()", path, f"run-{number}")
        time.sleep(rng.uniform(0.3, 1.0) * duration)
        victim.kill()
        finished(victim)
        if number % 5 == 4:
            assert finished(process("work()", path, "rerun")) == ("", "")
            check_completed(path)
            for file in path.parent.glob("ledger.sqlite*"):
                file.unlink()


def test_a_full_disk_while_committing_leaves_the_slot_spent_and_a_rerun_completes(path: Path) -> None:
    body = """
def fill(point):
    if point == "drawn":
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
die_at = fill
try:
    work()
except LedgerError as error:
    print(error)
"""
    out, err = finished(process(body, path, "run-1"))
    assert not err
    assert "cannot be used" in out and "free space" in out
    with sqlite3.connect(path) as db:
        kinds = [json.loads(body)["type"] for (body,) in db.execute("SELECT body FROM entry ORDER BY sequence")]
    db.close()
    assert kinds == ["plan", "reserve"]
    assert finished(process("work()", path, "run-2")) == ("", "")
    check_completed(path)
