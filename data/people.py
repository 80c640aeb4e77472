"""One person's answer: their profile and recommendations, found by the shop's raw id or by the pseudonym.

A raw id becomes a pseudonym here and goes no further: not into a query, a message or a log.
"""

import os
import re
from typing import Any

from data.contracts.core import ITEMS, USER_ID
from data.contracts.model import POPULARITY
from data.contracts.out import RECOMMENDATIONS
from data.contracts.profile import PROFILES
from data.contracts.schema import Table
from data.pseudonym import KEY_VARIABLE, KeyFault, load_key, pseudonymise
from data.shop.config import Shop
from data.workspace import Workspace

POPULAR = "popular"
"""Reason of an item that is recommended to everybody."""


def pseudonyms(workspace: Workspace, user: str, *, is_pseudonym: bool) -> list[str]:
    """The pseudonyms under which a person may be known.

    Args:
        workspace: the shop.
        user: raw id as the shop's files have it, or a pseudonym.
        is_pseudonym: `user` is a pseudonym already.

    Returns:
        At least one; several only if the shop's sources write ids in different forms.

    Raises:
        KeyFault: if the key is gone or cannot be used.
    """
    columns = [s for s in workspace.shop.sources.values() if "user_id" in s.columns]
    if is_pseudonym or (columns and all(s.id_form == "pseudonymised" for s in columns)):
        return [user.strip()]
    file = workspace.settings.keys / "pseudonym.key"
    if KEY_VARIABLE not in os.environ and not file.exists():
        raise KeyFault(f"Key file {file} is gone; restore it or set {KEY_VARIABLE}: without it no raw id can be found.")
    return pseudonymise(_spellings(workspace.shop, user), load_key(file))


def profile_of(workspace: Workspace, users: list[str]) -> dict[str, Any] | None:
    """The profile of the first of these pseudonyms that has one.

    Args:
        workspace: the shop.
        users: pseudonyms.

    Returns:
        Column -> value, or None for a person without a profile.
    """
    rows = _rows(workspace, [PROFILES], f"select * from {PROFILES.key} where {_among(users)} order by user_id")
    return rows[0] if rows else None


def recommendations_of(workspace: Workspace, users: list[str], task: str) -> list[dict[str, Any]]:
    """The recommendations of one person for one task, best first; none for a person without a profile.

    Args:
        workspace: the shop.
        users: pseudonyms.
        task: one of `data.contracts.out.TASKS`.

    Returns:
        One dictionary per item.
    """
    sql = f"select * from {RECOMMENDATIONS.key} where {_among(users)} and task = '{task}' order by user_id, place"
    return _rows(workspace, [RECOMMENDATIONS], sql)


def most_popular(workspace: Workspace, k: int = 20) -> list[dict[str, Any]]:
    """The answer for somebody unknown: the most popular available items, as far as their popularity was released.

    Args:
        workspace: the shop.
        k: number of items, at least 1.

    Returns:
        One dictionary per item with place, item_id, title, score (released popularity) and reason.
    """
    sql = (
        f"select row_number() over (order by p.popularity desc, p.item_id) as place, p.item_id, i.title, "
        f"p.popularity as score, '{POPULAR}' as reason from {POPULARITY.key} as p join {ITEMS.key} as i "
        f"on p.item_id = i.item_id where i.is_available order by place limit {k}"
    )
    return _rows(workspace, [POPULARITY, ITEMS], sql)


def _spellings(shop: Shop, user: str) -> list[str]:
    """The raw id as each source's declared form writes it (`12.0` and `12` may be one person)."""
    text = user.strip()
    forms = {s.columns["user_id"].form for s in shop.sources.values() if "user_id" in s.columns}
    written = {
        "upper": text.upper(),
        "lower": text.lower(),
        "integer": re.sub(r"^(-?\d+)\.0+$", r"\1", text),
    }
    return list(dict.fromkeys([*(written[form] for form in sorted(forms) if form in written), text]))


def _among(users: list[str]) -> str:
    """A condition on `user_id`; whatever has not the form of a pseudonym matches nobody and enters no query."""
    formed = [user for user in users if re.fullmatch(USER_ID.pattern or "", user)]
    return "user_id in (" + ", ".join(f"'{user}'" for user in formed) + ")" if formed else "false"


def _rows(workspace: Workspace, tables: list[Table], sql: str) -> list[dict[str, Any]]:
    with workspace.engine.session() as session:
        for table in tables:
            session.attach(table, workspace.lake)
        rows: list[dict[str, Any]] = session.query(sql).to_pylist()
    return rows
