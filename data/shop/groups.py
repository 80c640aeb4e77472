"""The files of a folder, put together by how they are written: each group is one source, or a file nobody can use."""

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from data.shop.errors import ShopError, SourceError
from data.shop.sniff import SAMPLE_ROWS, Sniffed, sniff
from data.shop.source import COMPRESSIONS, format_of


@dataclass
class Group:
    """Files that are written alike."""

    sniffed: Sniffed
    """The first of them; of JSON lines, with the names of all."""
    members: list[Path] = field(default_factory=list)
    """The files, sorted."""

    @property
    def name(self) -> str:
        """What the file, or the folder of several files, is called."""
        first = self.members[0]
        return first.name.split(".")[0] if len(self.members) == 1 else first.parent.name


def find_groups(folder: Path) -> tuple[list[Group], list[str]]:
    """Look at every file under a folder.

    Args:
        folder: Where the files are; subfolders count.

    Returns:
        Groups in the order of their first files, and one sentence for each file that cannot be read.

    Raises:
        ShopError: The folder holds no file of a known format.
    """
    there = sorted(p for p in folder.rglob("*") if p.is_file() and p.name[0] not in "._")
    files = [p for p in there if format_of(p.name)]
    if not files:
        endings = Counter(p.suffix for p in there if p.suffix)
        seen = ", ".join(f"{ending} ({n})" for ending, n in endings.most_common(3))
        held = f", only {seen}" if seen else ""
        raise ShopError(
            f"{folder}: holds no .csv, .tsv, .jsonl or .parquet file{held}; name the folder of the data, "
            "or save it in one of these formats."
        )
    groups: list[Group] = []
    notes: list[str] = []
    for file in files:
        try:
            sniffed = sniff(file)
        except SourceError as error:
            notes.append(str(error))
            continue
        found = next((group for group in groups if _belongs(group, sniffed, file)), None)
        if found is None:
            groups.append(Group(sniffed, [file]))
        else:
            found.members.append(file)
            found.sniffed = _merged(found.sniffed, sniffed)
    return groups, notes


def paths(members: list[Path], target: Path) -> list[str]:
    """Write the files of one source, relative to the YAML when they lie under its folder.

    Args:
        members: The files.
        target: The YAML.

    Returns:
        The file itself, patterns that match the files alone, or the files one by one.
    """
    relative = [_relative(member, target.parent) for member in members]
    parents = {member.parent for member in members}
    if len(members) == 1 or len(parents) > 1:
        return relative
    [parent] = parents
    patterns = []
    for ending in sorted({_ending(member.name) for member in members}):
        # A pattern matches a file by its whole ending: *.csv does not match day.csv.gz.
        alike = {p for p in parent.iterdir() if p.name.endswith(ending) and p.name[0] not in "._"}
        if not alike <= set(members):
            return relative
        patterns.append(str(PurePath(relative[0]).parent / f"*{ending}"))
    return patterns


def slug(text: str) -> str:
    """Write a text as a name in a shop.yaml."""
    found = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return found if found[:1].isalpha() else f"shop_{found}".strip("_")


def _belongs(group: Group, sniffed: Sniffed, file: Path) -> bool:
    old, new = group.sniffed.shape, sniffed.shape
    encodings = {old.encoding, new.encoding}
    if len(encodings) > 1 and "ascii" not in encodings:
        return False
    if old.format != "jsonl" or new.format != "jsonl":
        is_same = replace(old, encoding="") == replace(new, encoding="")
        # Two files without column names are alike only by the place where they stand.
        return is_same and (old.has_header or _is_beside(group.members[0], file))
    # Objects leave out what they have not: files of one kind share most names, not all.
    shared = len(set(old.names) & set(new.names))
    return group.members[0].parent == file.parent and shared >= 0.6 * len(set(old.names) | set(new.names))


def _is_beside(one: Path, other: Path) -> bool:
    """Tell files of one folder whose names differ by numbers alone, such as those of days."""
    return one.parent == other.parent and re.sub(r"[\d_-]+", "", one.name.split(".")[0]) == re.sub(
        r"[\d_-]+", "", other.name.split(".")[0]
    )


def _merged(old: Sniffed, new: Sniffed) -> Sniffed:
    """Add a file to a sample: its names, its encoding, and rows while there is room, so that rare words are met."""
    names = tuple(dict.fromkeys((*old.shape.names, *new.shape.names)))
    encoding = new.shape.encoding if old.shape.encoding == "ascii" else old.shape.encoding
    shape = replace(old.shape, names=names, encoding=encoding)
    room = max(SAMPLE_ROWS - len(old.rows), 0)
    if shape == old.shape and not room:
        return old
    place = {name: at for at, name in enumerate(new.shape.names)}
    padding = (None,) * (len(names) - len(old.shape.names))
    rows = [(*row, *padding) for row in old.rows] if padding else old.rows
    # Names that only this file has need a row of it, room or not.
    more = new.rows[: max(room, 1)]
    return Sniffed(shape, rows + [tuple(row[place[n]] if n in place else None for n in names) for row in more])


def _relative(file: Path, start: Path) -> str:
    file, start = file.resolve(), start.resolve()
    return str(file.relative_to(start) if file.is_relative_to(start) else file)


def _ending(name: str) -> str:
    packed = next((c for c in COMPRESSIONS if name.endswith(c)), "")
    return PurePath(name.removesuffix(packed)).suffix + packed
