"""Databases by URL: PostgreSQL and SQLite through SQLAlchemy, named in every message without their password."""

import sqlalchemy as sa

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
