"""What other processes do with a ledger. They are forked from a process that has imported this module alone."""

import json
import multiprocessing
import os
import resource
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from data.databases import parse_url
from data.ledger import BudgetRefused, LedgerError, Row
from data.ledger.postgresql import PostgresqlStore
from tests.support.ledgers import document, opened, store_at

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.support.ledger_work"])

PostgresqlStore(parse_url("postgresql://nowhere/none"), "")  # loads the driver, once for all of them

NOBODY = 65534


def ask(place: tuple[str, str], names: tuple[str, ...], asked: dict[str, Any], gate: Barrier, out: Connection) -> None:
    """Wait for the others; then open or found the ledger, ask for a slot and release it."""
    gate.wait(60)
    try:
        ledger = opened(store_at(*place), plan=document(*names))
        grant = ledger.reserve(asset="a", code_version="c", is_published=False, **asked)
        if isinstance(grant, Row):
            out.send("reused")
        else:
            ledger.commit(grant, grant.event, asked["run_id"].encode())
            out.send("released")
    except BudgetRefused:
        out.send("refused")
    except LedgerError as error:
        out.send(f"error: {error}")


def release_all(place: tuple[str, str], names: tuple[str, ...], folder: Path, out: Connection) -> None:
    """Release and publish slot after slot, telling each step once it is done."""
    out.send(("started", ""))
    files = {name: folder / f"{name}.json" for name in names}
    published = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
    artefacts = [(name, found[0], found[1]) for name, found in published.items()]
    ledger = opened(store_at(*place), plan=document(*names), artefacts=artefacts)
    for name in names:
        grant = ledger.reserve(
            slot=name,
            asset="a",
            run_id=f"run {os.getpid()}",
            input_version="v1",
            code_version="c",
            is_published=name in published,
        )
        out.send(("reserved", name))
        if not isinstance(grant, Row):
            grant = ledger.commit(grant, grant.event, os.urandom(60_000))
            out.send(("committed", name))
        draft = files[name].with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps([grant.sequence, grant.head, ledger.released(grant).hex()]))
        os.replace(draft, files[name])
        out.send(("published", name))


def work_on_a_full_disk(place: tuple[str, str], limit_bytes: int, step: str, out: Connection) -> None:
    """Reserve and commit; from one of the two steps on no file can grow beyond a limit, and that step needs more."""
    ledger = opened(store_at(*place))
    run_id = "run-1" if step == "commit" else "r" * 300_000
    try:
        if step == "reserve":
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
        grant = ledger.reserve(
            slot="popularity", asset="a", run_id=run_id, input_version="v1", code_version="c", is_published=False
        )
        assert not isinstance(grant, Row)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
        ledger.commit(grant, grant.event, os.urandom(300_000))
    except LedgerError as error:
        out.send(str(error))


def use_as_nobody(place: tuple[str, str], out: Connection) -> None:
    """Look, then reserve, as a user who is not root."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    said = []
    for use in ("look", "reserve"):
        try:
            ledger = opened(store_at(*place))
            if use == "reserve":
                ledger.reserve(
                    slot="ranker", asset="a", run_id="r", input_version="v", code_version="c", is_published=False
                )
            said.append(f"{use}: epsilon {ledger.spent().epsilon}")
        except LedgerError as error:
            said.append(f"{use}: {error}")
    out.send(said)
