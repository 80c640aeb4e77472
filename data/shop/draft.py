"""A first shop.yaml for a folder of files: what can be guessed is written, what is doubtful carries a comment."""

import datetime as dt
import json
import os
import re
from pathlib import Path, PurePath

import duckdb
import yaml

from data.connectors import resolve_files
from data.shop.config import Shop
from data.shop.errors import ShopError, SourceError
from data.shop.guess import Guess, event_word, guess
from data.shop.load import parse_shop
from data.shop.mapping import EPOCH, days_in_file
from data.shop.sniff import Shape, Sniffed, sniff
from data.shop.source import COMPRESSIONS, format_of

_PLAIN_EVENT = ("session_id", "quantity", "discount", "channel", "place", "text")
_PLAIN_ITEM = ("title", "description", "brand", "price", "image", "availability")


def draft(folder: Path, target: Path | None = None) -> str:
    """Write the text of a shop.yaml for the files under a folder.

    Args:
        folder: Where the files are; subfolders count.
        target: Where the YAML will stand, since its paths are relative to it; null: `shop.yaml` in the folder.

    Returns:
        YAML text that `load_shop` accepts.

    Raises:
        ShopError: The folder holds no file of a known format, or none with events.
    """
    target = target or folder / "shop.yaml"
    files = sorted(p for p in folder.rglob("*") if p.is_file() and format_of(p.name) and p.name[0] not in "._")
    if not files:
        raise ShopError(f"{folder}: holds no .csv, .tsv, .jsonl or .parquet file; name the folder of the data.")
    groups: dict[Shape, tuple[Sniffed, list[Path]]] = {}
    notes: list[str] = []
    for file in files:
        try:
            sniffed = sniff(file)
        except SourceError as error:
            notes.append(str(error))
            continue
        groups.setdefault(sniffed.shape, (sniffed, []))[1].append(file)
    blocks = _blocks(groups, folder, files, target, notes)
    return _finished(folder, target, blocks, notes)


def _blocks(
    groups: dict[Shape, tuple[Sniffed, list[Path]]], folder: Path, files: list[Path], target: Path, notes: list[str]
) -> list[str]:
    """Write the sources; without a catalogue file, the events' own words about their items become one."""
    blocks: list[str] = []
    names: set[str] = set()
    without_catalogue: list[tuple[str, Sniffed, Guess, list[Path]]] = []
    has_catalogue = False
    for sniffed, members in groups.values():
        found = guess(sniffed)
        if found.kind is None:
            listed = ", ".join(sniffed.shape.names[:8])
            shown = listed if sniffed.shape.has_header else f"{len(sniffed.shape.names)} unnamed columns"
            notes.append(f"{_shown_path(members, folder)} is not used: neither events, items nor users ({shown}).")
            continue
        name = _unique(_slug(members[0].name.split(".")[0] if len(members) == 1 else members[0].parent.name), names)
        blocks.append(_source(name, sniffed, found, members, files, target))
        has_catalogue |= found.kind == "items"
        if found.kind == "events" and "item_id" in found.roles:
            without_catalogue.append((name, sniffed, found, members))
    if not has_catalogue:
        for name, sniffed, found, members in without_catalogue:
            # What was paid is no list price.
            roles = {role: columns for role, columns in found.roles.items() if role != "price"}
            items = Guess("items", roles, doubts=["there is no catalogue file: these are the events' own items"])
            blocks.append(_source(_unique(f"{name}_items", names), sniffed, items, members, files, target))
    return blocks


def _finished(folder: Path, target: Path, blocks: list[str], notes: list[str]) -> str:
    """Put the parts together; the days of the data decide the calendar, so that they are read once."""
    draft_text = _head(_slug(folder.resolve().name), EPOCH.isoformat(), None, notes) + "".join(blocks)
    if not any("\n    kind: events\n" in block for block in blocks):
        listed = " ".join(notes)
        raise ShopError(f"{folder}: no file looks like events (a user, an item, perhaps a time); {listed or 'add one'}")
    days = _days(parse_shop(draft_text, target))
    if not days:
        return _head(_slug(folder.resolve().name), None, None, notes) + "".join(blocks)
    return _head(_slug(folder.resolve().name), days[0], days[1], notes) + "".join(blocks)


def _days(shop: Shop) -> tuple[str, str] | None:
    """Return the first and the last day with events, or None for a shop without times."""
    days = set()
    with duckdb.connect() as connection:
        for name, source in shop.sources.items():
            if source.time is None:
                continue
            for file in resolve_files(shop, name):
                try:
                    days |= days_in_file(connection, shop, name, file)
                except SourceError:
                    continue  # the draft already carries a note of a file that cannot be read
    days.discard(EPOCH)
    return (min(days).isoformat(), max(days).isoformat()) if days else None


def _head(name: str, first: str | None, last: str | None, notes: list[str]) -> str:
    lines = [
        "# Drafted from the files' names and first rows: check every line marked `check`.",
        *(f"# {note}" for note in notes),
        f"name: {name}",
        "currency: EUR # check",
        "timezone: UTC # check: the zone of times that carry no offset",
        "public_benchmark: false",
        "declared_users: null # required: the publicly known size of the user base, rounded; the privacy plan needs it",
        "catalogue_public: true # check: item codes, texts and list prices may be known to everybody",
    ]
    if first:
        lines += ["calendar:", f"  start: {first}", f"  end: null # up to today; the data ends on {last}"]
    if first and last:
        test = dt.date.fromisoformat(last) - dt.timedelta(days=27)
        if test > dt.date.fromisoformat(first):
            lines += [
                "evaluation:",
                f"  test_start: {test} # the release learns from the days before; fixed from now on",
            ]
    if not first:
        lines += ["# No times were found: a part of each user's events is held out for evaluation."]
    return "\n".join([*lines, "privacy:", "  mode: on", "  epsilon: 4", "sources:"]) + "\n"


def _source(name: str, sniffed: Sniffed, found: Guess, members: list[Path], files: list[Path], target: Path) -> str:
    shape = sniffed.shape
    lines = [f"  {name}:", f"    kind: {found.kind}", f"    path: {_path(members, files, target)}"]
    lines += [f"    # check {doubt}" for doubt in found.doubts]
    if shape.format == "csv":
        lines += _csv_lines(shape)
    elif shape.format == "jsonl" and shape.encoding != "utf-8":
        lines += [f"    csv: {{encoding: {shape.encoding}}} # check"]
    columns: dict[str, object]
    if found.kind == "events":
        more, columns = _event_lines(name, sniffed, found)
        lines += more
    elif found.kind == "items":
        columns = _item_columns(sniffed, found)
    else:
        columns = _user_columns(sniffed, found)
    lines += ["    columns:", *(f"      {column}: {_flow(value)}" for column, value in columns.items())]
    used = {text for value in columns.values() for text in _texts(value)} | {n for n in found.roles.get("time", [])[:1]}
    used |= set(found.roles.get("event_type", [])[:1])
    if unused := [column for column in shape.names if column not in used]:
        lines.append(f"    # not used: {', '.join(unused)}")
    return "\n".join(lines) + "\n"


def _csv_lines(shape: Shape) -> list[str]:
    options: dict[str, object] = {}
    if shape.delimiter != ",":
        options["delimiter"] = shape.delimiter
    if not shape.has_header:
        options |= {"header": False, "names": list(shape.names)}
    if shape.encoding != "utf-8":
        options["encoding"] = shape.encoding
    return [f"    csv: {_flow(options)}" + (" # check" if "encoding" in options else "")] if options else []


def _event_lines(name: str, sniffed: Sniffed, found: Guess) -> tuple[list[str], dict[str, object]]:
    roles, lines = found.roles, []
    columns: dict[str, object] = {"user_id": _id(roles["user_id"][0], sniffed)}
    if "item_id" in roles:
        columns["item_id"] = _id(roles["item_id"][0], sniffed)
    for role in _PLAIN_EVENT:
        if role in roles:
            columns[role] = roles[role] if role == "discount" and len(roles[role]) > 1 else roles[role][0]
    column = roles.get("event_type", [""])[0]
    if any(event_word(word) for word in sniffed.values.get(column, [])):
        words = sorted(set(sniffed.values[column]))[:20]
        known = {word: event_word(word) for word in words if event_word(word)}
        lines.append(f"    event_type: {_flow({'column': column, 'values': known})}")
        if unknown := [word for word in words if word not in known]:
            lines.append(f"    # check event types without a meaning here: {', '.join(map(json.dumps, unknown))}")
    elif "rating" in roles:
        lines.append("    event_type: rating")
    else:
        is_redeemed = "redem" in name or "redeem" in name
        lines.append(f"    event_type: {'redeem' if is_redeemed else 'purchase # check: what each row means'}")
    if "    event_type: rating" in lines:
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


def _item_columns(sniffed: Sniffed, found: Guess) -> dict[str, object]:
    roles = found.roles
    columns: dict[str, object] = {"item_id": _id(roles["item_id"][0], sniffed)}
    if "category" in roles:
        # A wider category has fewer different values.
        wide_first = sorted(roles["category"], key=lambda name: len(set(sniffed.values[name])))
        columns["category_path"] = wide_first if len(wide_first) > 1 else wide_first[0]
    for role in _PLAIN_ITEM:
        if role in roles:
            columns[role] = roles[role][0]
    if "title" not in columns:
        # Something must stand for the item in a list, if only its code.
        columns["title"] = columns.pop("description", None) or (roles.get("category") or roles["item_id"])[-1]
    return columns


def _user_columns(sniffed: Sniffed, found: Guess) -> dict[str, object]:
    user = found.roles["user_id"][0]
    columns: dict[str, object] = {"user_id": _id(user, sniffed)}
    consent = found.roles.get("consent", [])[:1]
    # Further identifiers of a person are no attributes: they would undo the pseudonym.
    personal = re.compile(r"(?i)mail|phone|name|address|birth|street|zip|postal|iban|(^|_)ip($|_)")
    others = [n for n in sniffed.shape.names if n != user and n not in consent and not personal.search(n)]
    others = [n for n in others if n not in found.roles["user_id"]]
    if others:
        columns["attributes"] = others
    if consent:
        columns["consent"] = consent[0]
    return columns


def _id(name: str, sniffed: Sniffed) -> object:
    values = sniffed.values[name]
    is_float = bool(values) and all(re.fullmatch(r"\d+\.0", value) for value in values)
    return {"column": name, "form": "integer"} if is_float else name


def _number(name: str, sniffed: Sniffed) -> object:
    values = sniffed.values[name]
    has_comma = all(re.fullmatch(r"-?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?", value) for value in values)
    return {"column": name, "form": "decimal_comma"} if has_comma and any("," in value for value in values) else name


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [str(value.get("column"))]
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def _flow(value: object) -> str:
    """Write a value on one line of YAML."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).removesuffix("...\n").strip()


def _path(members: list[Path], files: list[Path], target: Path) -> str:
    """Write the files of one source: itself, a glob that matches them alone, or a list."""
    relative = [_relative(member, target.parent) for member in members]
    if len(members) == 1:
        return _flow(relative[0])
    parents = {member.parent for member in members}
    ending = _ending(members[0].name)
    same = {file for file in files if file.parent in parents and file.name.endswith(ending)}
    if len(parents) == 1 and same == set(members):
        return _flow(str(PurePath(relative[0]).parent / f"*{ending}"))
    return _flow(relative)


def _relative(file: Path, start: Path) -> str:
    """Write a path relative to the YAML when the file lies under its folder, and absolute otherwise."""
    file, start = file.resolve(), start.resolve()
    return str(file.relative_to(start) if file.is_relative_to(start) else file)


def _ending(name: str) -> str:
    packed = next((c for c in COMPRESSIONS if name.endswith(c)), "")
    return PurePath(name.removesuffix(packed)).suffix + packed


def _shown_path(members: list[Path], folder: Path) -> str:
    first = os.path.relpath(members[0], folder)
    return first if len(members) == 1 else f"{first} (and {len(members) - 1} more like it)"


def _slug(text: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return slug if slug[:1].isalpha() else f"shop_{slug}".strip("_")


def _unique(name: str, taken: set[str]) -> str:
    free = next(n for n in (name, *(f"{name}_{k}" for k in range(2, len(taken) + 3))) if n not in taken)
    taken.add(free)
    return free
