"""Parquet files: copied as text, or seen through a view where they lie."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import duckdb

from data.shop.errors import SourceError
from data.shop.staging import Staged, Text, choose_columns, literal, staged_as


def stage_parquet(text: Text, wanted: Mapping[str, bool]) -> Staged:
    """Make a table of the wanted columns of a Parquet file; see `reading.stage`."""
    with _reading_parquet(text):
        names, staged = _columns(text, wanted)
        picks = [f"CAST({_quoted(name)} AS VARCHAR) AS {cell}" for name, cell in staged.items()]
        text.connection.execute(f"CREATE TEMP TABLE {text.prefix} AS {_query(text, picks)}")
    return staged_as(text, names, wanted, staged)


@contextmanager
def seen_parquet(text: Text, wanted: Mapping[str, bool]) -> Iterator[Staged]:
    """A view on the file, with its own types; damage is met while it is read."""
    view = f"{text.prefix}_view"
    with _reading_parquet(text):
        names, staged = _columns(text, wanted)
        picks = [f"{_quoted(name)} AS {cell}" for name, cell in staged.items()]
        text.connection.execute(f"CREATE TEMP VIEW {view} AS {_query(text, picks)}")
        found = staged_as(text, names, wanted, staged)
        texts = {name: cell if cell == "NULL" else f"CAST({cell} AS VARCHAR)" for name, cell in found.cells.items()}
        try:
            yield replace(found, table=view, columns=texts)
        finally:
            text.connection.execute(f"DROP VIEW {view}")


def _columns(text: Text, wanted: Mapping[str, bool]) -> tuple[list[str], dict[str, str]]:
    """Columns of a Parquet file, and of the wanted ones the names that they are staged under."""
    described = text.connection.execute(f"DESCRIBE SELECT * FROM read_parquet({literal(str(text.path))})").fetchall()
    names = [row[0] for row in described]
    return names, {name: f"s{number}" for number, name in enumerate(choose_columns(text.shown, names, wanted))}


def _query(text: Text, picks: Sequence[str]) -> str:
    limit = f" LIMIT {text.limit}" if text.limit is not None else ""
    picked = "".join(f", {pick}" for pick in picks)
    scan = f"read_parquet({literal(str(text.path))}, file_row_number = true)"
    return f"SELECT file_row_number + 1 AS line, CAST(NULL AS VARCHAR) AS fault{picked} FROM {scan}{limit}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def _reading_parquet(text: Text) -> Iterator[None]:
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        what = f"is damaged, cut short or no Parquet ({type(error).__name__})"
        raise SourceError(text.shown, what, "deliver the file again") from None
