"""Digests by which tables, their inputs and their content are known to be the same."""

import hashlib
import json

import duckdb
import pyarrow as pa


def digest(*parts: object) -> str:
    """A short stable digest of JSON-able parts.

    Returns:
        32 hexadecimal characters of SHA-256.
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def content_digest(data: pa.Table) -> str:
    """Digest of a table's rows as a multiset, independent of their order.

    Args:
        data: (n, c) any table.

    Returns:
        32 hexadecimal characters.
    """
    with duckdb.connect() as connection:
        connection.register("t", data)
        row = "struct_pack(" + ", ".join(f'"{name}" := "{name}"' for name in data.column_names) + ")"
        found = connection.execute(
            f"select count(*), sum(hash({row})::hugeint), bit_xor(hash({row})) from t"
        ).fetchone()
    return digest(data.column_names, [str(x) for x in found or ()])
