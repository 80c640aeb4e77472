"""Published tables on their way out: a Parquet file, a file of JSON lines, or a table of an SQL database.

A reader of the target sees the old content or the new, never a part: files are renamed into place, a database table
is replaced in one transaction.
"""

import gzip
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from data.contracts.out import RECOMMENDATIONS
from data.contracts.profile import PROFILES
from data.contracts.schema import Table
from data.databases import parse_url, reason, shown
from data.workspace import Workspace

Format = Literal["parquet", "jsonl", "sql"]

EXPORTS: dict[str, Table] = {"profiles": PROFILES, "recommendations": RECOMMENDATIONS}
"""What may leave: per-user tables made of own rows, releases and public facts."""

_ENDINGS: dict[str, Format] = {".parquet": "parquet", ".jsonl": "jsonl", ".jsonl.gz": "jsonl"}
_BATCH_ROWS = 10_000
_SQL_TYPES: dict[str, type[sa.types.TypeEngine[Any]]] = {
    "text": sa.Text,
    "bigint": sa.BigInteger,
    "integer": sa.Integer,
    "double": sa.Double,
    "boolean": sa.Boolean,
    "date": sa.Date,
    "timestamp": sa.DateTime,
    "texts": sa.Text,
    "vector": sa.Text,
}


class ExportError(ValueError):
    """The target cannot be written: one sentence with the target and the remedy, without any value of a row."""


def format_of_target(target: str) -> Format:
    """Tell the format from a path or URL.

    Args:
        target: where the table goes.

    Returns:
        `sql` for a database URL, else by the file's ending.

    Raises:
        ExportError: if neither tells it.
    """
    if "://" in target:
        return "sql"
    for ending, found in _ENDINGS.items():
        if target.endswith(ending):
            return found
    raise ExportError(f"{target}: the ending tells no format; end it in {', '.join(_ENDINGS)}, or name --format.")


def export(
    workspace: Workspace, what: str, target: str, *, form: Format | None = None, table: str | None = None
) -> int:
    """Write a published table somewhere else, replacing what stands there.

    Args:
        workspace: the shop.
        what: key of `EXPORTS`.
        target: path of a file, or SQLAlchemy URL of a database.
        form: format; None tells it from the target.
        table: name of the database table, with its schema where it needs one; None takes `what`.

    Returns:
        Rows written.

    Raises:
        ExportError: if the table was never published or the target cannot be written; the old content stays.
    """
    contract, form = EXPORTS[what], form or format_of_target(target)
    if table is not None and form != "sql":
        raise ExportError(f"{target}: --table {table} is for SQL databases; leave it out, or give a database URL.")
    if workspace.lake.published(contract.key) is None:
        raise ExportError(f"{contract.key} was never published in shop '{workspace.shop.name}'; run `portrait run`.")
    with workspace.engine.session() as session:
        session.attach(contract, workspace.lake)
        order = ", ".join(contract.primary_key)
        rows = contract.conform(session.query(f"select * from {contract.key} order by {order}"))
    if form == "sql":
        _to_database(contract, rows, target, table or what)
    else:
        _to_file(rows, Path(target).expanduser(), form)
    return int(rows.num_rows)


def _to_file(rows: pa.Table, path: Path, form: Format) -> None:
    try:
        with _renamed_into(path) as draft:
            if form == "parquet":
                pq.write_table(rows, draft)
            else:
                _write_lines(rows, draft, packed=path.name.endswith(".gz"))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ExportError(f"{path}: cannot be written ({reason}); name a file in a folder of yours.") from error


@contextmanager
def _renamed_into(path: Path) -> Iterator[Path]:
    """A file beside the target that takes its name once it is complete, and goes away if it never is."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield draft
        with draft.open("rb") as stream:
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _write_lines(rows: pa.Table, path: Path, *, packed: bool) -> None:
    with path.open("wb") as raw:
        # No name and no time in the header: the same rows give the same bytes.
        stream = gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) if packed else raw
        for batch in rows.to_batches(_BATCH_ROWS):
            for row in batch.to_pylist():
                stream.write((json.dumps(row, ensure_ascii=False, default=json_value) + "\n").encode())
        if stream is not raw:
            stream.close()


def json_value(value: object) -> str:
    """Instants and days as ISO 8601 text; instants are UTC and say so.

    Raises:
        TypeError: for any other type.
    """
    if isinstance(value, datetime):
        return value.isoformat() + "Z"
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"no JSON for {type(value).__name__}")


def _to_database(contract: Table, rows: pa.Table, url: str, name: str) -> None:
    try:
        address = parse_url(url)
    except ValueError as error:
        raise ExportError(f"--to {error}; write it like sqlite:///file.db or postgresql://host/db.") from None
    place = shown(address)
    try:
        engine = sa.create_engine(address, hide_parameters=True)
    except (sa.exc.NoSuchModuleError, ModuleNotFoundError) as error:
        raise ExportError(f"{place}: its database driver is missing ({error}); install it with pip.") from None
    if address.get_backend_name() == "sqlite":
        _transactional(engine)
    try:
        with engine.begin() as connection:
            _replace(connection, contract, rows, name)
    except sa.exc.SQLAlchemyError as error:
        # From None: what the driver raised may hold the password and quote rows.
        said = f"table '{name}' cannot be replaced ({reason(error, address)})"
        raise ExportError(f"{place}: {said}; nothing was changed.") from None
    finally:
        engine.dispose()


def _replace(connection: sa.Connection, contract: Table, rows: pa.Table, name: str) -> None:
    """Empty the table, or make it anew if its columns are not the contract's, and fill it."""
    keys = set(contract.primary_key)
    schema, _, bare = name.rpartition(".")
    target = sa.Table(
        bare,
        sa.MetaData(schema=schema or None),
        *(sa.Column(c.name, _SQL_TYPES[c.type], primary_key=c.name in keys) for c in contract.columns),
    )
    inspector = sa.inspect(connection)
    exists = inspector.has_table(bare, schema=target.schema)
    if exists and [c["name"] for c in inspector.get_columns(bare, schema=target.schema)] == list(contract.names):
        connection.execute(target.delete())  # keeps grants and views on it
    else:
        target.drop(connection, checkfirst=True)
        target.create(connection)
    listed = [c.name for c in contract.columns if c.type in ("texts", "vector")]
    for batch in rows.to_batches(_BATCH_ROWS):
        connection.execute(target.insert(), [_flat(row, listed) for row in batch.to_pylist()])


def _flat(row: dict[str, Any], listed: list[str]) -> dict[str, Any]:
    texts = {name: json.dumps(row[name], ensure_ascii=False) for name in listed if row[name] is not None}
    return {**row, **texts}


def _transactional(engine: sa.Engine) -> None:
    """Let SQLite's driver leave transactions to SQLAlchemy: by itself it begins none before DROP and CREATE."""

    @sa.event.listens_for(engine, "connect")
    def _manual(connection: Any, _record: object) -> None:
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
