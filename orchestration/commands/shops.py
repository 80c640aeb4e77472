"""A shop of one's own, before anything runs: init, check-shop; and the data dictionary."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table as RichTable

from orchestration.commands.common import Fault, console, counted, say

SHOWN_ROWS = 20
SHOWN_VALUES = 3


def init(
    folder: Annotated[Path, typer.Option("--from", metavar="FOLDER", help="Where the shop's files are.")],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The YAML to write.")] = Path("shop.yaml"),
    declared_users: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Publicly known size of the user base, rounded; or fill it in later."),
    ] = None,
) -> None:
    """Draft a shop.yaml from a folder of files: guesses the columns and marks with a comment what to check.

    For example:

      portrait init --from exports/

      portrait init --from exports/ --declared-users 2000

      portrait init --from exports/ --to my_shop/shop.yaml
    """
    from data.shop.draft import draft

    if not folder.is_dir():
        raise Fault(f"{folder}: there is no such folder; name the one that holds the shop's files.")
    if not to.parent.is_dir():
        raise Fault(f"{to}: its folder does not exist; create it first.")
    if to.exists():
        raise Fault(f"{to}: stands there already and is not overwritten; name another file with --to.")
    text = draft(folder, to, declared_users)
    with os.fdopen(os.open(to, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666), "w", encoding="utf-8") as stream:
        stream.write(text)
    typer.echo(f"{to} is drafted; read its comments, then try `portrait check-shop {to}`.")


def check_shop(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The shop.yaml.")],
    rows: Annotated[int, typer.Option(help="Rows shown of each source.", min=1)] = SHOWN_ROWS,
) -> None:
    """Show some mapped rows of every source and the problems found; nothing is run or stored.

    For example:

      portrait check-shop my_shop/shop.yaml

      portrait check-shop my_shop/shop.yaml --rows 5
    """
    from data.shop.load import load_shop
    from data.shop.preview import preview

    shop = load_shop(file)
    found = preview(shop, n=rows)
    out = console()
    for name, batch in found.rows.items():
        shown = [c for c in batch.column_names if batch.column(c).null_count < batch.num_rows]
        shown = [c for c in shown if c not in ("source", "file", "file_sha256", "occurred_at_text")]
        noun = "table" if shop.sources[name].is_table else "file"
        title = f"{name}: {counted(found.files[name], noun)}, first rows"
        table = RichTable(*shown, title=title, title_justify="left")
        for row in batch.select(shown).to_pylist():
            table.add_row(*(_shown(row[c]) for c in shown))
        out.print(table)
    for name, columns in found.unmapped.items():
        out.print(f"{name}: columns that are not mapped and will be left out: {', '.join(columns)}.", markup=False)
    for problem in found.problems:
        say(problem)
    if found.problems:
        raise typer.Exit(1)
    typer.echo("No problem found; `portrait run --shop " + str(file) + "` runs it.")


def _shown(value: Any) -> str:
    """A value in a cell; of a long list its beginning and its length."""
    if isinstance(value, list):
        more = f", ... ({len(value)})" if len(value) > SHOWN_VALUES else ""
        return ", ".join(map(str, value[:SHOWN_VALUES])) + more
    return "" if value is None else str(value)


def dictionary(
    to: Annotated[Path | None, typer.Option("--to", metavar="FOLDER", help="Where the pages go.")] = None,
) -> None:
    """Write the pages that come from the contracts: data-dictionary.md and gates.md.

    For example:

      portrait dictionary

      portrait dictionary --to /tmp
    """
    from data import dictionary, gates_page
    from data.settings import REPOSITORY

    folder = to or REPOSITORY / "docs"
    if not folder.is_dir():
        raise Fault(f"{folder}: there is no such folder; create it first.")
    for name, page in (("data-dictionary.md", dictionary), ("gates.md", gates_page)):
        (folder / name).write_text(page.render(), encoding="utf-8")
        typer.echo(f"{folder / name} is written.")
