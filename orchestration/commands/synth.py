"""A made-up shop to try things on: synth."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from orchestration.commands.common import Fault, say

ShapeOption = Literal["headerless_csv", "utc_csv", "nested_jsonl"]


def synth(
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="A new folder; data/ and truth/ come into it.")],
    users: Annotated[int, typer.Option(help="Persons.", min=10)] = 400,
    items: Annotated[int, typer.Option(help="Size of the catalogue.", min=20)] = 300,
    days: Annotated[int, typer.Option(help="Length of the history from 2024-01-01.", min=7, max=3660)] = 90,
    seed: Annotated[int, typer.Option(help="The same seed makes the same bytes.", min=0, max=2**32 - 1)] = 0,
    shape: Annotated[ShapeOption, typer.Option(help="How the files are written.")] = "utc_csv",
    drift_share: Annotated[float, typer.Option(help="Share of the persons whose taste changes.", min=0, max=1)] = 0.3,
    drift_at: Annotated[float, typer.Option(help="When, as a share of the history.", min=0, max=1)] = 0.6,
) -> None:
    """Make up a shop of any size, with a known truth: tastes, habits, drift, late and double events, bots.

    For example:

      portrait synth --to made_up/

      portrait synth --to large/ --users 100000 --items 5000 --days 90 --seed 7 --shape nested_jsonl
    """
    from data.synth.plan import Plan
    from data.synth.write import write_shop

    drift = {"drift_share": drift_share, "drift_at": drift_at}
    plan = Plan(n_users=users, n_items=items, n_days=days, seed=seed, shape=shape, **drift)
    try:
        written = write_shop(plan, to, tell=say)
    except FileExistsError as error:
        raise Fault(str(error)) from None
    except NotADirectoryError:
        raise Fault(f"{to}: is a file; name a new folder.") from None
    typer.echo(
        f"{to / 'data'}: {written.n_events:,} events in {written.n_rows:,} lines, {written.n_files:,} files; "
        f"what is true of them stands in {to / 'truth'}."
    )
    shop = to / "shop.yaml"
    typer.echo("Next:")
    for line in (
        f"portrait init --from {to / 'data'} --to {shop} --declared-users {users}",
        f"portrait check-shop {shop}",
        f"portrait run --shop {shop}",
        f"portrait recommend {written.customer} --shop {shop}",
    ):
        typer.echo(f"  {line}")
