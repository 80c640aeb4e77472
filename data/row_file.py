"""Rows that are too many to hold at once: they wait in a Parquet file for their gate and their commit."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

BATCH_ROWS = 10_000
"""Rows of the file that are read at once."""


class RowFile:
    """Rows in a Parquet file, with as much of the face of an Arrow table as a gate of counts needs."""

    def __init__(self, path: Path) -> None:
        """See a file that stays as it is."""
        self.path = path

    @classmethod
    def write(cls, path: Path, schema: pa.Schema, parts: Iterable[pa.Table]) -> "RowFile":
        """Write rows part by part.

        Args:
            path: of the file.
            schema: of every part.
            parts: (n, c) each; none of them is held when the next one is asked for.

        Returns:
            The finished file.
        """
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for part in parts:
                writer.write_table(part)
        return cls(path)

    @cached_property
    def schema(self) -> pa.Schema:
        """Arrow schema of the rows."""
        return pq.read_schema(self.path)

    @property
    def column_names(self) -> list[str]:
        """Names of the columns."""
        return list(self.schema.names)

    @cached_property
    def num_rows(self) -> int:
        """Number of rows."""
        return int(pq.read_metadata(self.path).num_rows)

    def reader(self) -> pa.RecordBatchReader:
        """The rows, `BATCH_ROWS` at a time."""
        # Reading ahead, and by columns at once, would hold several times as much and be no faster.
        batches = pq.ParquetFile(self.path, pre_buffer=False).iter_batches(batch_size=BATCH_ROWS, use_threads=False)
        return pa.RecordBatchReader.from_batches(self.schema, batches)


Rows = pa.Table | RowFile
"""Rows on their way into a table."""
