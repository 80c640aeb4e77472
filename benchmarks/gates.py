"""Seconds that the gate of core.events takes on a published lake, in chunks of days as a first run proves them.

    PORTRAIT_VAR=var python benchmarks/gates.py

Reads the lake of the configured shop and writes nothing. The import of Great Expectations is printed apart; then the
whole gate, its parts, each rule alone on all rows (as it is judged where less does not settle it, and with the overhead
of a validation of its own), and what the comparisons with the past found.
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from data import drift, gate, validation
from data.build import Made
from data.contracts.core import EVENTS, ITEMS
from data.days import DAYS_PER_COMMIT
from data.engine import Session
from data.expectations import rules_of
from data.settings import load_settings
from data.workspace import Workspace, open_workspace


def chunks(workspace: Workspace) -> list[pa.Table]:
    """The published events in the batches in which a first run proves them."""
    days = sorted(workspace.lake.day_versions(EVENTS.key))
    found = []
    for start in range(0, len(days), DAYS_PER_COMMIT):
        with workspace.engine.session() as session:
            session.attach(EVENTS, workspace.lake, days=days[start : start + DAYS_PER_COMMIT])
            found.append(EVENTS.conform(session.query(f"select * from {EVENTS.key} order by day, user_id")))
    return found


def sessions(workspace: Workspace, batches: list[pa.Table]) -> Iterator[tuple[pa.Table, Session]]:
    """Each batch with a session that knows the items."""
    for batch in batches:
        with workspace.engine.session() as session:
            session.attach(ITEMS, workspace.lake)
            yield batch, session


def timed(what: str, call: Callable[[], Any]) -> Any:
    """Run something and print its wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = call()
    print(f"{what:34s} {time.perf_counter() - wall:7.2f} s wall {time.process_time() - cpu:7.2f} s CPU", flush=True)
    return found


def main() -> None:
    workspace = open_workspace(load_settings())
    timed("first use of Great Expectations", validation._context)
    batches = chunks(workspace)
    print(f"{sum(b.num_rows for b in batches):,} rows in {len(batches)} batches")
    for _ in range(3):
        found = timed(
            "whole gate",
            lambda: [gate.gate(workspace, EVENTS, Made(data=b), s) for b, s in sessions(workspace, batches)],
        )
    today = datetime.now(UTC).date()
    timed(
        "  comparisons with the past",
        lambda: [
            drift.comparisons(EVENTS, b, s, workspace.lake, today=today, lag_days=0)
            for b, s in sessions(workspace, batches)
        ],
    )
    timed("  references", lambda: [gate._orphans(EVENTS, b, s) for b, s in sessions(workspace, batches)])
    timed("  rules of rows", lambda: [validation.prove_rows(EVENTS, b, s) for b, s in sessions(workspace, batches)])
    rules = validation._rules(EVENTS)
    needed = sorted({c.name for c in EVENTS.columns if rules_of(c)} | set(EVENTS.primary_key))
    frames = timed("    to pandas", lambda: [validation._frame(b.select(needed)) for b in batches])
    for rule in rules:
        timed(f"    {rule.meta['check']}", lambda rule=rule: [validation._validate(f, [rule]) for f in frames])
    for number, verdicts in enumerate(found, 1):
        for verdict in verdicts:
            if verdict.severity == "warning":
                print(number, verdict.check, {k: v for k, v in verdict.observed.items() if "_count" not in k})


if __name__ == "__main__":
    main()
