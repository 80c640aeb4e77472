"""The privacy ledger for people: show, verify, export, move."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table as RichTable

from orchestration.commands.common import Fault, ShopOption, console, counted, open_shop

if TYPE_CHECKING:
    from data.ledger import Ledger
    from data.workspace import Workspace

app = typer.Typer(help="The privacy ledger: what was ever learnt across users, and what that cost.")


@app.command()
def show(shop: ShopOption = None) -> None:
    """Show every release with its cost, and what is left.

    For example:

      portrait ledger show
    """
    workspace = open_shop(shop)
    ledger = _ledger(workspace)
    table = RichTable(
        "row", "slot", "state", "mechanism", "bound", "mu", "epsilon", "zCDP", "run", "recorded (UTC)",
        title=f"Ledger of {workspace.shop.name}", title_justify="left",
    )  # fmt: skip
    for row in ledger.rows():
        kind = str(row.event.get("kind", "?"))
        cells = (row.sequence, row.slot, row.state, kind, f"{row.bound:g}", f"{row.mu:.4f}", f"{row.epsilon:.4f}")
        at = row.recorded_at_utc[:16].replace("T", " ") + (" (!)" if row.is_clock_behind else "")
        table.add_row(*map(str, cells), f"{row.epsilon_zcdp:.4f}", row.run_id[:8], at)
    spent = ledger.spent()
    out = console()
    out.print(table)
    if any(row.is_clock_behind for row in ledger.rows()):
        out.print("(!) recorded by a clock that stood before an earlier row's; the order is that of the rows.")
    out.print(
        f"epsilon {spent.epsilon:.4f} (numerical, PLD; {spent.epsilon_zcdp:.4f} proven, zCDP) of "
        f"{spent.epsilon_declared:g} spent, {spent.epsilon_left:.4f} left; "
        f"user level, add or remove one user, delta {spent.delta:.3g}"
    )
    out.print(f"Free slots of the plan: {', '.join(spent.free_slots) or 'none'}.")


@app.command()
def verify(shop: ShopOption = None) -> None:
    """Check the chain from the plan to the last row, every stored release, and every published table made from one.

    For example:

      portrait ledger verify
    """
    workspace = open_shop(shop)
    from assets.release import artefacts

    ledger = _ledger(workspace)
    known = artefacts(workspace.lake)
    ledger.verify(known)
    releases, tables = counted(len(ledger.rows()), "release"), counted(len(known), "published table")
    typer.echo(f"In order: {releases}, and {tables} that carry their place in the ledger.")


@app.command()
def export(
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Otherwise standard output.")] = None,
    shop: ShopOption = None,
) -> None:
    """Write the ledger as JSON, for an auditor: the budget and every row, no released value.

    For example:

      portrait ledger export --to ledger.json
    """
    workspace = open_shop(shop)
    ledger = _ledger(workspace)
    document = {
        "shop": workspace.shop.name,
        "spent": asdict(ledger.spent()),
        "rows": [asdict(row) for row in ledger.rows()],
    }
    text = json.dumps(document, indent=2, ensure_ascii=False)
    if to is None:
        typer.echo(text)
        return
    if not to.parent.is_dir():
        raise Fault(f"{to}: its folder does not exist; create it first.")
    to.write_text(text + "\n", encoding="utf-8")
    typer.echo(f"{len(document['rows'])} rows written to {to}.")


@app.command()
def move(shop: ShopOption = None) -> None:
    """Move the ledger from this machine's file to the database that `privacy.ledger` of the shop file names.

    For example:

      portrait ledger move
    """
    workspace = open_shop(shop)
    from assets.release import ledger_key
    from data.ledger.move import move as moved
    from data.ledger.sqlite import SqliteStore

    store, file = workspace.ledger_store, SqliteStore(workspace.ledger_path)
    if isinstance(store, SqliteStore):
        raise Fault(f"{workspace.shop.location}: privacy.ledger names no database; write postgresql://user@host/db.")
    n_entries = moved(file, store, ledger_key(workspace))
    typer.echo(f"{counted(n_entries, 'row')} moved to ledger {store.place}; {file.place} is closed and may stay.")


def _ledger(workspace: "Workspace") -> "Ledger":
    from orchestration.ledger import existing_ledger

    found = existing_ledger(workspace)
    if found is None:
        place = workspace.ledger_store.place
        raise Fault(f"{place}: there is no ledger yet; the first release of `portrait run` founds it.")
    return found
