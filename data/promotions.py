"""From landed promotions to what is promoted where and when, and what of that is known at an instant."""

from collections.abc import Mapping
from datetime import date, datetime

from data.build import Made
from data.contracts.promotions import EVERYWHERE, PROMOTIONS, PROMOTIONS_QUARANTINE
from data.contracts.reasons import BOOKKEEPING
from data.core import landed_sql, reasons_of, sources_of, wished
from data.engine import Session
from data.models import model
from data.workspace import Workspace

STARTS_PER_COMMIT = 13
"""Days with new promotions that are made, proved and published at once: where they are weekly, a quarter of a year."""


def promotions_sql() -> dict[str, str]:
    """Rendered models of the promotions: `checked`, and one per table that reads it as `promotions_checked`."""
    return {
        "checked": model("core/promotions_checked"),
        PROMOTIONS_QUARANTINE.key: model("core/promotions_quarantine"),
        PROMOTIONS.key: model("core/promotions"),
    }


def days_of_promotions(workspace: Workspace) -> set[date]:
    """Days on which a promotion begins that has landed or is published."""
    tables = [*sources_of(workspace.shop, "promotions"), PROMOTIONS]
    return {day for table in tables for day in workspace.lake.day_versions(table.key)}


def make_promotions(workspace: Workspace, session: Session) -> Mapping[str, Made]:
    """Judge the attached days of all sources of promotions.

    Args:
        workspace: the shop.
        session: with the raw tables of its promotions, `core.items` and `input_versions` attached.

    Returns:
        The promotions and the quarantine. Rows are counted as they landed: one for all lines that differ by their place
        alone.
    """
    sql = promotions_sql()
    session.define("landed.promotions", landed_sql(workspace.shop, "promotions"))
    session.materialise("promotions_checked", sql["checked"])
    aside = session.query(sql[PROMOTIONS_QUARANTINE.key])
    reasons = reasons_of(aside)
    promoted = session.query(sql[PROMOTIONS.key])
    [counts] = session.query(
        "select count(*) as kept, coalesce(sum(n_lines), 0) as n_lines from promotions_checked where reason is null"
    ).to_pylist()
    again = counts["n_lines"] - sum(len(chunk.flatten()) for chunk in promoted.column("places").chunks)
    faults = sum(n for reason, n in reasons.items() if reason not in wished(workspace.shop).union(BOOKKEEPING))
    return {
        PROMOTIONS.key: Made(
            data=promoted,
            quarantined=faults,
            kept=counts["kept"],
            notes={"n_repeated": str(again)} if again else {},
            remark=f" (set aside: {reasons})" if reasons else "",
        ),
        PROMOTIONS_QUARANTINE.key: Made(data=aside, notes={f"n_{reason}": str(n) for reason, n in reasons.items()}),
    }


def promoted_sql(instant: datetime) -> str:
    """The query of what is promoted at an instant, and of nothing that begins later.

    Args:
        instant: naive UTC.

    Returns:
        SQL over `core.promotions`: item_id, displayed and mailed (double, in [0, 1]: shares of the places of which
        anything is said for that instant) of each item that is promoted somewhere, and as_of_utc.
    """
    return model("features/promotions", instant=instant.isoformat(sep=" "), everywhere=EVERYWHERE)
