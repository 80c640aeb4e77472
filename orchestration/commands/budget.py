"""The privacy budget before it is spent: what the plan allows, at what noise and cost, and what each release buys."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer
from rich.table import Table as RichTable

from orchestration.commands.common import ShopOption, console, counted, open_shop

if TYPE_CHECKING:
    from data.ledger import Ledger
    from ml.privacy.accounting import PrivacyPlan, Slot

NOT_MEASURED = "not measured"

app = typer.Typer(help="The privacy budget: what the plan allows, and what that buys.")


@app.command()
def plan(shop: ShopOption = None) -> None:
    """Show the releases that the shop's declarations allow, with noise, cost and worth. Reads no data.

    For example:

      portrait budget plan

      portrait budget plan --shop my_shop/shop.yaml
    """
    workspace = open_shop(shop)
    from assets.release import declared_plan, plan_of
    from data.ledger import LedgerError
    from data.ledger.rows import plan_differences
    from orchestration.ledger import existing_ledger

    drawn_up, fault = declared_plan(workspace), None
    declared, ledger = drawn_up, None
    try:
        declared, ledger = plan_of(workspace), existing_ledger(workspace)
    except LedgerError as error:  # the plan is what helps to put it right, so it is shown first
        fault = error
    states = _states(ledger)
    out = console()
    out.print(_table(declared, states if fault is None else None, f"Privacy plan of {workspace.shop.name}"))
    for line in _said(declared):
        out.print(line)
    if fault is not None:
        raise fault
    _, others = plan_differences(declared.model_dump(mode="json"), drawn_up.model_dump(mode="json"))
    if others:
        out.print(f"The ledger keeps this plan; without one, this version would draw up another: {'; '.join(others)}.")
    free = counted(len(declared.slots) - len(states), "slot")
    stands = (
        f"{free} left" if ledger else "not founded yet; the first release of `portrait run` does that, on this plan"
    )
    out.print(f"Ledger {workspace.ledger_store.place}: {stands}.", soft_wrap=True)


def _states(ledger: "Ledger | None") -> dict[str, str]:
    """How far each slot got that was ever asked for."""
    return {row.slot: f"{row.state}, row {row.sequence}" for row in ledger.rows()} if ledger else {}


def _state(slots: "Sequence[Slot]", states: dict[str, str] | None) -> str:
    """How far the slots of one kind got."""
    if states is None:
        return "unknown"
    if len(slots) == 1:
        return states.get(slots[0].name, "free")
    return f"{sum(slot.name in states for slot in slots)} of {len(slots)} spent"


def _table(declared: "PrivacyPlan", states: dict[str, str] | None, title: str) -> RichTable:
    """One row a kind of release; without states, their column says that they are unknown."""
    from ml.privacy.accounting import compose
    from ml.privacy.plan import noise_of, slots_by_kind, worth

    table = RichTable(title=title, title_justify="left", show_lines=True)
    table.add_column("slot", overflow="fold")
    table.add_column("mechanism", max_width=11)
    for name in ("share", "bound"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("noise", max_width=10)
    for name in ("mu", "epsilon", "zCDP"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", max_width=10)
    table.add_column("what it buys", min_width=25)
    for slots in slots_by_kind(declared).values():
        slot, event = slots[0], declared.events()[slots[0].name]
        alone = compose([event], declared.delta)
        table.add_row(
            slot.name,
            slot.mechanism.replace("_", " "),
            f"{slot.share:.4g}",
            f"{slot.bound:g}",
            noise_of(event),
            f"{alone.mu:.4f}",
            f"{alone.epsilon:.3f}",
            f"{alone.epsilon_zcdp:.3f}",
            _state(slots, states),
            worth(slots[-1].name, declared.declared_users, alone.mu) or NOT_MEASURED,
        )
    return table


def _said(declared: "PrivacyPlan") -> list[str]:
    """What all slots cost together, and what that rests on."""
    from ml.privacy.accounting import UNIT, compose
    from ml.privacy.plan import due_days

    cost = compose(list(declared.events().values()), declared.delta)
    users, dues = declared.declared_users, due_days(declared)
    said = [
        f"All slots together: epsilon {cost.epsilon:.4f} (numerical, PLD; {cost.epsilon_zcdp:.4f} proven, zCDP) of "
        f"{declared.epsilon:g}, mu {cost.mu:.4f}.",
        f"Delta {declared.delta:.3g}, at most 1 / (100 x {users:,}) = {1 / (100 * users):.3g}; "
        f"declared population {users:,}.",
        f"Unit: {UNIT}.",
        "In the table: shares of mu^2; noise as standard deviation on every cell, in the units of what is summed; mu, "
        "epsilon and zCDP; all of one release alone.",
    ]
    if dues:
        each, less = cost.mu / math.sqrt(len(dues)), math.sqrt(len(dues))
        said += [
            f"Of each slot {len(dues)} releases, due on {dues[0]}, then monthly to {dues[-1]}, each once its own day "
            "has begun to land; a month without a run is left out.",
            f"Each release has mu {each:.4f}; a single one would have {cost.mu:.4f}, {less:.1f} times less noise, and "
            "nothing would be learnt after it.",
        ]
    return said
