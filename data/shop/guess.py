"""What the columns of an undescribed file probably mean, from their names first and their values second."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from data.shop.guess_identities import identity_roles
from data.shop.guess_promotions import promotion_roles
from data.shop.sniff import Sniffed
from data.shop.source import Kind
from data.shop.times import precision, time_format
from data.shop.words import event_word, has_no_counterpart, kind_of_file, role_of

_CATALOGUE = ("title", "category", "brand", "description", "price", "image")
_TELLING = ("event_type", "rating", "quantity", "value", "price", "session_id")
"""Roles that make rows of a user and an item look like shopping."""
FEW = 20
"""Most event types that a column may have."""


@dataclass
class Guess:
    """What one source seems to be."""

    kind: Kind | None
    """None: nothing that Portrait can use was recognised."""
    roles: dict[str, list[str]] = field(default_factory=dict)
    """Role (contract column, time, rating, price, category) -> source columns, the best first."""
    time_format: str = "iso"
    """Format of the first time column."""
    event_type: str = ""
    """What every row is, by the name of the file; empty where that says nothing."""
    doubts: list[str] = field(default_factory=list)
    """What the owner should look at, one remark each."""
    reason: str = ""
    """Why the kind is None, where more can be said than that nothing was recognised."""
    identifier: str = ""
    """Kind of identifier of `other_id`, or of `user_id` where there is no other; empty: the shop's first kind."""

    @property
    def is_vague(self) -> bool:
        """Whether nothing but a user and an item together says that these are events."""
        return self.kind == "events" and not self.event_type and not any(role in self.roles for role in _TELLING)

    @property
    def joins(self) -> bool:
        """Whether its lines join ids, and say themselves whether somebody had proved who they are."""
        return self.kind == "identities" and "is_authenticated" in self.roles


def guess(sniffed: Sniffed, name: str = "") -> Guess:
    """Guess the kind of a source and the meaning of its columns.

    Args:
        sniffed: Shape and sample of one of its files.
        name: What the file, or the folder of many such files, is called.

    Returns:
        The guess; its doubts say where names or values left a choice.
    """
    found = Guess(None)
    hint = kind_of_file(name)
    roles = found.roles
    if sniffed.shape.has_header:
        for column in sniffed.shape.names:
            role = role_of(column)
            if role and (role == "category" or not _is_nested(sniffed.values[column])):
                roles.setdefault(role, []).append(column)
        _check_named(found, sniffed, hint)
    else:
        _by_values(found, sniffed, hint)
    promoted = promotion_roles(sniffed, roles) if sniffed.shape.has_header else None
    if promoted:
        return _promotions(sniffed, *promoted)
    linked = identity_roles(sniffed, roles, hint[0] if hint else None) if sniffed.shape.has_header else None
    if linked:
        return Guess("identities", linked[0], found.time_format, doubts=found.doubts, identifier=linked[1])
    found.kind = _kind(found, sniffed, hint)
    if found.kind == "events":
        found.event_type = hint[1] if hint and hint[0] == "events" else ""
        _check_events(found, sniffed)
    for role in ("user_id", "item_id", "time", "session_id"):
        if found.kind == "events" or (found.kind, role) in (("items", "item_id"), ("users", "user_id")):
            best, *others = roles.get(role, [""])
            if others:
                found.doubts.append(f"{role}: taken from {best}; {', '.join(others)} may be it instead")
    if found.kind is None:
        found.reason = _reason(found, sniffed)
    return found


def _promotions(sniffed: Sniffed, roles: dict[str, list[str]], doubts: list[str]) -> Guess:
    found = Guess("promotions", roles, doubts=doubts)
    if "start" in roles:
        read = [
            time_format(sniffed.values[roles[role][0]], is_named=True) for role in ("start", "end") if role in roles
        ]
        found.time_format, is_ambiguous = read[0] or ("iso", False)
        if is_ambiguous:
            doubts.append(f"valid: {found.time_format} reads all samples, and so does another order of its parts")
        if any(form and form[0] != found.time_format for form in read):
            doubts.append(f"valid: {roles['start'][0]} and {roles['end'][0]} are written in different ways")
    for role in ("item_id", "place", "display", "mailer"):
        best, *others = roles.get(role, [""])
        if others:
            doubts.append(f"{role}: taken from {best}; {', '.join(others)} may be it instead")
    return found


def determines(sniffed: Sniffed, key: str, column: str, tolerance: float = 0.1) -> bool | None:
    """Tell whether rows of one key agree in a column, as the rows of an item do in its category.

    Args:
        sniffed: The sample.
        key: Column of the key.
        column: The other column.
        tolerance: Share of the rows that may differ from what is commonest for their key.

    Returns:
        None when no key comes twice, so that nothing can be told.
    """
    at, to = sniffed.shape.names.index(key), sniffed.shape.names.index(column)
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for row in sniffed.rows:
        a, b = row[at], row[to]
        if a and b:
            groups[a][b] += 1
    repeated = [counts for counts in groups.values() if counts.total() > 1]
    if not repeated:
        return None
    agreeing = sum(counts.most_common(1)[0][1] for counts in repeated)
    return agreeing >= (1 - tolerance) * sum(counts.total() for counts in repeated)


def is_unique(values: Sequence[str]) -> bool:
    """Tell whether no value comes twice."""
    return len(set(values)) == len(values) > 0


def _is_nested(values: Sequence[str]) -> bool:
    return bool(values) and all(value[:1] in ("[", "{") for value in values[:50])


def _kind(found: Guess, sniffed: Sniffed, hint: tuple[Kind, str] | None) -> Kind | None:
    roles = found.roles
    has_user, has_item = "user_id" in roles, "item_id" in roles
    is_catalogue = has_item and any(role in roles for role in _CATALOGUE)
    if has_user and (has_item or "text" in roles):
        # A catalogue may name who offers or made an item; each item stands there once.
        is_listing = is_catalogue and hint and hint[0] == "items" and is_unique(sniffed.values[roles["item_id"][0]])
        if not is_listing:
            return "events" if has_item or "time" in roles else None
    if is_catalogue:
        return "items"
    is_one_each = has_user and is_unique(sniffed.values[roles["user_id"][0]])
    if is_one_each and not has_item and "session_id" not in roles and "cookie_id" not in roles:
        return "users"
    return None


def _check_named(found: Guess, sniffed: Sniffed, hint: tuple[Kind, str] | None) -> None:
    """Sort out what the names alone leave open."""
    roles = found.roles
    _check_times(found, sniffed)
    if hint and hint[0] in ("items", "users"):
        role = "item_id" if hint[0] == "items" else "user_id"
        own = next((column for column in sniffed.shape.names if column.lower() in ("id", "_id")), None)
        if role not in roles and own:
            roles[role] = [own]
    if hint and hint[0] == "items" and "item_id" in roles:
        # What identifies the rows of a catalogue is different in each of them.
        roles["item_id"].sort(key=lambda column: -len(set(sniffed.values[column])))
    for role in ("title", "description"):
        if len(roles.get(role, [])) > 1:
            roles[role].sort(key=lambda column: -len(set(sniffed.values[column])))
    if "event_id" in roles and not is_unique(sniffed.values[roles["event_id"][0]]):
        del roles["event_id"]
    if "event_type" in roles:
        roles["event_type"].sort(key=lambda column: -sum(map(bool, map(event_word, set(sniffed.values[column])))))
        if len(set(sniffed.values[roles["event_type"][0]])) > FEW:
            del roles["event_type"]


def _check_times(found: Guess, sniffed: Sniffed) -> None:
    """Keep the columns that are named like a time and read as one."""
    read = {name: time_format(sniffed.values[name], is_named=True) for name in found.roles.pop("time", [])}
    times = {name: form for name, form in read.items() if form}
    if times:
        # An instant tells more than a day.
        ordered = sorted(times, key=lambda name: -precision(sniffed.values[name], times[name][0]))
        found.roles["time"] = ordered
        found.time_format, is_ambiguous = times[ordered[0]]
        if is_ambiguous:
            found.doubts.append(f"time: {found.time_format} reads all samples, and so does another order of its parts")


def _check_events(found: Guess, sniffed: Sniffed) -> None:
    roles = found.roles
    for role in ("quantity", "value", "price"):
        column = roles.get(role, [""])[0]
        negative = sum(value.strip().startswith("-") for value in sniffed.values.get(column, []))
        if negative:
            found.doubts.append(
                f"{role}: {negative} of the first {len(sniffed.rows)} rows have a negative {column}, which core sets "
                "aside; filter them, or map them to return with positive numbers"
            )
    if "rating" in roles and not sniffed.shape.has_header:
        found.doubts.append(f"rating: {roles['rating'][0]} holds 0 to 5; if these are codes of event types, say so")


def _by_values(found: Guess, sniffed: Sniffed, hint: tuple[Kind, str] | None) -> None:
    """Give roles to the columns of a file without names, and say that this is a guess."""
    free: list[str] = []
    roles = found.roles
    for name, values in sniffed.values.items():
        form = time_format(values)
        if form and "time" not in roles:
            roles["time"], found.time_format = [name], form[0]
        elif values and len(set(values)) <= FEW and any(map(event_word, values)) and all(map(_is_event_word, values)):
            roles.setdefault("event_type", []).append(name)
        elif values and len(set(values)) <= 11 and all(re.fullmatch(r"[0-5](\.\d)?", value) for value in values):
            roles.setdefault("rating", []).append(name)
        elif values and all(re.fullmatch(r"-?\d+\.\d+", value) for value in values):
            roles.setdefault("price", []).append(name)
        elif values:
            free.append(name)
    if hint and hint[0] in ("items", "users") and free and is_unique(sniffed.values[free[0]]):
        _unnamed_records(found, hint[0], sniffed, free)
        return
    for role, name in zip(("user_id", "item_id"), free, strict=False):
        roles[role] = [name]
        found.doubts.append(f"{role}: {name} is a guess from its place, the file names no columns")
    for name in free[2:]:
        if _is_category(sniffed, free[1], name):
            roles.setdefault("category", []).append(name)
            found.doubts.append(f"category: {name} is a guess, every {free[1]} has one of its few values")


def _is_event_word(text: str) -> bool:
    return bool(event_word(text)) or has_no_counterpart(text)


def _is_category(sniffed: Sniffed, item: str, name: str) -> bool:
    """Tell a column in which the rows of an item agree, and which has fewer values than there are items."""
    n_items, n_values = len(set(sniffed.values[item])), len(set(sniffed.values[name]))
    return 1 < n_values < n_items and determines(sniffed, item, name, 0.0) is True


def _unnamed_records(found: Guess, kind: Kind, sniffed: Sniffed, free: list[str]) -> None:
    """Give roles to a catalogue or a list of people without column names, told by the name of the file."""
    first, *others = free
    role = "item_id" if kind == "items" else "user_id"
    found.roles[role] = [first]
    found.doubts.append(f"{role}: {first} is a guess from its place, the file names no columns")
    if kind == "users":
        return
    by_variety = sorted(others, key=lambda name: -len(set(sniffed.values[name])))
    for role, name in zip(("title", "category"), by_variety, strict=False):
        found.roles[role] = [name]
        found.doubts.append(f"{role}: {name} is a guess from its values, the file names no columns")


def _reason(found: Guess, sniffed: Sniffed) -> str:
    """Say in a few words why a file that has something to do with a shop cannot be used as it is."""
    names = {re.sub(r"[^a-z]", "", name.lower()) for name in sniffed.shape.names}
    roles = found.roles
    if "item_id" in roles and names & {"property", "attribute", "key", "feature"} and "value" in names:
        return "it holds one property of an item per row; make one row per item of it first"
    if names & {"parentid", "parent", "parentcategory", "parentcategoryid"} and len(names) <= 4:
        return "it holds a tree; write the path of each item's category into the catalogue instead"
    if "session_id" in roles and "item_id" in roles:
        return f"it names no user; join one to it by {roles['session_id'][0]}"
    if "session_id" in roles and "user_id" in roles:
        return f"it names no item; join the items to it by {roles['session_id'][0]}"
    return ""
