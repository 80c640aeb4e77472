"""Databases by URL: PostgreSQL and SQLite through SQLAlchemy, named in every message without their password."""

import os
from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa

from data.connectors import filled
from data.shop.config import Shop
from data.shop.errors import ShopError

CONNECT_SECONDS = 10
_ALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
"""Seconds, seconds, times, milliseconds: a network that was cut is noticed in a minute, not in hours."""

_DRIVERS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}
_HIDDEN = "***"


def parse_url(text: str) -> sa.URL:
    """Read a database URL.

    Args:
        text: SQLAlchemy URL; `postgresql://` and `postgres://` mean the driver psycopg.

    Returns:
        The address.

    Raises:
        ValueError: it is no URL of a database; the message holds no part of it.
    """
    try:
        found = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        raise ValueError("is no database URL") from None
    if "@" in (found.host or ""):
        raise ValueError("is no database URL: an @ in a password is written %40")
    return found.set(drivername=_DRIVERS.get(found.drivername, found.drivername))


def shown(url: sa.URL) -> str:
    """A URL as messages name it: without password, and without options, where one may stand too."""
    return url.set(query={}).render_as_string(hide_password=True)


def reason(error: sa.exc.SQLAlchemyError, url: sa.URL) -> str:
    """The first line of what a database said, without the password.

    Args:
        error: what SQLAlchemy raised; its further lines may quote rows.
        url: the address that was tried.
    """
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    said = lines[0] if lines else type(error).__name__
    secrets = [url.password, *(url.query.get(name) for name in ("password", "sslpassword", "passfile"))]
    for secret in secrets:
        if isinstance(secret, str) and secret:
            said = said.replace(secret, _HIDDEN)
    return said


def declared_url(declared: str, field: str, shop: Shop, environment: Mapping[str, str] = os.environ) -> sa.URL:
    """Where a database is that the shop file names.

    Args:
        declared: its URL, or the path of an SQLite file.
        field: where it stands in the shop file, for messages.
        shop: the declaration.
        environment: where `${NAME}` is looked up.

    Returns:
        URL of a PostgreSQL database, or of an SQLite file with an absolute path.

    Raises:
        ShopError: if a variable is not set, or there is no such kind of database.
    """
    text = filled(declared, field, shop, environment)
    try:
        found = parse_url(text if "://" in text else f"sqlite:///{text}")
    except ValueError as error:
        raise ShopError(f"{shop.location}: {field}: {error}; write postgresql://user@host/database.") from None
    if found.get_backend_name() == "sqlite" and found.database:
        return sa.URL.create("sqlite", database=os.path.abspath(shop.location.parent / Path(found.database)))
    if found.drivername != "postgresql+psycopg":
        raise ShopError(
            f"{shop.location}: {field}: is for {found.drivername}; use postgresql:// or the path of an SQLite file."
        )
    return found


def postgresql_engine(url: sa.URL) -> sa.Engine:
    """An engine that keeps no connection open, gives up on a silent server, and quotes no parameter in its errors.

    Args:
        url: of a PostgreSQL database, driver psycopg.
    """
    limits = {"connect_timeout": CONNECT_SECONDS, **_ALIVE}
    return sa.create_engine(url, hide_parameters=True, poolclass=sa.NullPool, connect_args=limits)
