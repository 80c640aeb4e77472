"""What was set aside and what to do about it: quarantine list, show, retry; and take-back of a landed file."""

import getpass
import os
import sys
from collections.abc import Callable
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table as RichTable

from orchestration.commands.common import JsonOption, ShopOption, console, counted, open_shop, say
from orchestration.commands.running import held_shop, tell_failures, undisturbed

if TYPE_CHECKING:
    from data.workspace import Workspace
    from orchestration.retry import Retried

app = typer.Typer(help="Rows that were set aside: how many and why, which ones, and another try after a fix.")

SourceOption = Annotated[str | None, typer.Option("--source", help="Source of the shop file.")]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Reason.")]
DayOption = Annotated[
    datetime | None, typer.Option("--day", help="UTC day.", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD")
]
WaitingOption = Annotated[
    bool, typer.Option("--waiting", help="Judge what has landed but waits behind a gate, not what is published.")
]
ByOption = Annotated[str | None, typer.Option("--by", help="Who does it, for the record; otherwise your login.")]


@app.command("list")
def list_(
    reason: ReasonOption = None,
    source: SourceOption = None,
    day: DayOption = None,
    waiting: WaitingOption = False,
    shop: ShopOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count what is set aside by table, reason and source, with a remedy for each reason.

    For example:

      portrait quarantine list

      portrait quarantine list --source orders --day 2011-03-04

      portrait quarantine list --waiting
    """
    workspace = open_shop(shop)
    from data.contracts.reasons import reason_of
    from data.quarantine import counts, wanted
    from data.withdrawn import record

    found = counts(workspace, wanted(workspace.shop, reason, source, _date(day)), waiting=waiting)
    if as_json:
        _print_json(found)
        return
    out = console()
    if not found:
        out.print("Nothing waits." if waiting else "Nothing is set aside.")
    else:
        what = "Waiting, would be set aside" if waiting else "Set aside"
        table = RichTable("table", "reason", "source", title=f"{what}: {workspace.shop.name}", title_justify="left")
        for name in ("rows", "share"):
            table.add_column(name, justify="right")
        table.add_column("first day")
        table.add_column("last day")
        for row in found:
            cells = (f"{row['n']:,}", _share(row["share"]), _day(row["first_day"]), _day(row["last_day"]))
            table.add_row(row["table"], row["reason"], row["source"], *cells)
        out.print(table)
        for name in dict.fromkeys(row["reason"] for row in found):
            one = reason_of(name)
            out.print(f"{name}: {one.meaning} Remedy: {one.remedy}.", soft_wrap=True, markup=False)
    for name in workspace.shop.sources:
        for note in record(workspace.lake, workspace.raw(name).key):
            said = (
                f"{name}: {note.file} {note.sha256[:12]} {note.action} at {note.at_utc[:16]} by {note.by}: {note.why}"
            )
            out.print(said, soft_wrap=True, markup=False)


@app.command()
def show(
    reason: Annotated[str, typer.Argument(metavar="REASON", help="Reason, as `portrait quarantine list` spells it.")],
    source: SourceOption = None,
    day: DayOption = None,
    limit: Annotated[int, typer.Option(help="At most so many rows.", min=1)] = 20,
    waiting: WaitingOption = False,
    shop: ShopOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show rows of one reason: where they came from, and what is at fault, masked.

    For example:

      portrait quarantine show unknown_item

      portrait quarantine show negative_quantity --source orders --limit 100 --json
    """
    workspace = open_shop(shop)
    from data.contracts.reasons import reason_of
    from data.quarantine import rows, wanted

    found = rows(workspace, wanted(workspace.shop, reason, source, _date(day)), limit, waiting=waiting)
    if as_json:
        _print_json(found)
        return
    if not found:
        console().print(f"No row is set aside as {reason} here.")
        return
    table = RichTable("source", "file", "digest", title=f"Rows: {reason}", title_justify="left")
    table.add_column("line", justify="right")
    for name in ("day", "column", "value, masked"):
        table.add_column(name)
    for row in found:
        where = (row["source"], row["file"], row["file_sha256"][:12], f"{row['line']:,}")
        table.add_row(*where, _day(row["day"]), row["column_name"] or "-", row["masked_value"] or "-")
    console().print(table)
    one = reason_of(reason)
    console().print(f"{one.meaning} Remedy: {one.remedy}.", soft_wrap=True, markup=False)


@app.command()
def retry(
    source: SourceOption = None,
    file: Annotated[
        str | None, typer.Option("--file", metavar="NAME", help="Corrected file that replaces the one of its name.")
    ] = None,
    replaces: Annotated[
        str | None, typer.Option("--replaces", metavar="DIGEST", help="Which one, if several had that name.")
    ] = None,
    why: Annotated[str, typer.Option("--why", help="Why it is replaced, for the record.")] = "corrected delivery",
    by: ByOption = None,
    shop: ShopOption = None,
) -> None:
    """Try again after a fix of the shop file or of a file: exactly what became stale is made, then compared.

    For example:

      portrait quarantine retry

      portrait quarantine retry --source orders

      portrait quarantine retry --file orders_2011_03.csv
    """
    workspace = open_shop(shop)
    from data.quarantine import wanted
    from data.take_back import replace

    wanted(workspace.shop, source=source)

    def fix() -> None:
        assert file is not None, "only called with a file"
        gone, _ = replace(workspace, file, by=by or _login(), why=why, source=source, replaces=replaces)
        say(f"{gone.source}: {gone} is replaced.")

    if replaces and file is None:
        raise typer.BadParameter("--replaces goes with --file; name the corrected file.")
    _retry(workspace, fix if file else None, source)


def take_back(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Name of a landed file, or the start of its digest.")],
    why: Annotated[str, typer.Option("--why", help="Why, for the record; no personal data.")],
    source: SourceOption = None,
    by: ByOption = None,
    undo: Annotated[bool, typer.Option("--undo", help="Let a file that was taken back be read again.")] = False,
    shop: ShopOption = None,
) -> None:
    """Take a landed file back: its rows leave, what follows from them is made again, and it is never read again.

    For example:

      portrait take-back orders_test.csv --why "test data of the supplier"

      portrait take-back 3f5a9c0172e4 --why "delivered twice"

      portrait take-back orders_test.csv --undo --why "it was right after all"
    """
    workspace = open_shop(shop)
    from data.take_back import allow_again
    from data.take_back import take_back as act

    def fix() -> None:
        found = (allow_again if undo else act)(workspace, file, by=by or _login(), why=why, source=source)
        say(f"{found.source}: {found} is {'allowed again' if undo else 'taken back'}.")

    _retry(workspace, fix, None)


def _retry(workspace: "Workspace", fix: Callable[[], None] | None, source: str | None) -> None:
    from data.build import Refused
    from orchestration.commands.common import Fault
    from orchestration.retry import follows_from
    from orchestration.retry import retry as again

    only = follows_from(workspace, source) if source else None
    try:
        with held_shop(workspace) as instance, undisturbed(sys.stderr) as out:
            done = again(workspace, instance, out, fix, only)
    except Refused as refused:
        raise Fault(str(refused)) from None
    _tell(done)
    if done.ran.failed:
        tell_failures(done.ran)
        raise typer.Exit(1)


def _tell(done: "Retried") -> None:
    for key, n in done.after.entered.items():
        typer.echo(f"{key}: {counted(n, 'row')} ({n - done.before.entered[key]:+,})")
    if not done.lines:
        typer.echo("Nothing is set aside.")
        return
    table = RichTable("table", "reason", title="Set aside, before and after", title_justify="left")
    is_waiting = any(line[4] or line[5] for line in done.lines)
    for name in ("before", "after", *(("waiting before", "waiting after") if is_waiting else ())):
        table.add_column(name, justify="right")
    for key, reason, *numbers in done.lines:
        table.add_row(key, reason, *(f"{n:,}" for n in numbers[: 4 if is_waiting else 2]))
    console().print(table)


def _login() -> str:
    """Who is logged in; a number where the system has no name for it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"


def _date(value: datetime | None) -> date | None:
    return value.date() if value else None


def _day(value: date | None) -> str:
    return value.isoformat() if value else "-"


def _share(value: float) -> str:
    return f"{100 * value:.2f} %"


def _print_json(value: Any) -> None:
    import json

    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))
