"""One person's answer: their profile and recommendations, found by the shop's raw id or by the pseudonym.

A raw id becomes a pseudonym here and goes no further: not into a query, a message or a log.
"""

import os
import re
from typing import Any

from data.contracts.core import ITEMS, USER_ID
from data.contracts.identity import IDENTITIES
from data.contracts.model import POPULARITY
from data.contracts.out import RECOMMENDATIONS
from data.contracts.profile import PROFILES
from data.contracts.schema import Table
from data.pseudonym import DEFAULT_KIND, KEY_VARIABLE, KeyFault, key_of, load_key, pseudonymise
from data.shop.config import Shop
from data.shop.source import ID_COLUMNS
from data.workspace import Workspace

POPULAR = "popular"
"""Reason of an item that is recommended to everybody."""


def pseudonyms(workspace: Workspace, user: str, *, is_pseudonym: bool) -> list[str]:
    """The pseudonyms under which a person may be known: of a joined identifier, the one that stands for the person.

    Args:
        workspace: the shop.
        user: raw id as the shop's files have it, or a pseudonym.
        is_pseudonym: `user` is a pseudonym already.

    Returns:
        At least one, the best known kind of identifier first; several only if the shop's sources write ids in
        different forms or kinds.

    Raises:
        KeyFault: if the key is gone or cannot be used.
    """
    return _resolved(workspace, _given(workspace, user, is_pseudonym=is_pseudonym))


def _given(workspace: Workspace, user: str, *, is_pseudonym: bool) -> list[str]:
    columns = [s for s in workspace.shop.sources.values() if "user_id" in s.columns]
    if is_pseudonym or (columns and all(s.id_form == "pseudonymised" for s in columns)):
        return [user.strip()]
    file = workspace.settings.keys / "pseudonym.key"
    if KEY_VARIABLE not in os.environ and not file.exists():
        raise KeyFault(f"Key file {file} is gone; restore it or set {KEY_VARIABLE}: without it no raw id can be found.")
    key = load_key(file)
    spelt = _spellings(workspace.shop, user)
    return [one for kind, texts in spelt.items() for one in pseudonymise(texts, key_of(kind, key))]


def _resolved(workspace: Workspace, users: list[str]) -> list[str]:
    """Identifiers as the persons that they belong to, in the same order."""
    if not workspace.shop.has_identities:
        return users
    sql = f"select identifier, user_id from {IDENTITIES.key} where {_among(users, 'identifier')} order by identifier"
    person = {row["identifier"]: row["user_id"] for row in _rows(workspace, [IDENTITIES], sql)}
    return list(dict.fromkeys(person.get(user, user) for user in users))


def profile_of(workspace: Workspace, users: list[str]) -> dict[str, Any] | None:
    """The profile of the first of these pseudonyms that has one.

    Args:
        workspace: the shop.
        users: pseudonyms.

    Returns:
        Column -> value, or None for a person without a profile.
    """
    rows = _rows(workspace, [PROFILES], f"select * from {PROFILES.key} where {_among(users)} order by user_id")
    return next(iter(_of_first(users, rows)), None)


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
    return _of_first(users, _rows(workspace, [RECOMMENDATIONS], sql))


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


def _of_first(users: list[str], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the first of these pseudonyms that has any: never those of two people together."""
    held = {row["user_id"] for row in rows}
    first = next((user for user in users if user in held), None)
    return [row for row in rows if row["user_id"] == first]


def _spellings(shop: Shop, user: str) -> dict[str, list[str]]:
    """The raw id as each source's declared form writes it (`12.0` and `12` may be one person), by kind."""
    text = user.strip()
    ids = [s.columns[name] for s in shop.sources.values() for name in ID_COLUMNS if name in s.columns]
    kinds = [kind for kind in shop.identity.kinds if any(column.identifier == kind for column in ids)]
    return {kind: _written(text, {c.form for c in ids if c.identifier == kind}) for kind in kinds or [DEFAULT_KIND]}


def _written(text: str, forms: set[str]) -> list[str]:
    written = {
        "upper": text.upper(),
        "lower": text.lower(),
        "integer": re.sub(r"^(-?\d+)\.0+$", r"\1", text),
    }
    return list(dict.fromkeys([*(written[form] for form in sorted(forms) if form in written), text]))


def _among(users: list[str], column: str = "user_id") -> str:
    """A condition on a column of pseudonyms; whatever has not their form matches nobody and enters no query."""
    formed = [user for user in users if re.fullmatch(USER_ID.pattern or "", user)]
    return f"{column} in (" + ", ".join(f"'{user}'" for user in formed) + ")" if formed else "false"


def _rows(workspace: Workspace, tables: list[Table], sql: str) -> list[dict[str, Any]]:
    with workspace.engine.session() as session:
        for table in tables:
            session.attach(table, workspace.lake)
        rows: list[dict[str, Any]] = session.query(sql).to_pylist()
    return rows
