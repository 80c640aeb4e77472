"""One run at a time on a shop, whoever launched it: the command line refuses, a run of the daemon waits its turn."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import dagster as dg

from data.workspace import Workspace

_held: set[Path] = set()
"""Locks that this process holds: a run inside `alone` has its turn already."""


class Busy(Exception):
    """Another process is at work on the same shop."""


@contextmanager
def alone(workspace: Workspace, waits: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the shop's lock; the system takes it back however the process ends.

    Args:
        workspace: the shop.
        waits: told once what is waited for; None: do not wait.

    Raises:
        Busy: if another process holds the lock and nobody wants to wait; names it.
    """
    path = workspace.home / "run.lock"
    if path in _held:
        yield
        return
    workspace.home.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="ascii") as lock:
        if not _taken(lock):
            lock.seek(0)
            holder = f"Shop '{workspace.shop.name}' is being worked on by process {lock.read().strip() or 'unknown'}"
            if waits is None:
                raise Busy(f"{holder}; wait until that run has ended, or stop it.")
            waits(f"{holder}; this run waits until that one has ended.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        _held.add(path)
        try:
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield
        finally:
            _held.remove(path)


def _taken(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def turn_on(workspace: Workspace) -> dg.ResourceDefinition:
    """The resource that every op of a run requires: made before the first, it holds the lock until after the last."""

    @dg.resource(description="The shop's lock: one run at a time, whoever launched it.")
    def turn(context: dg.InitResourceContext) -> Iterator[None]:
        assert context.log is not None, "a run has a log"
        with alone(workspace, waits=context.log.info):
            yield

    return turn
