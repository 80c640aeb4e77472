"""The SQL engine behind a thin protocol: DuckDB by default; the models are written so that Spark can follow.

A `Session` sees lake tables under their contract keys (`core.events`) and returns Arrow.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Protocol

import duckdb
import pyarrow as pa

from data.contracts.schema import Table
from data.lake import Lake
from data.row_file import RowFile, Rows


class Session(Protocol):
    """One connection: tables come in, queries run, Arrow goes out."""

    def attach(self, contract: Table, lake: Lake, days: Collection[date] | None = None) -> None:
        """Show a lake table, or only some days of it, under its contract key; empty before its first publication."""
        ...

    def register(self, key: str, data: Rows) -> None:
        """Show rows under `layer.name` or a bare name."""
        ...

    def query(self, sql: str) -> pa.Table:
        """Run one statement and fetch its result."""
        ...

    def materialise(self, name: str, sql: str) -> None:
        """Keep a query's result under a bare name for later queries of this session."""
        ...

    def define(self, key: str, sql: str) -> None:
        """Show a query under `layer.name` without running it."""
        ...


class Engine(Protocol):
    """Makes sessions."""

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session that is closed on leaving."""
        ...


class DuckDBSession:
    """A session on an in-memory DuckDB that spills to `temp`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Wrap a connection."""
        self.connection = connection

    def attach(self, contract: Table, lake: Lake, days: Collection[date] | None = None) -> None:
        """See `Session.attach`."""
        if lake.is_remote:
            self._attach_remote(contract, lake, days)
            return
        files = lake.files(contract.key, days)
        columns = _columns(contract, lake.columns(contract.key) if files else set())
        if files:
            listed = ", ".join("'" + f.replace("'", "''") + "'" for f in files)
            hive = ", hive_partitioning = true, hive_types = {'day': DATE}" if contract.partition_by else ""
            self.define(contract.key, f"select {columns} from read_parquet([{listed}], union_by_name = true{hive})")
        else:
            self.define(contract.key, f"select {columns} where false")

    def _attach_remote(self, contract: Table, lake: Lake, days: Collection[date] | None) -> None:
        """Show a table of an object store: DuckDB scans Delta's dataset, since its own reader would need an extension.

        Columns and days that a query does not ask for are not fetched.
        """
        dataset = lake.dataset(contract.key, days)
        if dataset is None:
            self.define(contract.key, f"select {_columns(contract, set())} where false")
            return
        bare = "__" + contract.key.replace(".", "__")
        self.connection.register(bare, dataset)
        self.define(contract.key, f'select {_columns(contract, set(dataset.schema.names))} from "{bare}"')

    def register(self, key: str, data: Rows) -> None:
        """See `Session.register`."""
        bare = "__" + key.replace(".", "__") if "." in key else key
        shown = self.connection.read_parquet(str(data.path)) if isinstance(data, RowFile) else data
        self.connection.register(bare, shown)
        if bare != key:
            self.define(key, f'select * from "{bare}"')

    def query(self, sql: str) -> pa.Table:
        """See `Session.query`."""
        return self.connection.sql(sql).to_arrow_table()

    def materialise(self, name: str, sql: str) -> None:
        """See `Session.materialise`."""
        self.connection.execute(f'create or replace temp table "{name}" as {sql}')

    def define(self, key: str, sql: str) -> None:
        """See `Session.define`."""
        layer, name = key.split(".")
        self.connection.execute(f'create schema if not exists "{layer}"')
        self.connection.execute(f'create or replace view "{layer}"."{name}" as {sql}')


def _columns(contract: Table, held: Collection[str]) -> str:
    """The columns of a contract as a select list; null where the table lacks one yet."""
    found = {name: f'"{name}"' if name in held else "null" for name in contract.names}
    return ", ".join(f'cast({found[name]} as {kind}) as "{name}"' for name, kind in contract.sql_types().items())


class DuckDB:
    """DuckDB with stated limits, UTC, and no extension beyond those in its wheel."""

    def __init__(self, temp: Path, threads: int, memory_limit: str) -> None:
        """Keep the limits.

        Args:
            temp: folder to spill to.
            threads: number of threads, at least 1.
            memory_limit: in DuckDB's spelling, for example `4GB`.
        """
        self.temp, self.threads, self.memory_limit = temp, threads, memory_limit

    @contextmanager
    def session(self) -> Iterator[DuckDBSession]:
        """See `Engine.session`."""
        self.temp.mkdir(parents=True, exist_ok=True)
        config: dict[str, str | bool | int | float | list[str]] = {
            "threads": str(self.threads),
            "memory_limit": self.memory_limit,
            "temp_directory": str(self.temp),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
        with duckdb.connect(config=config) as connection:
            connection.execute("set TimeZone = 'UTC'")
            connection.execute("set enable_progress_bar = false")
            yield DuckDBSession(connection)
