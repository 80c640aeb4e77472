"""Files in the shapes of strangers' shops, and what their drafts say."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path

from data.shop.config import Shop
from data.shop.draft import draft
from data.shop.load import parse_shop
from data.shop.preview import Preview, preview

ROWS = 60


def drafted(folder: Path) -> tuple[str, Shop, Preview]:
    text = draft(folder, declared_users=50)
    shop = parse_shop(text, folder / "shop.yaml")
    return text, shop, preview(shop)


def write(path: Path, lines: Iterable[str], header: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join([*([header] if header else []), *lines, ""])
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def objects(path: Path, rows: Iterable[dict[str, object]]) -> None:
    write(path, (json.dumps(row) for row in rows))


def mapped(shop: Shop, source: str) -> dict[str, object]:
    """Contract column -> source column or columns."""
    columns = shop.sources[source].columns
    return {name: column.column or list(column.columns) for name, column in columns.items()}


def time_of(shop: Shop, source: str) -> tuple[str, str]:
    time = shop.sources[source].time
    assert time is not None
    return time.column, time.format


def kinds(shop: Shop) -> dict[str, str]:
    return {name: source.kind for name, source in shop.sources.items()}


def types(shown: Preview, source: str) -> set[str]:
    return set(shown.rows[source]["event_type"].to_pylist())
