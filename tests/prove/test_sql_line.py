"""A shop whose events, items and customers are tables of a database, from its first pull to its recommendations."""

import csv
import io
import sqlite3
from pathlib import Path

import dagster as dg
import pytest

from orchestration.launch import execute
from tests.support.runs import rows
from tests.support.shops import lively_shop, workspace_of
from tests.support.tables import VARIABLE

pytestmark = pytest.mark.prove
TABLES = {"tills": "tills.csv", "catalogue": "catalogue.csv", "members": "members.csv"}


def into_tables(shop_file: Path, database: Path) -> None:
    """Move the files of a shop into tables, and say so in its shop file."""
    text = shop_file.read_text(encoding="utf-8")
    connection = sqlite3.connect(database)
    for table, name in TABLES.items():
        with (shop_file.parent / name).open(encoding="utf-8", newline="") as stream:
            header, *lines = csv.reader(stream)
        with connection:
            connection.execute(f"create table {table} (seq integer primary key, {', '.join(header)})")
            places = ", ".join("?" * len(header))
            filled = [[field or None for field in line] for line in lines]
            connection.executemany(f"insert into {table} ({', '.join(header)}) values ({places})", filled)
        text = text.replace(f"path: {name}", f"database: ${{{VARIABLE}}}\n    table: {table}\n    watermark: seq")
        (shop_file.parent / name).unlink()
    connection.close()
    shop_file.write_text(text, encoding="utf-8")


def test_a_shop_of_tables_comes_to_recommendations(tmp_path, monkeypatch):
    monkeypatch.setenv("PORTRAIT_KEY", "ab" * 32)
    monkeypatch.setenv(VARIABLE, f"sqlite:///{tmp_path / 'shop.db'}")
    shop_file = lively_shop(tmp_path / "shop", 1, 24, 45)
    into_tables(shop_file, tmp_path / "shop.db")
    workspace = workspace_of(shop_file, tmp_path / "var")
    out = io.StringIO()
    ran = execute(workspace, dg.DagsterInstance.ephemeral(), out)
    assert not ran.failed, ran.failed
    people = {row["user_id"] for row in rows(workspace, "profile.profiles")}
    found = rows(workspace, "out.recommendations")
    assert len(people) > 20 and {row["user_id"] for row in found} == people
    assert {row["item_id"] for row in found} <= {row["item_id"] for row in rows(workspace, "core.items")}
    assert rows(workspace, "out.evaluation")
