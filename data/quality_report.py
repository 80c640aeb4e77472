"""What the gates found and what was set aside, as people read it: one page a run, and the latest one.

Belongs here: which facts are said, and their history. They are the gates' own verdicts as the commits carry them, the
refusals that stand, and counts of the quarantine; no value of a row. How it looks: `data.quality_page`.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from data import refusals
from data.build import published_verdicts
from data.contracts.reasons import reason_of
from data.contracts.schema import Table
from data.core import contracts_of
from data.delta_log import data_commits
from data.evaluation_report import replacing
from data.quality_page import Facts, render
from data.quarantine import counts
from data.refusals import Refusal
from data.verdicts import Verdict
from data.withdrawn import record
from data.workspace import Workspace

QUALITY_PAGE = "quality.html"
"""The latest page, in the folder of reports; dated copies stand in the folder `quality` beside it."""

LOOK_BACK = 60
"""Versions of a table, and earlier pages, that a trend goes back."""


def write_quality_report(workspace: Workspace, run_id: str) -> Path:
    """Write the page of a run, and make it the latest one.

    Args:
        workspace: the shop.
        run_id: of the run that has just ended, whatever became of it.

    Returns:
        Path of the latest page; a reader sees the old or the new one, never a part.
    """
    facts = quality_facts(workspace, run_id)
    folder = workspace.reports / "quality"
    folder.mkdir(parents=True, exist_ok=True)
    stamp = facts["written_at_utc"].replace(":", "").replace("-", "").split("+")[0]
    dated = folder / f"{stamp}Z-{run_id[:8]}"
    with replacing(dated.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(_remembered(facts), ensure_ascii=False), encoding="utf-8")
    with replacing(dated.with_suffix(".html")) as temporary:
        temporary.write_text(render(facts), encoding="utf-8")
    with replacing(workspace.reports / QUALITY_PAGE) as temporary:
        shutil.copyfile(dated.with_suffix(".html"), temporary)
    return workspace.reports / QUALITY_PAGE


def quality_facts(workspace: Workspace, run_id: str) -> Facts:
    """Everything that the page says, as JSON-able values.

    Args:
        workspace: the shop.
        run_id: of the run that has just ended.

    Returns:
        `shop`, `run_id`, `written_at_utc`, `tables`, `quarantine`, `withdrawn`.
    """
    earlier = _earlier(workspace)
    standing = refusals.standing(workspace)
    contracts = contracts_of(workspace.shop)
    return {
        "shop": workspace.shop.name,
        "run_id": run_id,
        "written_at_utc": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "tables": [_table(workspace, contract, standing.get(contract.key), earlier) for contract in contracts],
        "quarantine": _quarantine(workspace, earlier),
        "withdrawn": list(_withdrawn(workspace)),
    }


def _table(workspace: Workspace, contract: Table, refusal: Refusal | None, earlier: Sequence[Facts]) -> Facts:
    """One table: the verdicts of a refusal that stands, else those of the published version."""
    published, opened = workspace.lake.published(contract.key), workspace.lake.open(contract.key)
    commits = list(islice(data_commits(opened), LOOK_BACK)) if opened is not None else []
    verdicts = refusal.verdicts if refusal else published_verdicts(published) if published else ()
    past = _past(commits)
    rows = published.rows if published else None
    return {
        "table": contract.key,
        "doc": contract.doc,
        "status": _status(refusal, verdicts, published is not None),
        "rows": rows,
        "rows_trend": [*(run["rows"].get(contract.key) for run in earlier), rows],
        "version": published.version if published else None,
        "published_at_utc": _instant(commits[0]["timestamp"]) if commits else None,
        "refused_at_utc": refusal.at_utc if refusal else None,
        "refused_in": refusal.run_id if refusal else None,
        "checks": [_check(verdict, past.get(verdict.check, []), refusal is not None) for verdict in verdicts],
    }


def _status(refusal: Refusal | None, verdicts: Sequence[Verdict], is_published: bool) -> str:
    if refusal:
        return "bad data" if any(not v.broke for v in refusal.failed) else "check broke"
    if not is_published:
        return "not made"
    return "passed" if all(v.passed for v in verdicts) else "warned"


def _check(verdict: Verdict, past: Sequence[float], is_refused: bool) -> Facts:
    """One check; a refused batch's value follows those of the published ones."""
    value = _value(verdict)
    trend = [*past, value] if is_refused and value is not None else list(past)
    return {
        "check": verdict.check,
        "outcome": "passed" if verdict.passed else "broke" if verdict.broke else "failed",
        "severity": getattr(verdict, "severity", "critical"),
        "observed": {k: v for k, v in verdict.observed.items() if isinstance(v, int | float)},
        "value": value,
        "trend": trend,
    }


def _value(verdict: Verdict) -> float | None:
    found = verdict.observed.get("observed_value", verdict.observed.get("unexpected_count"))
    return float(found) if isinstance(found, int | float) else None


def _past(commits: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Check -> its value in every version that says one, oldest first."""
    found: dict[str, list[float]] = {}
    for commit in reversed(commits):
        notes = json.loads(commit["portrait"])
        for packed in json.loads(notes.get("verdicts", "[]")):
            verdict = Verdict.model_validate(packed)
            value = _value(verdict)
            if value is not None:
                found.setdefault(verdict.check, []).append(value)
    return found


def _quarantine(workspace: Workspace, earlier: Sequence[Facts]) -> list[Facts]:
    """Reasons with their rows now and in earlier runs; one that has gone stays in the list with 0."""
    now = {_name(row): row for row in counts(workspace)}
    gone = {name for run in earlier for name in run["aside"]} - set(now)
    found = []
    for name in [*now, *sorted(gone)]:
        table, reason, source = name.split(" ")
        row = now.get(name, {"n": 0, "share": 0.0, "first_day": None, "last_day": None})
        declared = reason_of(reason)
        found.append(
            {
                "table": table,
                "reason": reason,
                "source": source,
                "n": row["n"],
                "share": row["share"],
                "first_day": str(row["first_day"]) if row["first_day"] else None,
                "last_day": str(row["last_day"]) if row["last_day"] else None,
                "is_fault": declared.is_fault,
                "meaning": declared.meaning,
                "remedy": declared.remedy,
                "trend": [*(run["aside"].get(name, 0) for run in earlier), row["n"]],
            }
        )
    return found


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['table']} {row['reason']} {row['source']}"


def _withdrawn(workspace: Workspace) -> Iterator[Facts]:
    for name in workspace.shop.sources:
        for note in record(workspace.lake, workspace.raw(name).key):
            yield {"source": name, **note.model_dump()}


def _remembered(facts: Facts) -> Facts:
    """What later pages draw their trends from."""
    return {
        "run_id": facts["run_id"],
        "written_at_utc": facts["written_at_utc"],
        "rows": {t["table"]: t["rows"] for t in facts["tables"] if t["rows"] is not None},
        "aside": {_name(row): row["n"] for row in facts["quarantine"]},
    }


def _earlier(workspace: Workspace) -> list[Facts]:
    """What earlier pages remembered, oldest first; a damaged file is left out."""
    found = []
    for path in sorted((workspace.reports / "quality").glob("[!.]*.json"))[-LOOK_BACK:]:
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue
        if isinstance(said, dict) and all(isinstance(said.get(name), dict) for name in ("rows", "aside")):
            found.append(said)
    return found


def _instant(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
