"""Where a shop's ledger lies: an SQLite file of this machine, or the PostgreSQL database that the shop file names."""

import os
from collections.abc import Mapping
from pathlib import Path

from data.databases import declared_url
from data.ledger.postgresql import PostgresqlStore
from data.ledger.sqlite import SqliteStore
from data.ledger.store import Store
from data.shop.config import Shop
from data.shop.errors import ShopError


def store_of(shop: Shop, path: Path, environment: Mapping[str, str] = os.environ) -> Store:
    """The place of a shop's ledger; nothing is opened.

    Args:
        shop: the declaration.
        path: the SQLite file, used unless the shop file names a database.
        environment: where `${NAME}` is looked up.

    Raises:
        ShopError: if a variable is not set, or what is named is no PostgreSQL database.
    """
    if shop.privacy.ledger is None:
        return SqliteStore(path)
    url = declared_url(shop.privacy.ledger, "privacy.ledger", shop, environment)
    if url.get_backend_name() == "sqlite":
        raise ShopError(
            f"{shop.location}: privacy.ledger: names an SQLite file; leave it out for the shop's own, {path}, "
            "or write postgresql://user@host/database."
        )
    return PostgresqlStore(url, shop.name)
