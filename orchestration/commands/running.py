"""Running the pipeline and looking at it: run, dev, status, evaluate."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from rich.table import Table as RichTable

from orchestration.commands.common import Fault, ShopOption, console, open_shop, say

if TYPE_CHECKING:
    import dagster as dg

    from data.workspace import Workspace
    from orchestration.launch import Ran

DayOption = datetime | None
_DAY = {"formats": ["%Y-%m-%d"], "metavar": "YYYY-MM-DD"}


def run(
    shop: ShopOption = None,
    day: Annotated[DayOption, typer.Option("--day", help="This day only.", **_DAY)] = None,
    first: Annotated[DayOption, typer.Option("--from", help="First day; the calendar's.", **_DAY)] = None,
    last: Annotated[DayOption, typer.Option("--to", help="Last day; the last that a file has.", **_DAY)] = None,
) -> None:
    """Run the main job here: from landed files to evaluated recommendations. What is up to date is not made again.

    For example:

      portrait run

      portrait run --shop my_shop/shop.yaml

      portrait run --day 2017-12-24

      portrait run --from 2017-12-01 --to 2017-12-31
    """
    if day and (first or last):
        raise Fault("--day stands for one day and --from or --to for several; give one or the other.")
    started = time.monotonic()
    workspace = open_shop(shop)
    from orchestration.summary import summary

    ran = _launch(workspace, _date(day or first), _date(day or last))
    if ran.failed:
        tell_failures(ran)
    elif not ran.made:
        typer.echo(f"Nothing new: all {len(ran.up_to_date)} tables are up to date.")
    console().print(summary(workspace, time.monotonic() - started))
    if ran.failed:
        raise typer.Exit(1)


def dev(
    shop: ShopOption = None,
    port: Annotated[int, typer.Option(help="Port of the web page.", min=1, max=65535)] = 3000,
    host: Annotated[str, typer.Option(help="Address that it listens on.")] = "127.0.0.1",
) -> None:
    """Open the Dagster UI with its daemon: lineage, runs, checks, and the sensor that watches the landing folder.

    For example:

      portrait dev

      portrait dev --port 3333 --shop my_shop/shop.yaml
    """
    workspace = open_shop(shop)
    import dagster as dg

    from data.settings import REPOSITORY
    from orchestration.home import prepare_home
    from orchestration.launch import report_dead
    from orchestration.turn import Busy, alone

    prepare_home(workspace.settings)
    with suppress(Busy), alone(workspace), dg.DagsterInstance.get() as instance:
        report_dead(instance, workspace)
    command = dev_command(host, port)
    os.chdir(REPOSITORY)
    os.execv(command[0], command)


def dev_command(host: str, port: int) -> list[str]:
    """How `dg dev` is called; it needs the repository root as its folder.

    Args:
        host: address that the web page listens on.
        port: its port.

    Returns:
        The program, from the environment of this Python, and its arguments.
    """
    program = str(Path(sys.executable).parent / "dg")
    return [program, "dev", "--workspace", "workspace.yaml", "--host", host, "--port", str(port)]


def status(shop: ShopOption = None) -> None:
    """Show the tables, what waits to be landed, the last runs and the privacy ledger.

    For example:

      portrait status

      portrait status --shop my_shop/shop.yaml
    """
    workspace = open_shop(shop)
    from orchestration.status import runs_table, tables_table, waiting
    from orchestration.summary import summary

    out = console()
    out.print(tables_table(workspace))
    for line in waiting(workspace):
        out.print(line)
    runs = runs_table(workspace)
    out.print(runs if runs is not None else "No run yet; start one with `portrait run`.")
    out.print(summary(workspace))


def evaluate(shop: ShopOption = None) -> None:
    """Show how good the recommendations are beside the baselines; evaluates first if that was never done.

    For example:

      portrait evaluate
    """
    workspace = open_shop(shop)
    from data.contracts.out import EVALUATION
    from orchestration.summary import evaluated, reports

    if workspace.lake.published(EVALUATION.key) is None:
        ran = _launch(workspace, None, None, only=EVALUATION.key)
        if ran.failed:
            tell_failures(ran)
            say("The evaluation needs releases and recommendations; make them with `portrait run`.")
            raise typer.Exit(1)
    rows = evaluated(workspace)
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    table = RichTable("task", "model", *metrics, "users", title="Evaluation", title_justify="left")
    scores = {(row["task"], row["model"], row["metric"]): row["score"] for row in rows}
    for task, model, users in dict.fromkeys((row["task"], row["model"], row["n_users"]) for row in rows):
        cells = [f"{scores[task, model, m]:.4f}" if (task, model, m) in scores else "" for m in metrics]
        table.add_row(task, model, *cells, f"{users:,}")
    console().print(table)
    for path in reports(workspace):
        typer.echo(path)


def _launch(workspace: "Workspace", first: date | None, last: date | None, only: str | None = None) -> "Ran":
    """Prepare the instance, wait for nobody, and run."""
    import dagster as dg

    from orchestration.launch import execute

    with held_shop(workspace) as instance, undisturbed(sys.stderr) as out:
        keys: Sequence[dg.AssetKey] | None = [dg.AssetKey(only.split("."))] if only else None
        return execute(workspace, instance, out, first, last, keys)


@contextmanager
def held_shop(workspace: "Workspace") -> Iterator["dg.DagsterInstance"]:
    """Hold the shop's lock, with the instance where runs are recorded; runs that died before are reported.

    Raises:
        Fault: if another process is at work on the shop.
    """
    import dagster as dg

    from orchestration.home import prepare_home
    from orchestration.launch import report_dead
    from orchestration.turn import Busy, alone

    prepare_home(workspace.settings)
    try:
        with alone(workspace), dg.DagsterInstance.get() as instance:
            for run_id in report_dead(instance, workspace):
                say(f"Run {run_id[:8]} died before this one and is reported as failed; its work goes on here.")
            yield instance
    except Busy as busy:
        raise Fault(str(busy)) from None


@contextmanager
def undisturbed(stream: TextIO) -> Iterator[TextIO]:
    """A second handle on a stream, which Dagster's capture of its first one leaves alone."""
    try:
        number = os.dup(stream.fileno())
    except OSError:  # a stream in memory has no number
        yield stream
        return
    with os.fdopen(number, "w", encoding="utf-8", errors="replace") as second:
        yield second


def tell_failures(ran: "Ran") -> None:
    """One line on standard error per asset that failed."""
    for failed in ran.failed:
        say(f"{failed.asset} failed: {failed.sentence}")


def _date(value: datetime | None) -> date | None:
    return value.date() if value else None
