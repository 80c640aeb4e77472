"""With and without one user, the outcomes of gates varied too.

A gate of a batch may pass with a user and fail without, or the other way round; it then stops or lets through a batch
for everybody (exception E1). With its outcomes held fixed, whichever they are, nothing of anybody else changes by a
bit. That gates of rows depend on no row of anybody else is in tests/data/test_row_gates.py.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from data import gate
from data.contracts.core import EVENTS
from data.pseudonym import load_key, pseudonymise
from data.quality import Verdict, prove
from data.workspace import Workspace
from tests.support.shops import LIVELY_HEADER, customer, lively_shop, remove_customer, workspace_of, write_lines
from tests.support.stability import check_others, copy_releases, run

USER = 3
DECIDING = (EVENTS.key, "quarantine_share")
"""The gate of the deliveries below: at most one row in twenty is a fault."""
Outcomes = dict[tuple[str, str], bool]
"""(Contract key, check) -> whether it passed."""


def lines(who: int, n: int, item: str = "sku007", name: str = "ok") -> list[str]:
    """Purchases of one customer on one new day."""
    return [
        f"{name}{who}-{k},{customer(who)},{item},buy,1,{k}.5,0,2024-02-20 10:00:{k % 60:02d},d{who}," for k in range(n)
    ]


OTHERS = [line for who in (1, 2, 11) for line in lines(who, 14)]
CARRIED, SUNK = "a user's good rows carry a batch", "a user's bad rows sink a batch"
DELIVERIES = {
    CARRIED: (
        [*OTHERS, *lines(1, 4, "sku999", "bad")],
        lines(USER, 60),
        {True: True, False: False},
    ),
    SUNK: (
        OTHERS,
        [*lines(USER, 2), *lines(USER, 10, "sku999", "bad")],
        {True: False, False: True},
    ),
}
"""Name -> what others and the user deliver, and whether the gate passes with (True) and without him (False)."""


class Gates:
    """The gate of every batch as it is, but for outcomes that are given."""

    def __init__(self, held: Mapping[tuple[str, str], bool] | None = None) -> None:
        self.held, self.found, self.differed = held or {}, {}, set()

    def prove(self, contract, *arguments) -> list[Verdict]:
        verdicts = []
        for one in prove(contract, *arguments):
            key = contract.key, one.check
            self.found[key] = self.found.get(key, True) and one.passed
            wanted = self.held.get(key, one.passed)
            if wanted != one.passed:
                self.differed.add(key)
            verdicts.append(one.model_copy(update={"passed": wanted}))
        return verdicts


@pytest.fixture(scope="module")
def worlds(tmp_path_factory) -> dict[bool, Path]:
    """A shop with the user and without, each after a first delivery that passed; releases are those of the first."""
    found = {is_in: tmp_path_factory.mktemp("with" if is_in else "without") for is_in in (True, False)}
    lively_shop(found[True] / "shop", 4, 24, 45)
    shutil.copytree(found[True] / "shop", found[False] / "shop")
    assert remove_customer(found[False] / "shop", customer(USER)) > 20
    for is_in in (True, False):
        if not is_in:
            copy_releases(found[True], found[False])
        failed = run(workspace_of(found[is_in] / "shop" / "shop.yaml", found[is_in] / "var")).failed
        assert not failed, failed
    return found


def delivered(
    folder: Path, target: Path, new: list[str], held: Outcomes | None, monkeypatch
) -> tuple[Workspace, Outcomes, set[tuple[str, str]]]:
    """A copy of a world after a second delivery: the outcomes of its gates, and those of them that were changed."""
    shutil.copytree(folder, target)
    workspace = workspace_of(target / "shop" / "shop.yaml", target / "var")
    write_lines(workspace.landing / "tills" / "new.csv", LIVELY_HEADER, new)
    gates = Gates(held)
    monkeypatch.setattr(gate, "prove", gates.prove)
    refused = {failed.asset for failed in run(workspace).failed}
    assert refused <= {EVENTS.key}, refused
    assert bool(refused) != (gates.found | (held or {}))[DECIDING]
    return workspace, gates.found, gates.differed


@pytest.mark.slow
@pytest.mark.parametrize("name", [CARRIED, pytest.param(SUNK, marks=pytest.mark.prove)])
def test_with_the_outcomes_of_gates_held_fixed_nothing_of_others_moves(worlds, tmp_path, monkeypatch, name):
    others, own, passes = DELIVERIES[name]
    new = {True: [*others, *own], False: others}
    ids = pseudonymise([customer(USER)], load_key(worlds[True] / "var" / "keys" / "pseudonym.key"))
    free = {
        is_in: delivered(worlds[is_in], tmp_path / f"free_{is_in}", new[is_in], None, monkeypatch)
        for is_in in (True, False)
    }
    for is_in, (_, outcomes, _) in free.items():
        assert outcomes[DECIDING] == passes[is_in]
    with pytest.raises(AssertionError, match=r"core\.events"):  # E1: not held fixed, the gate decides for everybody
        check_others(free[True][0], free[False][0], ids)
    for is_in, (workspace, outcomes, _) in free.items():  # the other world, under the outcomes of this one
        there = not is_in
        held, _, differed = delivered(worlds[there], tmp_path / f"held_{there}", new[there], outcomes, monkeypatch)
        assert differed == {DECIDING}
        whole, rest = (workspace, held) if is_in else (held, workspace)
        removed = check_others(whole, rest, ids)
        assert {"core.events", "profile.profiles", "out.recommendations"} <= {k for k, n in removed.items() if n}
