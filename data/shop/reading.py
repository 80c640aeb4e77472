"""Reading one file as text: every value a string or null, every line numbered, unreadable lines told apart.

What the columns mean is the business of `mapping`.
"""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import duckdb

from data.connectors import SourceFile, local_copy
from data.shop.csv_lines import stage_csv
from data.shop.errors import SourceError
from data.shop.json_lines import stage_jsonl
from data.shop.parquet_rows import seen_parquet, stage_parquet
from data.shop.source import Format, Source, format_of
from data.shop.staging import Staged, Text
from data.unpacking import plain_text


def file_format(source: Source, file: SourceFile) -> Format:
    """Tell the format of one file: the declared one, else by its ending.

    Raises:
        SourceError: Neither says it.
    """
    found = source.format or format_of(file.path)
    if found is None:
        raise SourceError(file.path, "has an ending that names no format", "declare format: csv, jsonl or parquet")
    return found


@contextmanager
def stage(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    file: SourceFile,
    wanted: Mapping[str, bool],
    limit: int | None = None,
    in_place: bool = False,
) -> Iterator[Staged]:
    """Read columns of one file as text.

    Args:
        connection: Where the temporary tables are made, and dropped at the end.
        source: How the file is written.
        file: The file.
        wanted: Source column -> whether a file may lack it.
        limit: Read no more than this many lines.
        in_place: A Parquet file is not copied, but seen through a view; damage then is met by who reads the view.

    Yields:
        The staged file.

    Raises:
        SourceError: The file as a whole is unusable.
    """
    prefix = f"stage_{uuid.uuid4().hex}"
    form = file_format(source, file)
    try:
        with local_copy(file) as local:
            if form == "parquet":
                text = Text(local, file.path, connection, prefix, limit)
                if in_place:
                    with seen_parquet(text, wanted) as seen:
                        yield seen
                    return
                staged = stage_parquet(text, wanted)
            else:
                with plain_text(local, source.csv.encoding, file.path) as plain:
                    text = Text(plain, file.path, connection, prefix, limit)
                    stager = stage_csv if form == "csv" else stage_jsonl
                    staged = stager(text, source, wanted)
        yield staged
    finally:
        for suffix in ("", "_lines", "_rejects", "_scans"):
            connection.execute(f"DROP TABLE IF EXISTS {prefix}{suffix}")
