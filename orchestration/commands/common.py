"""What the commands share: the shop option, the console, and the error that ends a command with one sentence."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from data.workspace import Workspace

ShopOption = Annotated[
    Path | None,
    typer.Option("--shop", metavar="FILE", help="The shop.yaml; otherwise PORTRAIT_SHOP, otherwise the embedded shop."),
]
PseudonymOption = Annotated[bool, typer.Option("--pseudonym", help="USER is a pseudonym (u_...), not the shop's id.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

WIDTH = 120
"""Columns where there is no terminal to ask."""


class Fault(Exception):
    """Something that the user can put right: one sentence with the remedy, exit code 2."""


def console() -> Console:
    """The console of standard output."""
    found = Console(highlight=False, soft_wrap=False)
    return found if found.is_terminal else Console(highlight=False, width=WIDTH)


def say(sentence: str) -> None:
    """One line on standard error."""
    typer.echo(sentence, err=True)


def counted(n: int, what: str) -> str:
    """A number with its noun: `1 file`, `2 files`."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def open_shop(shop: Path | None) -> "Workspace":
    """Open the shop of the option, or the one that the environment names.

    The option goes into the environment, since Dagster's code location and every process of it read it there.

    Args:
        shop: value of `--shop`.

    Returns:
        The workspace.

    Raises:
        Fault: if a setting is wrong.
        ShopError: if the shop file is.
    """
    from data.settings import load_settings
    from data.workspace import open_workspace

    if shop is not None:
        os.environ["PORTRAIT_SHOP"] = str(shop.expanduser().resolve())
    try:
        settings = load_settings()
    except ValueError as error:
        raise Fault(f"{error}.") from None
    os.environ["PORTRAIT_SHOP"], os.environ["PORTRAIT_VAR"] = str(settings.shop_file), str(settings.var)
    return open_workspace(settings)
