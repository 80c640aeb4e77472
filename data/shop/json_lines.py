"""JSON lines: one object a line, its values found by their paths."""

import re
from collections.abc import Mapping

from data.shop.csv_lines import UNIT_SEPARATOR, Cut, read_lines
from data.shop.errors import SourceError
from data.shop.source import Source
from data.shop.staging import (
    UNREADABLE,
    Staged,
    Text,
    choose_columns,
    has_rows,
    literal,
    refuse_if_nothing_readable,
)

_STEP = re.compile(r'\."(?:[^"\\]|\\.)*"|\.[^.\[]+|\[[^\]]*\]')
"""One step of a JSON path: a quoted key, a key, or a place in a list."""


def stage_jsonl(text: Text, source: Source, wanted: Mapping[str, bool]) -> Staged:
    """Make a table of the wanted values of JSON lines; see `reading.stage`."""
    with text.path.open("rb") as stream:
        if stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
            raise SourceError(text.shown, "is one JSON array", "write one object a line (`jq -c '.[]'`)")
    read_lines(text, f"{text.prefix}_lines", 1, ["c0"], Cut(UNIT_SEPARATOR, "", "", False))
    paths = {name: _path(name) for name in wanted}
    listed = "[" + ", ".join(literal(path) for path in paths.values()) + "]"
    picks = "".join(f", j[{number + 1}] AS s{number}" for number in range(len(paths)))
    lacks = "".join(
        f", CASE WHEN is_object AND j[{number + 1}] IS NULL THEN {_lacks(path)} ELSE false END AS k{number}"
        for number, path in enumerate(paths.values())
    )
    text.connection.execute(
        f"""CREATE TEMP TABLE {text.prefix} AS SELECT line, fault{picks}{lacks} FROM (
            SELECT line, coalesce(fault, CASE WHEN is_object THEN NULL ELSE {literal(UNREADABLE)} END) AS fault,
                CASE WHEN is_object THEN json_extract_string(c0, {listed}) END AS j, is_object, c0
            FROM (SELECT *, CASE WHEN json_valid(c0) THEN json_type(c0) = 'OBJECT' ELSE false END AS is_object
                FROM {text.prefix}_lines WHERE fault IS NOT NULL OR trim(c0) <> ''))"""
    )
    refuse_if_nothing_readable(text, "JSON lines")
    keys = _keys(text)
    objects = f"{text.prefix} WHERE fault IS NULL"
    has_objects = has_rows(text, objects)
    absent = [
        name for number, name in enumerate(paths) if has_objects and not has_rows(text, f"{objects} AND NOT k{number}")
    ]
    for name in absent:
        choose_columns(text.shown, [key for key in keys if key not in paths], {name: wanted[name]})
    # A path into a nested object uses its outermost key.
    used = {re.split(r"[.\[]", name.removeprefix("$."))[0] for name in wanted} | set(wanted)
    columns = {name: f"s{number}" for number, name in enumerate(paths)}
    return Staged(
        text.prefix,
        columns,
        columns,
        unmapped=tuple(key for key in keys if key not in used),
        absent=tuple(sorted(absent)),
        lacks={name: f"k{number}" for number, name in enumerate(paths) if not wanted[name]},
    )


def _lacks(path: str) -> str:
    """Render whether an object lacks what a path leads to; a null or a list on the way says that there is nothing."""
    steps = _STEP.findall(path)
    on_the_way = ["$" + "".join(steps[:n]) for n in range(len(steps) - 1, 0, -1)]
    deepest = ", ".join(f"json_type(c0, {literal(prefix)})" for prefix in on_the_way)
    said = f" AND coalesce({deepest}, 'OBJECT') NOT IN ('NULL', 'ARRAY')" if on_the_way else ""
    return f"NOT json_exists(c0, {literal(path)}){said}"


def _keys(text: Text) -> list[str]:
    """Return the keys of all lines that are objects, sorted."""
    found = text.connection.execute(
        f"""SELECT DISTINCT unnest(json_keys(c0)) AS key FROM {text.prefix}_lines
        WHERE CASE WHEN json_valid(c0) THEN json_type(c0) = 'OBJECT' ELSE false END ORDER BY key"""
    ).fetchall()
    return [key for (key,) in found]


def _path(name: str) -> str:
    if name.startswith("$"):
        return name
    return "$" + "".join('."' + part.replace('"', '\\"') + '"' for part in name.split("."))
