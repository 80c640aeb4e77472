"""Launched runs are killed at random times; the rerun ends where an uninterrupted run ends, and no epsilon is lost.

Tables that no noise enters must come out equal row by row. Noise is drawn anew in every ledger, so releases and what is
made from them are held against the ledger of their own run instead.
"""

import io
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from assets.release import RELEASE_TABLES, artefacts
from data.contracts import TABLES
from data.contracts.schema import Table
from data.ledger import Ledger
from data.settings import REPOSITORY
from data.workspace import Workspace
from orchestration.launch import execute
from orchestration.ledger import existing_ledger
from orchestration.summary import contracts_of
from tests.support.shops import lively_shop, workspace_of

KILLS = int(os.environ.get("PORTRAIT_KILLS", "20"))
SEED = 20240101
AT_ONCE = 2
KEY = "ab" * 32
"""Of the pseudonyms: tables of different var folders are compared."""
FROM_RELEASES = ("out.recommendations", "out.evaluation")
PROGRESS = re.compile(r"^\s*([\d.]+) s  (.+)$", re.MULTILINE)
COMMAND = "from orchestration.cli import main; main()"


class Struck:
    """One kill: when it was planned, what it hit, and what was found after it."""

    def __init__(self, number: int, planned_s: float, folder: Path) -> None:
        self.number, self.planned_s = number, planned_s
        self.var, self.log = folder / f"var-{number}", folder / f"log-{number}.txt"
        self.is_killed = False
        self.line = "before the first line"
        self.ledger = "no ledger yet"
        self.left_s = 0.0


def launch(shop: Path, var: Path, log: Path) -> subprocess.Popen:
    """`portrait run` as a process group of its own."""
    environment = {**os.environ, "PORTRAIT_VAR": str(var), "PORTRAIT_KEY": KEY}
    environment.pop("DAGSTER_HOME", None)
    command = [sys.executable, "-c", COMMAND, "run", "--shop", str(shop)]
    with log.open("ab") as out:
        return subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )


def kill_and_rerun(struck: Struck, shop: Path) -> Struck:
    """Kill a run at its planned time, look at the ledger, and run again to the end."""
    process = launch(shop, struck.var, struck.log)
    try:
        process.wait(struck.planned_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        struck.is_killed = process.wait() == -signal.SIGKILL
    if not struck.is_killed:
        return struck
    lines = PROGRESS.findall(struck.log.read_text(encoding="utf-8", errors="replace"))
    struck.line = lines[-1][1] if lines else struck.line
    struck.ledger = ledger_after_kill(workspace_of(shop, struck.var))
    again = struck.log.with_suffix(".again.txt")
    started = time.monotonic()
    assert launch(shop, struck.var, again).wait() == 0, again.read_text(encoding="utf-8", errors="replace")[-3000:]
    struck.left_s = time.monotonic() - started
    return struck


def ledger_after_kill(workspace: Workspace) -> str:
    """Whatever is published is committed and paid for; returns what the ledger says, in a few words."""
    ledger = existing_ledger(workspace)
    if ledger is None:
        assert artefacts(workspace.lake) == []
        return "no ledger yet"
    matches_ledger(workspace, ledger)
    states = {row.slot: row.state for row in ledger.rows()}
    return ", ".join(f"{slot} {state}" for slot, state in states.items()) or "nothing reserved"


def matches_ledger(workspace: Workspace, ledger: Ledger) -> int:
    """Every published release is one committed row whose stored bytes it equals; returns how many there are."""
    ledger.verify(artefacts(workspace.lake))
    rows = {(row.asset, row.sequence): row for row in ledger.rows() if row.state == "committed"}
    published = artefacts(workspace.lake)
    for key, sequence, head in published:
        row = rows[key, sequence]
        assert row.head == head
        stored = pa.ipc.open_stream(io.BytesIO(ledger.released(row))).read_all()
        order = [(name, "ascending") for name in TABLES[key].primary_key]
        shown = table_of(workspace, TABLES[key]).select(stored.column_names).sort_by(order)
        assert shown.cast(stored.schema).equals(stored.combine_chunks().sort_by(order))
        assert ledger.spent().epsilon >= row.epsilon > 0
    return len(published)


def table_of(workspace: Workspace, contract: Table) -> pa.Table:
    """All rows in order, without what only says what they were made from."""
    names = ", ".join(f'"{name}"' for name in contract.names if name != "input_version")
    with workspace.engine.session() as session:
        session.attach(contract, workspace.lake)
        return session.query(f"select {names} from {contract.key} order by all").combine_chunks()


def remade(workspace: Workspace) -> dict[str, pa.Table]:
    """Recommendations and evaluation, made again from the releases that stand."""
    for key in FROM_RELEASES:
        shutil.rmtree(Path(workspace.lake.uri(key)))
    keys = [dg.AssetKey(key.split(".")) for key in FROM_RELEASES]
    with dg.DagsterInstance.ephemeral() as instance:
        assert not execute(workspace, instance, io.StringIO(), only=keys).failed
    return {key: table_of(workspace, TABLES[key]) for key in FROM_RELEASES}


def proved(struck: Struck, shop: Path, expected: dict[str, pa.Table], epsilon: float) -> None:
    """Everything that must hold after the rerun."""
    workspace = workspace_of(shop, struck.var)
    for contract in contracts_of(workspace):
        if contract.key in expected:
            assert table_of(workspace, contract).equals(expected[contract.key]), (struck.number, contract.key)
    ledger = existing_ledger(workspace)
    assert ledger is not None and matches_ledger(workspace, ledger) == len(RELEASE_TABLES)
    assert [row.state for row in ledger.rows()] == ["committed"] * len(RELEASE_TABLES)
    spent = ledger.spent()
    assert spent.epsilon == epsilon and spent.free_slots == ()
    stands = {key: table_of(workspace, TABLES[key]) for key in FROM_RELEASES}
    again = remade(workspace)
    assert all(again[key].equals(stands[key]) for key in FROM_RELEASES), struck.number


def uninterrupted(number: int, shop: Path, folder: Path) -> Struck:
    """A run that nobody kills."""
    whole = Struck(number, 0, folder)
    started = time.monotonic()
    assert launch(shop, whole.var, whole.log).wait() == 0, whole.log.read_text(encoding="utf-8", errors="replace")
    whole.left_s = time.monotonic() - started
    return whole


def struck_all(shop: Path, folder: Path, duration_s: float, prove: Callable[[Struck], None]) -> list[Struck]:
    """As many real kills as are asked for, each proved; the time of a run that ended before it is drawn anew."""
    draw, done, number = random.Random(SEED), [], 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            while len(done) < KILLS:
                first, number = number + 1, number + KILLS - len(done)
                planned = [Struck(n, draw.uniform(0, duration_s), folder) for n in range(first, number + 1)]
                for future in as_completed([pool.submit(kill_and_rerun, one, shop) for one in planned]):
                    one = future.result()
                    if one.is_killed:
                        prove(one)
                        print(f"{one.planned_s:.1f} s, {one.line}, {one.ledger}, {one.left_s:.0f} s", flush=True)
                        done.append(one)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return sorted(done, key=lambda one: one.planned_s)


def write_evidence(struck: list[Struck], duration_s: float, n_equal: int, epsilon: float) -> Path:
    """The dated table of kills."""
    late = sum(one.ledger != "no ledger yet" for one in struck)
    today = datetime.now(UTC).date().isoformat()
    path = REPOSITORY / "docs" / "evidence" / f"kills-{today}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    head = f"""\
# Kills, {today}

`PORTRAIT_KILLS={KILLS} make prove`, file `tests/prove/test_kills.py`, seed {SEED}: `portrait run` of a small shop as a
process group of its own, killed by SIGKILL at a random time within the {duration_s:.0f} s that uninterrupted runs
took, each on an empty var folder, then run again to the end. {len(struck)} kills; {AT_ONCE} runs at a time. {late} of
the kills struck after the ledger was founded; the others say nothing about it.

After every rerun: the {n_equal} tables that no noise enters equal the uninterrupted run's row by row; each of the
{len(RELEASE_TABLES)} slots of the plan has exactly one committed release; the published rows are the bytes in the
ledger; the ledger verifies and says epsilon {epsilon:.6f}, the plan's; recommendations and evaluation, deleted and made
again, come out the same. Right after every kill, before the rerun: what was published was committed in the ledger and
paid for.

| kill at, s | last line before it | ledger right after it | rerun, s | outcome |
|---:|---|---|---:|---|
"""
    rows = [f"| {s.planned_s:.1f} | {s.line} | {s.ledger} | {s.left_s:.0f} | equal |\n" for s in struck]
    path.write_text(head + "".join(rows), encoding="utf-8")
    return path


@pytest.mark.prove
def test_a_run_killed_at_any_time_ends_like_one_that_was_not(tmp_path, monkeypatch):
    shop = lively_shop(tmp_path / "shop", seed=3, n_users=16, days=45)
    monkeypatch.setenv("PORTRAIT_KEY", KEY)
    with ThreadPoolExecutor(AT_ONCE) as pool:  # under the load that the killed runs will be under
        whole = list(pool.map(lambda number: uninterrupted(number, shop, tmp_path), range(-AT_ONCE, 0)))
    duration_s = sum(one.left_s for one in whole) / AT_ONCE
    workspace = workspace_of(shop, whole[0].var)
    expected = {
        contract.key: table_of(workspace, contract)
        for contract in contracts_of(workspace)
        if contract.key not in (*RELEASE_TABLES, *FROM_RELEASES)
    }
    assert all(key.endswith("quarantine") or table.num_rows > 0 for key, table in expected.items())
    ledger = existing_ledger(workspace)
    assert ledger is not None
    epsilon = ledger.spent().epsilon
    for one in whole:
        proved(one, shop, expected, epsilon)
    struck = struck_all(shop, tmp_path, duration_s, lambda one: proved(one, shop, expected, epsilon))
    assert len(struck) == KILLS
    assert write_evidence(struck, duration_s, len(expected), epsilon).stat().st_size > 1000
