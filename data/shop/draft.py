"""A first shop.yaml for a folder of files: what can be guessed is written, what is doubtful carries a comment."""

import datetime as dt
import os
from pathlib import Path

import duckdb

from data.connectors import resolve_files
from data.shop.config import Shop
from data.shop.draft_source import source_block
from data.shop.errors import ShopError, SourceError
from data.shop.groups import Group, find_groups, slug
from data.shop.guess import Guess, guess
from data.shop.guess_promotions import WEEK_ONE
from data.shop.load import parse_shop
from data.shop.mapping import EPOCH, days_in_file
from data.shop.relations import Found, align_items, link_events, own_items, set_vague_aside, wanted_join, week_one

_SAYS_NOTHING = ("data", "dataset", "datasets", "files", "export", "csv", "raw", "input", "archive", "dump")
_TEST_DAYS = 28


def draft(folder: Path, target: Path | None = None, declared_users: int | None = None) -> str:
    """Write the text of a shop.yaml for the files under a folder.

    Args:
        folder: Where the files are; subfolders count.
        target: Where the YAML will stand, since its paths are relative to it; null: `shop.yaml` in the folder.
        declared_users: Publicly known size of the user base; null leaves the line to the owner.

    Returns:
        YAML text that `load_shop` accepts.

    Raises:
        ShopError: The folder holds no file of a known format, or none with events.
    """
    target = target or folder / "shop.yaml"
    groups, notes = find_groups(folder)
    found = [(group, guess(group.sniffed, group.name)) for group in groups]
    align_items(found)
    set_vague_aside(found)
    notes += [_not_used(*one, folder) for one in found if one[1].kind is None]
    if not any(guessed.kind == "events" for _, guessed in found):
        raise ShopError(_no_events(folder, found, notes))
    kinds = link_events(found)
    blocks = _blocks(found, target)
    if first := week_one(found):
        blocks = [block.replace(WEEK_ONE, first.isoformat()) for block in blocks]
    return _finished(folder, target, declared_users, blocks, notes, kinds)


def _blocks(found: list[Found], target: Path) -> list[str]:
    """Write the sources; without a catalogue file, the events' own words about their items become one."""
    blocks: list[str] = []
    names: set[str] = set()
    has_catalogue = any(guessed.kind == "items" for _, guessed in found)
    without_catalogue: list[tuple[str, Found]] = []
    for group, guessed in found:
        if guessed.kind is None:
            continue
        name = _unique(slug(group.name), names)
        block = source_block(name, group, guessed, target)
        blocks.append(_suggested(block, guessed) if guessed.kind == "identities" and not guessed.joins else block)
        if guessed.kind == "events" and "item_id" in guessed.roles:
            without_catalogue.append((name, (group, guessed)))
    if not has_catalogue:
        for name, (group, guessed) in without_catalogue:
            items = own_items(group, guessed)
            blocks.append(source_block(_unique(f"{name}_items", names), group, items, target))
    return blocks


def _suggested(block: str, found: Guess) -> str:
    """Write a source of identities as a comment: nothing in its file says that anybody had proved who they are."""
    other = f"{{column: {found.roles['other_id'][0]}, identifier: {found.identifier}}}"
    told = (
        "These lines seem to join two ids of one person. Nobody is joined unasked: take the marks away only if each",
        "line that is kept is a log-in, or another proof of who it was. Then write at the top",
        f"`identity: {{kinds: [user, {found.identifier}]}}`, and in events with that column `other_id: {other}`.",
    )
    lines = [*told, *(line.removeprefix("  ") for line in block.splitlines())]
    return "".join(f"  # {line}\n" for line in lines)


def _not_used(group: Group, guessed: Guess, folder: Path) -> str:
    shape = group.sniffed.shape
    listed = ", ".join(shape.names[:8])
    shown = listed if shape.has_header else f"{len(shape.names)} unnamed columns"
    reason = guessed.reason or "neither events, items, users, promotions nor links of ids"
    first = os.path.relpath(group.members[0], folder)
    path = first if len(group.members) == 1 else f"{first} (and {len(group.members) - 1} more like it)"
    return f"{path} is not used: {reason} ({shown})."


def _no_events(folder: Path, found: list[Found], notes: list[str]) -> str:
    join = wanted_join(found)
    if join:
        return f"{folder}: no file alone holds events: {join}."
    listed = " ".join(notes)
    return f"{folder}: no file looks like events (a user, an item, perhaps a time); {listed or 'add one'}"


def _finished(
    folder: Path, target: Path, declared_users: int | None, blocks: list[str], notes: list[str], kinds: list[str]
) -> str:
    """Put the parts together; the days of the data decide the calendar, so that they are read once."""
    name = _name(folder.resolve())
    probe = _head(name, EPOCH.isoformat(), None, declared_users, notes, kinds) + "".join(blocks)
    shop = parse_shop(probe, target)
    first, last = _days(shop) or (None, None)
    if first is None and shop.is_timed:
        first, notes = EPOCH.isoformat(), [*notes, "No time could be read: check time.format, then calendar.start."]
    return _head(name, first, last, declared_users, notes, kinds) + "".join(_with_week_one(blocks, first))


def _with_week_one(blocks: list[str], first: str | None) -> list[str]:
    """Let week 1 begin on the Monday before the data, where nothing tells when it does."""
    start = dt.date.fromisoformat(first or WEEK_ONE)
    monday = start - dt.timedelta(days=start.weekday())
    return [block.replace(WEEK_ONE, monday.isoformat()) for block in blocks]


def _name(folder: Path) -> str:
    """Name the shop after its folder, or after the one above where the folder is just called data."""
    says = folder.parent if folder.name.lower() in _SAYS_NOTHING and folder.parent.name else folder
    return slug(says.name)[:64]


def _days(shop: Shop) -> tuple[str, str] | None:
    """Return the first and the last day with events, or None for a shop without times."""
    days = set()
    with duckdb.connect() as connection:
        for name, source in shop.sources.items():
            if source.time is None or source.kind != "events":
                continue
            for file in resolve_files(shop, name):
                try:
                    days |= days_in_file(connection, shop, name, file)
                except SourceError:
                    continue  # the draft already carries a note of a file that cannot be read
    days.discard(EPOCH)
    return (min(days).isoformat(), max(days).isoformat()) if days else None


def _head(
    name: str, first: str | None, last: str | None, declared_users: int | None, notes: list[str], kinds: list[str]
) -> str:
    population = "null # required: the publicly known size of the user base, rounded; the privacy plan needs it"
    if declared_users is not None:
        population = f"{declared_users} # publicly known size of the user base; the privacy plan is drawn up for it"
    lines = [
        "# Drafted from the files' names and first rows: check every line marked `check`.",
        *(f"# {note}" for note in notes),
        f"name: {name}",
        "currency: EUR # check",
        "timezone: UTC # check: the zone of times that carry no offset",
        "public_benchmark: false",
        f"declared_users: {population}",
        "catalogue_public: true # check: item codes, texts and list prices may be known to everybody",
    ]
    if first:
        ends = f" # up to today; the data ends on {last}" if last else ""
        lines += ["calendar:", f"  start: {first}", f"  end: null{ends}"]
    if first and last:
        test = dt.date.fromisoformat(last) - dt.timedelta(days=_TEST_DAYS - 1)
        if test > dt.date.fromisoformat(first):
            lines += [
                "evaluation:",
                f"  test_start: {test} # the release learns from the days before; fixed from now on",
            ]
    if kinds:
        lines.append(f"identity: {{kinds: [{', '.join(kinds)}]}} # check: the best known id of a person first")
    if not first:
        lines += ["# No times were found: a part of each user's events is held out for evaluation."]
    return "\n".join([*lines, "privacy:", "  mode: on", "  epsilon: 4", "sources:"]) + "\n"


def _unique(name: str, taken: set[str]) -> str:
    free = next(n for n in (name, *(f"{name}_{k}" for k in range(2, len(taken) + 3))) if n not in taken)
    taken.add(free)
    return free
