"""What a file that nobody described looks like: its format, how it is cut, its columns, a few of its values."""

import csv
import io
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from data.shop.errors import SourceError
from data.shop.source import Format, format_of
from data.shop.staging import literal

SAMPLE_ROWS = 5000
"""Enough to meet an event type that one row in a thousand has."""
SAMPLE_BYTES = 1 << 20
_DELIMITERS = (",", ";", "\t", "|", "::")
_RECORD_SEPARATOR = "\x1e"


@dataclass(frozen=True)
class Shape:
    """What files of one source have in common."""

    format: Format
    """Format."""
    names: tuple[str, ...]
    """Column names; made up (column_1, ...) where the file has none."""
    delimiter: str = ","
    """Of a CSV file."""
    has_header: bool = True
    """Whether a CSV file's first line names its columns."""
    encoding: str = "utf-8"
    """ascii and utf-8 (which are read alike), else cp1252."""


@dataclass(frozen=True)
class Sniffed:
    """One file."""

    shape: Shape
    """How it is written."""
    rows: list[tuple[str | None, ...]]
    """Some of its records in file order: a text for each name, None where it is empty."""

    @cached_property
    def values(self) -> dict[str, list[str]]:
        """Column -> its texts in file order, empty ones left out."""
        columns = list(zip(*self.rows, strict=True)) or [()] * len(self.shape.names)
        return {n: [v for v in column if v] for n, column in zip(self.shape.names, columns, strict=True)}


def sniff(path: Path) -> Sniffed:
    """Look at the beginning of one file.

    Args:
        path: A local file with an ending that names a format.

    Returns:
        Its shape and up to `SAMPLE_ROWS` values a column.

    Raises:
        SourceError: It is empty, damaged or of no known format.
    """
    form = format_of(path.name)
    try:
        if form == "parquet":
            return _parquet(path)
        with pa.input_stream(str(path), compression="detect") as stream:
            head = stream.read(SAMPLE_BYTES)
    except (OSError, duckdb.Error, pa.ArrowInvalid) as error:
        what = f"is damaged or cut short ({type(error).__name__})"
        raise SourceError(str(path), what, "deliver the file again") from None
    if not head.strip():
        raise SourceError(str(path), "is empty", "deliver it again or remove it")
    if len(head) == SAMPLE_BYTES:
        head = head[: head.rfind(b"\n") + 1] or head
    try:
        text, encoding = head.decode("utf-8-sig"), "ascii" if head.isascii() else "utf-8"
    except UnicodeDecodeError:
        text, encoding = head.decode("cp1252", errors="replace"), "cp1252"
    if form == "jsonl":
        return _jsonl(path, text, encoding)
    return _csv(text, encoding)


def _parquet(path: Path) -> Sniffed:
    with duckdb.connect() as connection:
        rows = connection.sql(f"SELECT * FROM read_parquet({literal(str(path))}) LIMIT {SAMPLE_ROWS}")
        names = tuple(rows.columns)
        texts = connection.sql("SELECT CAST(COLUMNS(*) AS VARCHAR) FROM rows").fetchall()
    return Sniffed(Shape("parquet", names), _records(texts))


def _jsonl(path: Path, text: str, encoding: str) -> Sniffed:
    if text.lstrip().startswith("["):
        raise SourceError(str(path), "is one JSON array", "write one object a line (`jq -c '.[]'`)")
    rows: list[dict[str, str]] = []
    for line in itertools.islice(text.splitlines(), SAMPLE_ROWS):
        try:
            value = json.loads(line, parse_float=str, parse_int=str)
        except ValueError:
            continue
        if isinstance(value, dict):
            rows.append(_flat(value))
    if not rows:
        raise SourceError(str(path), "has no line that is a JSON object", "write one object a line")
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    return Sniffed(Shape("jsonl", names, encoding=encoding), _records([[row.get(n) for n in names] for row in rows]))


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Name nested values by their path, `user.id`; lists stay whole."""
    flat: dict[str, str] = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            flat |= _flat(inner, f"{prefix}{key}.")
        elif inner is not None:
            flat[prefix + key] = inner if isinstance(inner, str) else json.dumps(inner)
    return flat


def _csv(text: str, encoding: str) -> Sniffed:
    delimiter = max(_DELIMITERS, key=lambda mark: _consistency(text, mark))
    rows = list(itertools.islice(_cut(text, delimiter), SAMPLE_ROWS + 1))
    width = Counter(map(len, rows)).most_common(1)[0][0]
    first = rows[0]
    has_header = len(first) == width == len(set(first)) and not any(_is_value(field) for field in first)
    # A name does not come back as a value of its own column.
    has_header &= not any(a == b for row in rows[1:] for a, b in zip(first, row, strict=False))
    names = tuple(first) if has_header else tuple(f"column_{number}" for number in range(1, width + 1))
    body = [row for row in rows[has_header:] if len(row) == width]
    return Sniffed(Shape("csv", names, delimiter, has_header, encoding), _records(body))


def _cut(text: str, delimiter: str) -> Iterator[list[str]]:
    if len(delimiter) == 1:
        return csv.reader(io.StringIO(text), delimiter=delimiter)
    return csv.reader(io.StringIO(text.replace(delimiter, _RECORD_SEPARATOR)), delimiter=_RECORD_SEPARATOR)


def _consistency(text: str, delimiter: str) -> tuple[float, int]:
    """Score a delimiter: the share of records of the commonest width above one, then that width."""
    rows = list(itertools.islice(_cut(text, delimiter), 100))
    width, count = Counter(map(len, rows)).most_common(1)[0]
    return (count / len(rows), width) if width > 1 else (0.0, 0)


def _is_value(field: str) -> bool:
    """Tell data from a column name: empty, a number, or something that begins with a digit, such as a date."""
    return not field.strip() or field.strip()[0].isdigit() or field.strip()[0] in "+-."


def _records(rows: Iterable[Sequence[str | None]]) -> list[tuple[str | None, ...]]:
    return [tuple(value if value and value.strip() else None for value in row) for row in rows]
