"""Whether a file says which ids are one person's, from the names of its columns and some of their values."""

import re
from collections.abc import Mapping, Sequence

from data.shop.sniff import Sniffed
from data.shop.source import Kind
from data.shop.words import plain

YES, NO = ("1", "true", "yes", "y"), ("0", "false", "no", "n")
_VISITOR = r"(.*_)?(visitor|guest|anonymous|user_?pseudo)(_?(id|no|nr|num|number|key|code|hash|uuid|guid))?"
_EMAIL = r"e_?mail(_?(address|id|hash))?"
_PROVED = (
    r"(is_?|was_?)?(authenticated|verified|confirmed|proved|proven|logged_?in)|auth(entication)?_?(ok|success|passed)|"
    r"log_?in_?(ok|success|successful|succeeded)"
)
_UNDONE = r"(is_?|was_?)?(revoked|undone|unlinked|withdrawn)"
_LOGINS = ("login", "log_in", "sign_in", "signin", "logged_in")
_BESIDE = ("time", "event_type", "event_id", "session_id")


def identity_roles(
    sniffed: Sniffed, roles: Mapping[str, list[str]], hint: Kind | None
) -> tuple[dict[str, list[str]], str] | None:
    """Give roles to the columns of a file whose lines join two ids.

    Args:
        sniffed: One of the files, with column names.
        roles: What its columns are by themselves.
        hint: Kind of source that the name of the file says.

    Returns:
        Roles (user_id, other_id, is_authenticated, is_revoked, and what else a line says) and the kind of the other id:
        cookie or email. Without is_authenticated nothing says that anybody had proved who they are. None for a file
        that is about items, or that names one id alone.
    """
    if roles.keys() & {"item_id", "text", "rating"}:
        return None
    visitors = [name for name in roles.get("user_id", []) if re.fullmatch(_VISITOR, plain(name))]
    people = [name for name in roles.get("user_id", []) if name not in visitors]
    emails = [name for name in sniffed.shape.names if re.fullmatch(_EMAIL, plain(name)) and name not in people]
    others = [("cookie", name) for name in [*roles.get("cookie_id", []), *visitors]] + [("email", n) for n in emails]
    if not people or not others:
        return None
    identifier, other = others[0]
    found = {role: roles[role] for role in _BESIDE if role in roles}
    deciding = [name for name in sniffed.shape.names if _decides(sniffed.values[name])]
    for role, pattern in (("is_authenticated", _PROVED), ("is_revoked", _UNDONE)):
        if columns := [name for name in deciding if re.fullmatch(pattern, plain(name))]:
            found[role] = columns
    used = {people[0], other, *(name for columns in found.values() for name in columns)}
    is_list_of_people = hint == "users" or bool(set(sniffed.shape.names) - used)
    if identifier == "email" and is_list_of_people:
        return None
    return {"user_id": people[:1], "other_id": [other], **found}, identifier


def login_words(values: Sequence[str]) -> list[str]:
    """Return the words of a column that call a line a log-in."""
    return sorted({value for value in values if plain(value) in _LOGINS})


def _decides(values: Sequence[str]) -> bool:
    words = {value.strip().lower() for value in values}
    return bool(words) and words <= {*YES, *NO}
