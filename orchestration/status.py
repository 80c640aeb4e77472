"""How the shop stands right now: its tables, the files that wait, and the last runs."""

from collections.abc import Iterator
from datetime import UTC, datetime

from rich.table import Table as RichTable

from data.ingest import new_files
from data.ingest_tables import waiting_rows
from data.shop.errors import ShopError, SourceError
from data.workspace import Workspace
from orchestration.commands.common import counted
from orchestration.summary import contracts_of

LAST_RUNS = 5


def tables_table(workspace: Workspace) -> RichTable:
    """Every table with its class, rows, version and time of publication.

    Args:
        workspace: the shop.

    Returns:
        One row per table that the shop can have.
    """
    table = RichTable("table", "class", title=f"{workspace.shop.name}: {workspace.shop.location}", title_justify="left")
    table.add_column("rows", justify="right")
    table.add_column("version", justify="right")
    table.add_column("published (UTC)")
    for contract in contracts_of(workspace):
        published, opened = workspace.lake.published(contract.key), workspace.lake.open(contract.key)
        if published is None or opened is None:
            table.add_row(contract.key, contract.privacy, "-", "-", "not yet")
            continue
        at = datetime.fromtimestamp(opened.history(1)[0]["timestamp"] / 1000, UTC)
        rows, version = f"{published.rows:,}", str(published.version)
        table.add_row(contract.key, contract.privacy, rows, version, f"{at:%Y-%m-%d %H:%M}")
    return table


def waiting(workspace: Workspace) -> Iterator[str]:
    """One line per source about files that are not landed yet: until they are, all tables made from it are stale.

    Args:
        workspace: the shop.

    Yields:
        Lines; one that says so if nothing waits.
    """
    found = False
    for source in workspace.shop.sources:
        try:
            if workspace.shop.sources[source].is_table:
                for line in _waiting_in_table(workspace, source):
                    found = True
                    yield line
                continue
            files = new_files(workspace, source)
        except (ShopError, SourceError) as error:
            found = True
            yield f"{source}: {error}"
            continue
        if files:
            found = True
            names = ", ".join(file.name for file in files[:3]) + (", ..." if len(files) > 3 else "")
            yield f"{source}: {counted(len(files), 'new file')} to land ({names}): do it with `portrait run`."
    if not found:
        yield "No file waits: everything that the sources have is landed."


def _waiting_in_table(workspace: Workspace, source: str) -> Iterator[str]:
    declared = workspace.shop.sources[source]
    if declared.watermark is None:
        yield f"{source}: has no watermark; `portrait run` reads it whole and sees whether it changed."
    elif (waiting := waiting_rows(workspace, source)) is not None:
        yield f"{source}: rows up to {declared.watermark} {waiting.newest} wait: land them with `portrait run`."


def runs_table(workspace: Workspace) -> RichTable | None:
    """The last runs of this installation, newest first; None before the first."""
    import dagster as dg

    from orchestration.home import prepare_home

    prepare_home(workspace.settings)
    table = RichTable("run", "job", "status", "started (UTC)", "seconds", title="Last runs", title_justify="left")
    with dg.DagsterInstance.get() as instance:
        records = instance.get_run_records(limit=LAST_RUNS)
    for record in records:
        run = record.dagster_run
        started = f"{datetime.fromtimestamp(record.start_time, UTC):%Y-%m-%d %H:%M}" if record.start_time else "-"
        took = f"{record.end_time - record.start_time:.1f}" if record.start_time and record.end_time else "-"
        table.add_row(run.run_id[:8], run.job_name, run.status.value.lower(), started, took)
    return table if records else None
