"""The evaluation as people and programs read it: one page and one JSON file, made of what is published alone.

Belongs here: which figures are said, and beside which others. Does not belong here: measuring them. The page shows the
very facts that the JSON holds; both are byte-identical as long as the tables, the shop file and the code are the same.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path

from data.contracts import model
from data.contracts.core import ITEMS
from data.contracts.features import DAILY
from data.contracts.model import PUBLIC_PRIOR
from data.contracts.out import EVALUATION, TASKS
from data.contracts.schema import Table
from data.engine import Session
from data.evaluation_page import METRICS, MODELS, TWIN, Facts, render
from data.history import periods
from data.lake import Published
from data.workspace import Workspace

NAME = "evaluation"
"""Of the two files, `evaluation.html` and `evaluation.json`."""

EXCEPTIONS: Mapping[str, str] = {
    "E1": "A gate on a whole batch (schema, volume, freshness, drift, share of quarantined rows) may stop publishing "
    "for everyone.",
    "E2": "Operators see exact counts, durations and metrics, as on this page; shoppers never do.",
    "E3": "The samplers of the noise do not take constant time.",
}
"""What decides across users, or is seen, outside the guarantee."""

_RELEASES = tuple(table for table in model.TABLES if table.privacy == "release")
_INPUTS = (DAILY, ITEMS, *model.TABLES)


def write_report(workspace: Workspace) -> Path:
    """Write `evaluation.html` and `evaluation.json` beside the lake; a reader sees the old or the new, never a part.

    Args:
        workspace: the shop; `out.evaluation` is published. A release that is missing does not hide the evaluation: the
            page says in amber that no guarantee can be stated for it.

    Returns:
        Path of the page.

    Raises:
        LookupError: if `out.evaluation` was never published.
        ValueError: if it holds a twin without noise although the shop is not declared a public benchmark.
    """
    facts = report_facts(workspace)
    page = workspace.reports / f"{NAME}.html"
    contents = {
        workspace.reports / f"{NAME}.json": json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        page: render(facts),
    }
    workspace.reports.mkdir(parents=True, exist_ok=True)
    for path, content in contents.items():
        with replacing(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return page


def report_facts(workspace: Workspace) -> Facts:
    """Everything that the report says, as JSON-able values.

    Args:
        workspace: the shop.

    Returns:
        `shop`, `measured`, `scores`, `privacy_cost`, `guarantee`, `trend`, `provenance`; days as ISO dates.

    Raises:
        LookupError: if `out.evaluation` was never published.
        ValueError: if it holds a twin without noise although the shop is not declared a public benchmark.
    """
    published = workspace.lake.published(EVALUATION.key)
    if published is None:
        raise LookupError(f"{EVALUATION.key} is not published in {workspace.lake.root}; make it with `portrait run`")
    shop = workspace.shop
    with workspace.engine.session() as session:
        scores = _scores(workspace, session)
        releases = [_release(workspace, session, contract) for contract in _RELEASES]
    if not shop.public_benchmark and any(row["model"] == TWIN for row in scores):
        raise ValueError(
            f"{EVALUATION.key} holds the model {TWIN}, but {shop.location} does not declare public_benchmark: true; "
            "evaluate anew with `portrait run`, the twin is allowed on public benchmarks alone"
        )
    return {
        "shop": {
            "name": shop.name,
            "description": shop.description,
            "is_public_benchmark": shop.public_benchmark,
            "privacy_mode": shop.privacy.mode,
        },
        "measured": _measured(workspace, published, releases),
        "scores": scores,
        "privacy_cost": _privacy_cost(scores),
        "guarantee": _guarantee(workspace, releases),
        "trend": _trend(workspace, scores),
        "provenance": _provenance(workspace),
    }


def _scores(workspace: Workspace, session: Session) -> list[Facts]:
    """Rows of the evaluation, Portrait first."""
    session.attach(EVALUATION, workspace.lake)
    rows: list[Facts] = session.query(f"select {', '.join(EVALUATION.names)} from {EVALUATION.key}").to_pylist()
    models, metrics = list(MODELS), list(METRICS)
    return sorted(
        rows,
        key=lambda r: (TASKS.index(r["task"]), _rank(models, r["model"]), _rank(metrics, r["metric"])),
    )


def _rank(known: Sequence[str], name: str) -> tuple[int, str]:
    return (known.index(name) if name in known else len(known), name)


def _measured(workspace: Workspace, published: Published, releases: Sequence[Facts]) -> Facts:
    """What the users' items were held against: the days of the test window, or a hold-out."""
    evaluation = workspace.shop.evaluation
    if not workspace.shop.is_timed:
        return {"holdout_share": evaluation.holdout_share, "holdout_seed": evaluation.holdout_seed}
    spans = periods(workspace)
    start = published.notes.get("test_start", spans.test.date().isoformat())
    learnt_until = published.notes.get("learnt_until") or max(
        (r["window_end"] for r in releases if r["window_end"]), default=None
    )
    return {
        "learnt_until": learnt_until,
        "test_start": start,
        "test_end": published.notes.get("test_end", spans.end.date().isoformat()),
        "is_unseen": learnt_until is None or learnt_until <= start,
    }


def _privacy_cost(scores: Sequence[Facts]) -> list[Facts] | None:
    """Portrait beside its twin without noise; None where there is no twin."""
    found = {(r["task"], r["metric"], r["model"]): r["score"] for r in scores}
    pairs = [
        {"task": task, "metric": metric, "portrait": score, TWIN: found[task, metric, TWIN]}
        for (task, metric, name), score in found.items()
        if name == "portrait" and (task, metric, TWIN) in found
    ]
    return [{**pair, "difference": pair["portrait"] - pair[TWIN]} for pair in pairs] or None


def _release(workspace: Workspace, session: Session, contract: Table) -> Facts:
    """One release as its rows and its commit tell it; the values are None where it is not published."""
    published = workspace.lake.published(contract.key)
    session.attach(contract, workspace.lake)
    found = session.query(
        f"select max(release) as release, min(window_start) as first, max(window_end) as stop from {contract.key}"
    ).to_pylist()[0]
    notes = published.notes if published else {}
    is_timed = workspace.shop.is_timed
    return {
        "table": contract.key,
        "doc": contract.doc,
        "version": published.version if published else None,
        "rows": published.rows if published else None,
        "release": found["release"],
        "window_start": str(found["first"]) if is_timed and found["first"] else None,
        "window_end": str(found["stop"]) if is_timed and found["stop"] else None,
        "ledger_sequence": int(notes["ledger_sequence"]) if "ledger_sequence" in notes else None,
        "ledger_head": notes.get("ledger_head"),
        **{
            name: float(notes[name]) if name in notes else None
            for name in ("epsilon_spent", "epsilon_spent_zcdp", "epsilon_declared", "delta")
        },
        "event": json.loads(notes["event"]) if "event" in notes else None,
        "unit": notes.get("unit"),
        "code_version": notes.get("code_version"),
    }


def _guarantee(workspace: Workspace, releases: Sequence[Facts]) -> Facts:
    """What is said with every release; the ledger's totals are those that its latest published row carries."""
    shop = workspace.shop
    accounted = [r for r in releases if r["ledger_sequence"] is not None]
    latest: Facts = max(accounted, key=lambda r: r["ledger_sequence"], default={})
    items = workspace.lake.published(ITEMS.key)
    return {
        "is_on": shop.privacy.mode == "on",
        "epsilon_spent": latest.get("epsilon_spent"),
        "epsilon_spent_zcdp": latest.get("epsilon_spent_zcdp"),
        "epsilon_declared": latest.get("epsilon_declared"),
        "delta": latest.get("delta"),
        "units": sorted({r["unit"] for r in accounted if r["unit"]}),
        "randomness": sorted({r["event"]["randomness"] for r in accounted if r["event"]}),
        "is_catalogue_public": shop.catalogue_public,
        "catalogue_items": items.rows if items else None,
        "exceptions": dict(EXCEPTIONS),
        "releases": list(releases),
        "missing": [r["table"] for r in releases if r["version"] is None],
        "unaccounted": [
            r["table"] for r in releases if r["rows"] and r["ledger_sequence"] is None and r["release"] != PUBLIC_PRIOR
        ],
    }


def _trend(workspace: Workspace, scores: Sequence[Facts]) -> list[Facts]:
    """NDCG of every version whose commit carries it, oldest first, of the models that are published now.

    The commits are read, not the old files: they outlive a vacuum of the table.
    """
    table = workspace.lake.open(EVALUATION.key)
    wanted = {(r["task"], r["model"]): f"{r['task']}_{r['model']}_ndcg" for r in scores}
    found = []
    for commit in reversed(table.history() if table is not None else []):
        notes = json.loads(commit.get("portrait", "{}"))
        at = datetime.fromtimestamp(commit["timestamp"] / 1000, UTC).isoformat(timespec="seconds")
        found += [
            {"version": commit["version"], "published_at_utc": at, "task": t, "model": m, "ndcg": float(notes[name])}
            for (t, m), name in wanted.items()
            if name in notes
        ]
    return found


def _provenance(workspace: Workspace) -> Facts:
    """Versions of the tables behind the figures, and of the code."""
    try:
        code = package_version("portrait")
    except PackageNotFoundError:  # a checkout that was never installed
        code = None
    found = {table.key: workspace.lake.published(table.key) for table in (EVALUATION, *_INPUTS)}
    return {
        "portrait": code,
        "tables": [
            {"table": key, "version": one.version if one else None, "content": one.content if one else None}
            for key, one in found.items()
        ],
    }


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name in the same folder that takes the place of `path` at the end, or leaves nothing behind."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
