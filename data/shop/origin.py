"""Where the rows of one source come from, as the shop file may say it: files, or a table of a database."""

import re
from collections.abc import Sequence

_VARIABLE = re.compile(r"\$\{[A-Za-z_]\w*\}")
_DATABASE_URL = re.compile(r"^(postgres(ql)?|sqlite|mysql|mariadb|oracle|mssql)(\+\w+)?://")
_PASSWORD_OPTION = re.compile(r"[?&](ssl)?password=(?P<secret>[^&]*)", re.IGNORECASE)
_USER_AND_PASSWORD = re.compile(r"^[^/]*://[^/@:]*:(?P<secret>.*)@")


def origin_fault(
    path: Sequence[str], database: str | None, table: str | None, query: str | None, watermark: str | None
) -> str | None:
    """Tell what is wrong with the origin of a source.

    Args:
        path: Declared files.
        database: Declared database.
        table: Declared table.
        query: Declared query.
        watermark: Declared watermark column.

    Returns:
        Field, colon and fault with the remedy, without any value that may be secret; None when all is well.
    """
    if not path and table is None and query is None:
        return "path: missing; name files by `path`, or rows of a database by `database` with `table` or `query`"
    if (bool(path), table is not None, query is not None).count(True) > 1:
        return "path: give exactly one of path, table, query"
    if path:
        return _path_fault(path, database, watermark)
    if database is None:
        return "database: missing; a table or query needs one, as in `database: ${SHOP_DATABASE}`"
    fault = database_fault(database)
    return f"database: {fault}" if fault else _text_fault(table, query, watermark)


def _path_fault(path: Sequence[str], database: str | None, watermark: str | None) -> str | None:
    for name, value in (("database", database), ("watermark", watermark)):
        if value is not None:
            return f"{name}: goes with table or query, not with path; remove it"
    for declared in path:
        if _DATABASE_URL.match(declared):
            return "path: names a database; say it as `database` with `table` or `query`"
        if "${" in _VARIABLE.sub("", declared):
            return f"path: '{declared}' has a broken ${{NAME}}; close it or remove it"
    return None


def database_fault(database: str) -> str | None:
    """Tell what is wrong with a database as the shop file names it, without any value that may be secret.

    Args:
        database: URL or path.

    Returns:
        The fault with the remedy; None when all is well.
    """
    for found in (_USER_AND_PASSWORD.search(database), _PASSWORD_OPTION.search(database)):
        if found and not _VARIABLE.fullmatch(found["secret"]):
            return (
                "a password must not stand in the shop file; put the URL, or the password, "
                "into an environment variable and write ${NAME}"
            )
    if "${" in _VARIABLE.sub("", database):
        return "has a broken ${NAME}; close it or remove it"
    return None


def _text_fault(table: str | None, query: str | None, watermark: str | None) -> str | None:
    for name, value in (("table", table), ("query", query), ("watermark", watermark)):
        if value is not None and not value.strip():
            return f"{name}: is empty; fill it in or remove it"
    return None
