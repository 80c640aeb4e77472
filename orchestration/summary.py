"""What stands in a shop's lake and ledger, in a few lines: the table at the end of a run and of `portrait status`."""

from collections.abc import Callable, Iterator
from typing import Any

from rich.table import Table as RichTable

from assets.release import RELEASE_TABLES
from data import core
from data.build import published_verdicts
from data.contracts import TABLES, identity
from data.contracts.core import EVENTS_QUARANTINE, ITEMS_QUARANTINE, USERS_QUARANTINE
from data.contracts.out import EVALUATION
from data.contracts.raw import FIELDS
from data.contracts.schema import Table
from data.ledger import LedgerError
from data.verdicts import said_of
from data.workspace import Workspace
from orchestration.ledger import existing_ledger

METRIC = "ndcg"
"""The metric that the short table shows."""


def contracts_of(workspace: Workspace) -> list[Table]:
    """Contracts of all tables that this shop can have: its raw tables, and everything made from them."""
    return core.contracts_of(workspace.shop)


def summary(workspace: Workspace, seconds: float | None = None) -> RichTable:
    """The short table.

    Args:
        workspace: the shop.
        seconds: wall time of the command so far; None leaves the line out.

    Returns:
        Two columns: what, and how it stands.
    """
    table = RichTable(title=f"Shop {workspace.shop.name}", show_header=False, title_justify="left", min_width=72)
    table.add_column("what", style="bold", no_wrap=True)
    table.add_column("how it stands", overflow="fold")
    lines: list[tuple[str, Callable[[Workspace], str]]] = [
        ("Rows in", rows_in),
        ("Quarantined", quarantined),
        ("Checks", checks),
        ("Releases", releases),
        ("Privacy", privacy),
        ("Quality", quality),
        ("Outputs", outputs),
    ]
    for what, say in lines:
        table.add_row(what, say(workspace))
    table.add_row("Dagster UI", "`portrait dev`, then http://127.0.0.1:3000")
    if seconds is not None:
        table.add_row("Time", f"{seconds:.1f} s")
    return table


def rows_in(workspace: Workspace) -> str:
    """Rows of the raw tables by kind of source."""
    counts: dict[str, int] = {}
    for name, source in workspace.shop.sources.items():
        published = workspace.lake.published(workspace.raw(name).key)
        counts[source.kind] = counts.get(source.kind, 0) + (published.rows if published else 0)
    return ", ".join(f"{counts[kind]:,} {kind}" for kind in FIELDS if kind in counts)


def quarantined(workspace: Workspace) -> str:
    """Rows that were set aside, by reason."""
    aside = (EVENTS_QUARANTINE, ITEMS_QUARANTINE, USERS_QUARANTINE, identity.IDENTITIES_QUARANTINE)
    union = " union all ".join(f"select reason from {table.key}" for table in aside)
    sql = f"select reason, count(*) as n from ({union}) group by reason order by n desc, reason"
    found = query(workspace, aside, sql)
    return ", ".join(f"{row['reason']} {row['n']:,}" for row in found) or "none"


def checks(workspace: Workspace) -> str:
    """Expectations that the published tables met when they were published, and what each of the others found."""
    published = {table: workspace.lake.published(table.key) for table in contracts_of(workspace)}
    verdicts = [(table, verdict) for table, one in published.items() if one for verdict in published_verdicts(one)]
    tables, passed = sum(one is not None for one in published.values()), sum(v.passed for _, v in verdicts)
    warned = (f"\nwarning, {table.key}: {said_of(table, v)}" for table, v in verdicts if not v.passed)
    return f"{passed:,} of {len(verdicts):,} passed, on {tables} of {len(published)} tables{''.join(warned)}"


def releases(workspace: Workspace) -> str:
    """Versions of what was learnt across users."""
    said = []
    for table in (TABLES[key] for key in RELEASE_TABLES):
        published = workspace.lake.published(table.key)
        if published is not None:
            [row] = query(workspace, [table], f"select min(release) as release, min(window_end) as d from {table.key}")
            what = f"{row['release'][:12]}, window to {row['d']}" if row["release"] else "empty for this population"
            said.append(f"{table.name} version {published.version} ({what})")
    return ", ".join(said) or "none yet"


def privacy(workspace: Workspace) -> str:
    """Epsilon spent and left, from the ledger."""
    try:
        ledger = existing_ledger(workspace)
    except LedgerError as error:
        return f"the ledger cannot be trusted: {error}"
    if ledger is None:
        return "nothing was learnt across users yet: no epsilon spent"
    spent = ledger.spent()
    return (
        f"epsilon {spent.epsilon:.3f} of {spent.epsilon_declared:g} spent, "
        f"{spent.epsilon_left:.3f} left (user level, delta {spent.delta:.2g})"
    )


def quality(workspace: Workspace) -> str:
    """The short metric of every model, task by task, best first."""
    lines: dict[str, list[str]] = {}
    for row in evaluated(workspace):
        if row["metric"].lower().startswith(METRIC):
            lines.setdefault(f"{row['task']} {row['metric']}", []).append(f"{row['model']} {row['score']:.3f}")
    return "\n".join(f"{what}: {', '.join(models)}" for what, models in lines.items()) or "not evaluated yet"


def evaluated(workspace: Workspace) -> list[dict[str, Any]]:
    """Rows of the evaluation, by task and metric, best model first; none before the first evaluation."""
    return query(
        workspace, [EVALUATION], f"select * from {EVALUATION.key} order by task desc, metric, score desc, model"
    )


def outputs(workspace: Workspace) -> str:
    """Where tables and reports are."""
    return "\n".join([f"tables {workspace.lake.root}", *(f"report {path}" for path in reports(workspace))])


def reports(workspace: Workspace) -> Iterator[str]:
    """Paths of the reports for people, dated copies left out."""
    if workspace.reports.is_dir():
        yield from (str(path) for path in sorted(workspace.reports.glob("*")) if path.suffix in (".html", ".json"))


def query(workspace: Workspace, tables: list[Table] | tuple[Table, ...], sql: str) -> list[dict[str, Any]]:
    """Rows of a query over lake tables; a table before its first publication is empty."""
    with workspace.engine.session() as session:
        for table in tables:
            session.attach(table, workspace.lake)
        rows: list[dict[str, Any]] = session.query(sql).to_pylist()
    return rows
