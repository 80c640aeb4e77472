"""Real processes race for the last share and are killed at any instant: nothing is ever under-counted."""

import json
import random
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from data.ledger import Ledger
from tests.support.ledger_work import PROCESSES, ask, release_all
from tests.support.ledgers import Place, document, opened

N_RACERS = 20
N_KILLS = 20
SLOTS = tuple(f"slot_{number}" for number in range(6))


def race(place: Place, names: tuple[str, ...], asked: list[dict[str, Any]]) -> list[str]:
    """What each of several processes said that all began at once."""
    gate = PROCESSES.Barrier(len(asked))
    started = []
    for wanted in asked:
        ours, theirs = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(target=ask, args=((place.kind, place.address), names, wanted, gate, theirs))
        process.start()
        theirs.close()
        started.append((process, ours))
    said = [ours.recv() if ours.poll(120) else "silent" for _, ours in started]
    for process, ours in started:
        process.join(60)
        ours.close()
    return said


@pytest.mark.parametrize("n_slots", [1, 5])
def test_of_twenty_racing_processes_exactly_those_that_fit_release(place: Place, n_slots: int) -> None:
    names = tuple(f"slot_{number}" for number in range(n_slots))
    asked = [
        {"slot": names[number % n_slots], "run_id": f"run-{number}", "input_version": f"inputs of {number}"}
        for number in range(N_RACERS)
    ]
    said = race(place, names, asked)
    assert sorted(said) == ["refused"] * (N_RACERS - n_slots) + ["released"] * n_slots
    winners = {one["run_id"]: one["slot"] for one, outcome in zip(asked, said, strict=True) if outcome == "released"}
    ledger = opened(place.store, plan=document(*names))
    ledger.verify()
    assert {row.run_id: row.slot for row in ledger.rows()} == winners and set(winners.values()) == set(names)
    assert {ledger.released(row).decode() for row in ledger.rows()} == set(winners)
    assert ledger.spent().mu == pytest.approx(0.25 * n_slots**0.5) and ledger.spent().free_slots == ()
    kinds = [entry["type"] for entry in place.entries()]
    assert kinds.count("plan") == 1 and kinds.count("reserve") == kinds.count("commit") == n_slots


def test_twenty_processes_with_one_input_release_it_once(place: Place) -> None:
    asked = [{"slot": "slot_0", "run_id": f"run-{n}", "input_version": "the same"} for n in range(N_RACERS)]
    said = race(place, ("slot_0",), asked)
    # a later holder takes the reservation over, whose earlier holder then cannot commit any more
    assert said.count("released") == 1 and set(said) <= {"released", "refused", "reused"}
    ledger = opened(place.store, plan=document("slot_0"))
    ledger.verify()
    [row] = ledger.rows()
    assert row.run_id == f"run-{said.index('released')}" == ledger.released(row).decode()
    kinds = [entry["type"] for entry in place.entries()]
    assert kinds.count("reserve") == kinds.count("commit") == 1 and ledger.spent().mu == 0.25


def test_the_last_share_goes_to_exactly_as_many_as_fit(place: Place) -> None:
    """The plan was founded by a composition that took it for cheaper than the one that its slots are asked by."""
    names = tuple(f"slot_{number}" for number in range(N_RACERS))
    opened(place.store, plan=document(*names), compose=lambda events: {**dict.fromkeys(COSTS, 0.0), "epsilon": 1.0})
    asked = [{"slot": name, "run_id": f"run of {name}", "input_version": "v"} for name in names]
    said = race(place, names, asked)
    fit = 16  # sixteen of mu 0.25 make 1, the limit
    assert said.count("released") == fit and said.count("refused") == N_RACERS - fit
    ledger = opened(place.store, plan=document(*names))
    ledger.verify()
    assert ledger.spent().epsilon == 1 and len(ledger.spent().free_slots) == N_RACERS - fit
    assert {row.slot for row in ledger.rows()} == {n for n, out in zip(names, said, strict=True) if out == "released"}


COSTS = ("epsilon", "epsilon_zcdp", "delta", "mu")


# Kills


def begin(place: Place, folder: Path) -> tuple[Any, Connection]:
    """A process at work, which has said that it began."""
    ours, theirs = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=release_all, args=((place.kind, place.address), SLOTS, folder, theirs))
    process.start()
    theirs.close()
    assert ours.recv() == ("started", "")
    return process, ours


def told(ours: Connection, most: int | None = None) -> list[tuple[str, str]]:
    """Every step that a process told before it ended, or only the first ones."""
    found: list[tuple[str, str]] = []
    try:
        while most is None or len(found) < most:
            found.append(ours.recv())
    except EOFError:
        ours.close()
    return found


def check(place: Place, folder: Path, steps: list[tuple[str, str]]) -> Ledger | None:
    """Everything that was done is in the ledger, once, and paid for; None before the ledger was founded."""
    if not place.store.is_founded():
        assert steps == [] and not list(folder.glob("*.json"))
        return None
    ledger = opened(place.store, plan=document(*SLOTS))
    ledger.verify()
    rows = {row.slot: row for row in ledger.rows()}
    assert {slot for _, slot in steps} <= set(rows)
    assert all(rows[slot].state == "committed" for kind, slot in steps if kind == "committed")
    for file in folder.glob("*.json"):
        sequence, head, content = json.loads(file.read_text())
        row = rows[file.stem]
        assert (row.state, row.sequence, row.head) == ("committed", sequence, head)
        assert ledger.released(row).hex() == content
    kinds = [(entry["type"], entry.get("slot")) for entry in place.entries()]
    for slot in SLOTS:
        assert kinds.count(("reserve", slot)) == (slot in rows) and kinds.count(("commit", slot)) <= 1
    assert ledger.spent().mu == pytest.approx(0.25 * len(rows) ** 0.5)
    return ledger


def test_kills_at_random_instants_never_lose_a_reservation_and_a_rerun_completes(place: Place, tmp_path: Path) -> None:
    folder, draw, struck = tmp_path / "published", random.Random(20), 0
    folder.mkdir()
    while struck < N_KILLS:
        process, ours = begin(place, folder)
        steps = told(ours, draw.randrange(2 * len(SLOTS)))  # what a run tells at least
        time.sleep(draw.uniform(0, 0.01))  # into whatever comes next
        process.kill()
        steps += told(ours)
        process.join()
        struck += process.exitcode == -signal.SIGKILL
        ledger = check(place, folder, steps)
        if ledger is not None and len(list(folder.glob("*.json"))) == len(SLOTS):
            assert {row.state for row in ledger.rows()} == {"committed"}
            place.remove()
            for file in folder.glob("*"):
                file.unlink()
    process, ours = begin(place, folder)
    steps = told(ours)
    process.join()
    ledger = check(place, folder, steps)
    assert ledger is not None and len(list(folder.glob("*.json"))) == len(SLOTS)
    assert {row.state for row in ledger.rows()} == {"committed"}
