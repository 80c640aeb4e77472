"""Dagster's event log in SQLite, with connections that stay open: half of what a run cost that had nothing to do."""

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dagster import StringSource
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, QueuePool, create_engine

KEPT = 4
"""Databases kept open: the index over all runs and the runs of late; the web server looks at any number of them."""


class EventLog(SqliteEventLogStorage):
    """The storage that Dagster uses by default: same files, same tables.

    Dagster opens a database for every event, three or four times for a check, and forgets every compiled statement
    with it; a run of 31 tables has 336 checks. Here a database is opened once. Dagster's own lock lets one thread at a
    time into `_connect`, so a pool of one connection suffices.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._tables: set[str] = set()
        super().__init__(base_dir, inst_data)

    @classmethod
    def config_type(cls) -> Any:
        """What `dagster.yaml` says: the home."""
        return {"home": StringSource}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> "EventLog":
        """The log of a Dagster home, in the folder where Dagster itself would keep it."""
        return cls(os.path.join(config_value["home"], "history", "runs"), inst_data)

    @property
    def open_databases(self) -> tuple[str, ...]:
        """Runs whose databases are open, and `index`; the latest used last."""
        return tuple(self._engines)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                yield connection

    def _engine(self, shard: str) -> Engine:
        """The open database, which becomes the latest used; the one unused for longest is closed."""
        if shard not in self._engines:
            self._engines[shard] = create_engine(
                self.conn_string_for_shard(shard),
                poolclass=QueuePool,
                pool_size=1,
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS},
            )
        self._engines.move_to_end(shard)
        if len(self._engines) > KEPT:
            self._engines.popitem(last=False)[1].dispose()
        return self._engines[shard]

    def has_table(self, table_name: str) -> bool:
        """Whether the index has the table; asked before every check result. Tables only ever come."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def wipe(self) -> None:
        """Close the databases, then delete them."""
        self._close()
        super().wipe()

    def dispose(self) -> None:
        """Close the databases."""
        self._close()
        super().dispose()

    def _close(self) -> None:
        with self._db_lock:
            while self._engines:
                self._engines.popitem()[1].dispose()
