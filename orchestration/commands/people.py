"""What the system says about one person, and what leaves it: profile, recommend, export."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table as RichTable

from orchestration.commands.common import Fault, JsonOption, PseudonymOption, ShopOption, console, open_shop, say

if TYPE_CHECKING:
    from data.contracts.schema import Table
    from data.workspace import Workspace

User = Annotated[str, typer.Argument(metavar="USER", help="The shop's own id of the person; not stored or logged.")]


class Task(StrEnum):
    """What a recommendation is for; `data.contracts.out.TASKS`."""

    NEXT_PURCHASES = "next_purchases"
    DISCOVERY = "discovery"


class What(StrEnum):
    """What can be exported; the keys of `data.export.EXPORTS`."""

    PROFILES = "profiles"
    RECOMMENDATIONS = "recommendations"


class Form(StrEnum):
    """Formats of an export."""

    PARQUET = "parquet"
    JSONL = "jsonl"
    SQL = "sql"


def profile(
    user: User, shop: ShopOption = None, pseudonym: PseudonymOption = False, as_json: JsonOption = False
) -> None:
    """Show the profile of one person.

    For example:

      portrait profile 1000

      portrait profile u_5f0c... --pseudonym --json
    """
    workspace = open_shop(shop)
    from data.contracts.profile import PROFILES
    from data.people import profile_of, pseudonyms

    _published(workspace, PROFILES)
    found = profile_of(workspace, pseudonyms(workspace, user, is_pseudonym=pseudonym))
    if found is None:
        say("There is no profile of this user: unknown here, without an event yet, or without consent.")
        raise typer.Exit(1)
    if as_json:
        _print_json(found)
        return
    table = RichTable("what", "value", title="Profile", title_justify="left")
    for name, value in found.items():
        table.add_row(name, _cell(value))
    console().print(table)


def recommend(
    user: User,
    shop: ShopOption = None,
    pseudonym: PseudonymOption = False,
    task: Annotated[Task, typer.Option(help="Whatever will be bought, or only what is new to the person.")] = (
        Task.NEXT_PURCHASES
    ),
    as_json: JsonOption = False,
) -> None:
    """Show what is recommended to one person; somebody unknown gets the most popular items, as far as released.

    For example:

      portrait recommend 1000

      portrait recommend 1000 --task discovery --json
    """
    workspace = open_shop(shop)
    from data.contracts.out import RECOMMENDATIONS
    from data.people import most_popular, pseudonyms, recommendations_of

    _published(workspace, RECOMMENDATIONS)
    found = recommendations_of(workspace, pseudonyms(workspace, user, is_pseudonym=pseudonym), task.value)
    if not found:
        found = most_popular(workspace)
        if not found:
            say("Nothing is known about this user, and no popularity was released to fall back on.")
            raise typer.Exit(1)
        say("Nothing is known about this user; these are the most popular items, as far as released.")
    if as_json:
        _print_json(found)
        return
    columns = [name for name in found[0] if name not in ("user_id", "task", "as_of_utc")]
    table = RichTable(*columns, title=f"Recommendations: {task.value}", title_justify="left")
    for row in found:
        table.add_row(*(_cell(row[name]) for name in columns))
    console().print(table)


def export(
    what: Annotated[What, typer.Option(help="The table that leaves.")],
    to: Annotated[str, typer.Option("--to", metavar="PATH_OR_URL", help="File, or URL of a database (SQLAlchemy).")],
    form: Annotated[Form | None, typer.Option("--format", help="Otherwise told by the ending or the URL.")] = None,
    table: Annotated[str | None, typer.Option(help="Database table; otherwise named like --what.")] = None,
    shop: ShopOption = None,
) -> None:
    """Write profiles or recommendations to a Parquet file, JSON lines or an SQL table, replacing what stands there.

    For example:

      portrait export --what profiles --to profiles.parquet

      portrait export --what recommendations --to recommendations.jsonl.gz

      portrait export --what recommendations --to sqlite:///shop.db --table recommended
    """
    workspace = open_shop(shop)
    from data.export import export as write

    rows = write(workspace, what.value, to, form=form.value if form else None, table=table)
    shown = f"table '{table or what.value}' of the database" if "://" in to else str(Path(to).expanduser())
    typer.echo(f"{rows:,} rows of {what.value} written to {shown}.")


def _published(workspace: "Workspace", contract: "Table") -> None:
    if workspace.lake.published(contract.key) is None:
        raise Fault(f"{contract.key} was never published in shop '{workspace.shop.name}'; run `portrait run` first.")


def _print_json(value: Any) -> None:
    from data.export import json_value

    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, default=json_value))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
