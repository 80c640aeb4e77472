"""One source of a drafted shop.yaml, written as YAML with a comment at each line that is a guess."""

import datetime as dt
import json
import re
from pathlib import Path

import yaml

from data.shop.groups import Group, paths
from data.shop.guess import FEW, Guess
from data.shop.guess_identities import login_words
from data.shop.guess_promotions import WEEK_ONE, is_of_days
from data.shop.sniff import Shape, Sniffed
from data.shop.source import PROMOTED_BY
from data.shop.words import event_word, has_no_counterpart

_PLAIN_EVENT = ("event_id", "session_id", "quantity", "discount", "channel", "place", "text")
_PLAIN_ITEM = ("title", "description", "brand", "price", "image", "availability")
_PERSONAL = re.compile(
    r"(?i)mail|phone|mobile|name|address|birth|street|zip|postal|post_?code|iban|(^|_)(ip|lat|lon|lng|dob)($|_)|latitud"
    r"|longitud|ssn|passport"
)
_MOST_PARTS = 4
"""Parts of a category that is a list."""


def source_block(name: str, group: Group, found: Guess, target: Path) -> str:
    """Write one source.

    Args:
        name: Of the source.
        group: Its files.
        found: What they seem to be; the kind is known.
        target: The YAML.

    Returns:
        Lines of YAML below `sources:`.
    """
    sniffed = group.sniffed
    shape = sniffed.shape
    where = paths(group.members, target)
    lines = [f"  {name}:", f"    kind: {found.kind}", f"    path: {_flow(where[0] if len(where) == 1 else where)}"]
    lines += [f"    # check {doubt}" for doubt in found.doubts]
    lines += _csv_lines(shape)
    columns: dict[str, object]
    if found.kind == "events":
        more, columns = _event_lines(name, sniffed, found)
        lines += more
    elif found.kind == "items":
        columns = _item_columns(sniffed, found)
    elif found.kind == "promotions":
        more, columns = _promotion_lines(sniffed, found)
        lines += more
    elif found.kind == "identities":
        more, columns = _identity_lines(sniffed, found)
        lines += more
    else:
        columns = _user_columns(sniffed, found)
    if shape.format == "jsonl":
        columns = {column: _perhaps(column, value, sniffed, found) for column, value in columns.items()}
    lines += ["    columns:", *(f"      {column}: {_line(column, value, found)}" for column, value in columns.items())]
    used = {text for value in columns.values() for text in _texts(value)} | {n for n in found.roles.get("time", [])[:1]}
    used |= set(found.roles.get("event_type", [])[:1])
    used |= {name for role in ("week", "start", "end") for name in found.roles.get(role, [])[:1]}
    if unused := [column for column in shape.names if column not in used]:
        shown = ", ".join(unused[:20]) + (f" and {len(unused) - 20} more" if len(unused) > 20 else "")
        lines.append(f"    # not used: {shown}")
    return "\n".join(lines) + "\n"


def _csv_lines(shape: Shape) -> list[str]:
    options: dict[str, object] = {}
    if shape.format == "csv":
        if shape.delimiter != ",":
            options["delimiter"] = shape.delimiter
        if not shape.has_header:
            options |= {"header": False, "names": list(shape.names)}
    if shape.format != "parquet" and shape.encoding not in ("utf-8", "ascii"):
        options["encoding"] = shape.encoding
    return [f"    csv: {_flow(options)}" + (" # check" if "encoding" in options else "")] if options else []


def _event_lines(name: str, sniffed: Sniffed, found: Guess) -> tuple[list[str], dict[str, object]]:
    roles = found.roles
    columns: dict[str, object] = {"user_id": _id(roles["user_id"][0], sniffed)}
    if "other_id" in roles:
        columns["other_id"] = _identified(roles["other_id"][0], sniffed, found.identifier)
    elif found.identifier:
        columns["user_id"] = _identified(roles["user_id"][0], sniffed, found.identifier)
    if "item_id" in roles:
        columns["item_id"] = _id(roles["item_id"][0], sniffed)
    for role in _PLAIN_EVENT:
        if role in roles:
            columns[role] = roles[role] if role == "discount" and len(roles[role]) > 1 else roles[role][0]
    lines, is_rating = _type_lines(name, sniffed, found)
    if is_rating:
        columns["value"] = roles["rating"][0]
    elif "value" in roles:
        columns["value"] = roles["value"][0]
    elif "price" in roles:
        columns["value"] = roles["price"][0]
        if "quantity" in columns:
            lines.append("    value_is: unit_price # check: the price of one, or of the whole line (total)")
    for role in ("quantity", "value"):
        if isinstance(mapped := columns.get(role), str):
            columns[role] = _number(mapped, sniffed)
    if "time" in roles:
        lines.append(f"    time: {_flow({'column': roles['time'][0], 'format': found.time_format})}")
    return lines, columns


def _type_lines(name: str, sniffed: Sniffed, found: Guess) -> tuple[list[str], bool]:
    """Write what happened in a row, and say whether it is a rating."""
    roles = found.roles
    column = roles.get("event_type", [""])[0]
    words = sorted(set(sniffed.values.get(column, [])))
    known = {word: event_word(word) for word in words if event_word(word)}
    says_nothing = not known and ("rating" in roles or found.event_type)
    if words and len(words) <= FEW and not says_nothing:
        lines = [f"    event_type: {_flow({'column': column, 'values': known})}"]
        no_counterpart = [word for word in words if word not in known and has_no_counterpart(word)]
        if no_counterpart:
            rule = {"column": column, "drop_values": no_counterpart, "reason": "no_counterpart"}
            lines.append(f"    filters: [{_flow(rule)}] # check: no event type of Portrait means these")
        if unknown := [word for word in words if word not in known and word not in no_counterpart]:
            shown = ", ".join(map(json.dumps, unknown))
            lines.append(f"    # check event types without a meaning here, list them under values: {shown}")
        return lines, False
    if "rating" in roles:
        return ["    event_type: rating"], True
    if "redem" in name or "redeem" in name:
        return ["    event_type: redeem"], False
    if found.event_type and found.event_type != "rating":
        return [f"    event_type: {found.event_type} # check: taken from the name of the file"], False
    if "item_id" not in roles:
        return ["    event_type: search # check: rows have a text and no item"], False
    return ["    event_type: purchase # check: what each row means"], False


def _identity_lines(sniffed: Sniffed, found: Guess) -> tuple[list[str], dict[str, object]]:
    roles = found.roles
    columns: dict[str, object] = {
        "user_id": _id(roles["user_id"][0], sniffed),
        "other_id": _identified(roles["other_id"][0], sniffed, found.identifier),
        "is_authenticated": roles["is_authenticated"][0] if found.joins else {"constant": "yes"},
    }
    if "is_revoked" in roles:
        columns["is_revoked"] = roles["is_revoked"][0]
    lines = []
    if "time" in roles:
        lines.append(f"    time: {_flow({'column': roles['time'][0], 'format': found.time_format})}")
    for name in roles.get("event_type", []):
        if words := login_words(sniffed.values[name]):
            rule = {"column": name, "keep_values": words, "reason": "no_login"}
            lines.append(f"    filters: [{_flow(rule)}] # check: what else than a log-in proves who it was")
    return lines, columns


def _item_columns(sniffed: Sniffed, found: Guess) -> dict[str, object]:
    roles = found.roles
    columns: dict[str, object] = {"item_id": _id(roles["item_id"][0], sniffed)}
    if "category" in roles:
        # A wider category has fewer different values.
        wide_first = sorted(roles["category"], key=lambda name: len(set(sniffed.values[name])))
        listed = next((name for name in wide_first if _is_list(sniffed, name)), None)
        if listed:
            columns["category_path"] = _parts(sniffed, listed)
        else:
            columns["category_path"] = wide_first if len(wide_first) > 1 else wide_first[0]
    for role in _PLAIN_ITEM:
        if role in roles:
            columns[role] = roles[role][0]
    if isinstance(price := columns.get("price"), str):
        columns["price"] = _number(price, sniffed)
    if "title" not in columns:
        # Something must stand for the item in a list, if only its code.
        category = [name for name in roles.get("category", []) if not _is_list(sniffed, name)]
        columns["title"] = columns.pop("description", None) or (category or roles["item_id"])[-1]
    return columns


def _is_list(sniffed: Sniffed, name: str) -> bool:
    values = sniffed.values[name]
    return sniffed.shape.format == "jsonl" and bool(values) and values[0].startswith("[")


def _parts(sniffed: Sniffed, name: str) -> object:
    """Reach into a list of JSON by its places."""
    path = "$" + "".join("." + json.dumps(part) for part in name.split("."))
    longest = max((len(inner) for inner in map(json.loads, sniffed.values[name][:500])), default=1)
    return {"columns": [f"{path}[{k}]" for k in range(min(max(longest, 1), _MOST_PARTS))], "optional": True}


def _promotion_lines(sniffed: Sniffed, found: Guess) -> tuple[list[str], dict[str, object]]:
    roles = found.roles
    columns: dict[str, object] = {"item_id": _id(roles["item_id"][0], sniffed)}
    if "place" in roles:
        columns["place"] = _id(roles["place"][0], sniffed)
    for role in PROMOTED_BY:
        if role in roles:
            columns[role] = roles[role][0]
    valid, check = _validity(sniffed, found)
    return [
        "    public: true # check: what was promoted where and when was to be seen by everybody",
        f"    valid: {_flow(valid)} # check: {check}",
    ], columns


def _validity(sniffed: Sniffed, found: Guess) -> tuple[dict[str, object], str]:
    """Say from when to when promotions are valid, and what there is to check."""
    roles = found.roles
    if "start" not in roles:
        week_one = dt.date.fromisoformat(WEEK_ONE)
        return {"week": roles["week"][0], "week_one": week_one}, "the day on which week 1 begins"
    start: dict[str, object] = {"start": roles["start"][0]}
    if "end" in roles:
        ends: dict[str, object] = {"end": roles["end"][0], "format": found.time_format}
        return start | ends, "a day at the end counts whole"
    lasts = {"days": is_of_days(sniffed, roles["start"][0]), "format": found.time_format}
    return start | lasts, "how many days each promotion lasts"


def _user_columns(sniffed: Sniffed, found: Guess) -> dict[str, object]:
    user = found.roles["user_id"][0]
    columns: dict[str, object] = {"user_id": _id(user, sniffed)}
    consent = found.roles.get("consent", [])[:1]
    others = [n for n in sniffed.shape.names if n not in consent and n not in found.roles["user_id"]]
    others = [name for name in others if not _identifies(name, sniffed.values[name])]
    if others:
        columns["attributes"] = others
    if consent:
        columns["consent"] = consent[0]
    return columns


def _identifies(name: str, values: list[str]) -> bool:
    """Tell a further identifier of a person from an attribute: it would undo the pseudonym.

    That is what is named like one, lists (such as friends), and texts that nearly everybody has for himself.
    """
    if _PERSONAL.search(name) or any(value[:1] in ("[", "{") for value in values[:50]):
        return True
    is_number = all(re.fullmatch(r"-?\d{1,4}(\.\d+)?", value) for value in values)
    return not is_number and len(values) >= 20 and len(set(values)) > 0.5 * len(values)


def _line(column: str, value: object, found: Guess) -> str:
    text = _flow(value)
    if column == "consent" and found.kind == "users" and str(value).lower() != "consent":
        return f"{text} # check: who says no here has no profile and no recommendations"
    if column == "is_authenticated":
        return f"{text} # check: yes joins the two ids for good, unless a later line undoes it"
    if column == "user_id" and found.kind == "events" and isinstance(value, dict) and value.get("optional"):
        return f"{text} # check: lines without it are anonymous"
    return text


def _perhaps(column: str, value: object, sniffed: Sniffed, found: Guess) -> object:
    """Let objects lack a value that some of those seen lack; without the key of a consent nobody has consented."""
    if isinstance(value, dict) and "constant" in value:
        return value
    is_always_there = all(len(sniffed.values.get(name, ())) == len(sniffed.rows) for name in _texts(value))
    is_needed = column == "consent" or (column == "user_id" and found.kind != "events")
    if is_always_there or is_needed or (isinstance(value, dict) and "optional" in value):
        return value
    if isinstance(value, dict):
        return {**value, "optional": True}
    return {"columns" if isinstance(value, list) else "column": value, "optional": True}


def _id(name: str, sniffed: Sniffed) -> object:
    values = sniffed.values[name]
    is_float = bool(values) and all(re.fullmatch(r"\d+\.0", value) for value in values)
    return {"column": name, "form": "integer"} if is_float else name


def _identified(name: str, sniffed: Sniffed, identifier: str) -> object:
    plain_id = _id(name, sniffed)
    return (plain_id if isinstance(plain_id, dict) else {"column": name}) | {"identifier": identifier}


def _number(name: str, sniffed: Sniffed) -> object:
    values = sniffed.values[name]
    has_comma = all(re.fullmatch(r"-?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?", value) for value in values)
    return {"column": name, "form": "decimal_comma"} if has_comma and any("," in value for value in values) else name


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [str(name) for name in value.get("columns", [value.get("column")])]
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def _flow(value: object) -> str:
    """Write a value on one line of YAML."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).removesuffix("...\n").strip()
