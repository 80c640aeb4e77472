"""Exports: what is read back is what was published, and a failed export leaves the old content."""

import gzip
import json
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from data.contracts.profile import PROFILES
from data.export import ExportError, export, format_of_target
from tests.support.shops import workspace_of, write_shop

USERS = ["u_" + character * 32 for character in "ab"]


def profiles(n_events=3):
    rows = [
        {
            "user_id": user,
            "as_of_utc": datetime(2024, 1, 5, 0, 0),
            "attributes": '{"town":"Zürich"}',
            "n_days": 2,
            "n_events": n_events,
            "value": 7.25,
            "frequency_28d": 1.5,
            "n_sessions": 1,
            "categories": ["Food 75.0%", "Home 25.0%"],
            "last_items": ["a", 'say "b"'],
        }
        for user in USERS
    ]
    empty = dict.fromkeys(PROFILES.names)
    return pa.Table.from_pylist([{**empty, **row} for row in rows], schema=PROFILES.arrow_schema())


@pytest.fixture
def workspace(tmp_path):
    found = workspace_of(write_shop(tmp_path / "shop"), tmp_path / "var")
    found.lake.publish(PROFILES, profiles(), fingerprint="one")
    return found


def test_parquet_holds_the_published_rows_with_the_contract_s_schema(workspace, tmp_path):
    target = tmp_path / "profiles.parquet"
    assert export(workspace, "profiles", str(target)) == 2
    found = pq.read_table(target)
    assert found.schema.equals(PROFILES.arrow_schema()) and found.equals(profiles())


@pytest.mark.parametrize("name", ["profiles.jsonl", "profiles.jsonl.gz"])
def test_json_lines_hold_one_object_a_row_and_are_the_same_bytes_again(workspace, tmp_path, name):
    target = tmp_path / name
    export(workspace, "profiles", str(target))
    data = target.read_bytes()
    text = (gzip.decompress(data) if name.endswith(".gz") else data).decode()
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["user_id"] for row in rows] == USERS
    assert rows[0]["as_of_utc"] == "2024-01-05T00:00:00Z" and rows[0]["last_items"] == ["a", 'say "b"']
    assert rows[0]["recency_days"] is None and "Zürich" in text
    export(workspace, "profiles", str(target))
    assert target.read_bytes() == data


def in_database(url, table="profiles"):
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = [dict(row._mapping) for row in connection.execute(sa.text(f"select * from {table} order by user_id"))]
    engine.dispose()
    return found


def test_an_sql_table_is_filled_then_replaced(workspace, tmp_path):
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    assert export(workspace, "profiles", url, table="people") == 2
    [first, _] = in_database(url, "people")
    assert first["user_id"] == USERS[0] and first["value"] == 7.25 and first["recency_days"] is None
    assert json.loads(first["last_items"]) == ["a", 'say "b"'] and first["as_of_utc"].startswith("2024-01-05")
    workspace.lake.publish(PROFILES, profiles(n_events=9).slice(0, 1), fingerprint="two")
    export(workspace, "profiles", url, table="people")
    assert [(row["user_id"], row["n_events"]) for row in in_database(url, "people")] == [(USERS[0], 9)]


def test_an_sql_table_of_another_shape_is_made_anew(workspace, tmp_path):
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("create table profiles (user_id text, old text)")
    engine.dispose()
    export(workspace, "profiles", url)
    assert set(in_database(url)[0]) == set(PROFILES.names)


@pytest.mark.parametrize("shape", ["same", "other"])
def test_an_sql_export_that_fails_half_way_changes_nothing(workspace, tmp_path, shape):
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    export(workspace, "profiles", url)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        if shape == "other":
            connection.exec_driver_sql("alter table profiles add column added text")
        connection.exec_driver_sql("create table log (n integer)")
        connection.exec_driver_sql(
            # fires on the last of the new rows, once the old ones are gone
            "create trigger refuse before insert on profiles when new.n_events = 8 "
            "begin select raise(abort, 'no more rows'); end"
            if shape == "same"
            else "create view seen as select added from profiles"
        )
    engine.dispose()
    before = in_database(url)
    if shape == "same":
        rows = pa.concat_tables([profiles(n_events=7).slice(0, 1), profiles(n_events=8).slice(1, 1)])
        workspace.lake.publish(PROFILES, rows, fingerprint="two")
        with pytest.raises(ExportError, match=r"table 'profiles' cannot be replaced \(no more rows\); nothing was"):
            export(workspace, "profiles", url)
        assert in_database(url) == before
    else:
        export(workspace, "profiles", url)
        assert "added" not in in_database(url)[0]


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_no_rest(workspace, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "profiles.parquet").mkdir()  # a folder stands where the file should go
    with pytest.raises(ExportError, match="cannot be written"):
        export(workspace, "profiles", str(folder / "profiles.parquet"))
    assert [path.name for path in folder.iterdir()] == ["profiles.parquet"]
    with pytest.raises(ExportError, match="No such file or directory"):
        export(workspace, "profiles", str(tmp_path / "nowhere" / "profiles.jsonl"))


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("profiles.csv", {}, "the ending tells no format; end it in .parquet, .jsonl, .jsonl.gz"),
        ("profiles.parquet", {"table": "people"}, "--table people is for SQL databases"),
        ("not a url", {"form": "sql"}, "is no database URL"),
        ("nosuch://host/db", {}, "its database driver is missing"),
        ("sqlite:////nowhere/at/all.db", {}, "cannot be replaced .unable to open database file."),
    ],
)
def test_wrong_targets_are_one_sentence(workspace, target, options, said):
    with pytest.raises(ExportError, match=said) as caught:
        export(workspace, "profiles", target, **options)
    assert "\n" not in str(caught.value)


def test_a_password_is_never_repeated(workspace):
    with pytest.raises(ExportError) as caught:
        export(workspace, "profiles", "nosuch://me:secret@host/db")
    assert "secret" not in str(caught.value) and "me:***@host" in str(caught.value)


def test_what_was_never_published_is_said(workspace):
    with pytest.raises(ExportError, match="out.recommendations was never published in shop 'corner'"):
        export(workspace, "recommendations", "r.parquet")


def test_the_format_is_told_by_the_target():
    found = [
        format_of_target(t) for t in ("a/b.parquet", "b.jsonl", "b.jsonl.gz", "postgresql://h/d", "sqlite:///x.jsonl")
    ]
    assert found == ["parquet", "jsonl", "jsonl", "sql", "sql"]


@pytest.fixture
def server_url(postgres, database):
    return postgres.url(database)


def typed_columns(url, table="profiles"):
    engine = sa.create_engine(url)
    found = {c["name"]: type(c["type"]).__name__ for c in sa.inspect(engine).get_columns(table)}
    engine.dispose()
    return found


def test_postgresql_holds_the_published_rows_with_their_types(workspace, server_url):
    assert export(workspace, "profiles", server_url) == 2
    [first, second] = in_database(server_url)
    assert [first["user_id"], second["user_id"]] == USERS
    assert first["as_of_utc"] == datetime(2024, 1, 5) and first["value"] == 7.25 and first["recency_days"] is None
    assert json.loads(first["last_items"]) == ["a", 'say "b"'] and json.loads(first["attributes"]) == {"town": "Zürich"}
    found = typed_columns(server_url)
    assert (found["as_of_utc"], found["value"], found["user_id"]) == ("TIMESTAMP", "DOUBLE_PRECISION", "TEXT")
    workspace.lake.publish(PROFILES, profiles(n_events=9).slice(0, 1), fingerprint="two")
    export(workspace, "profiles", server_url.replace("+psycopg", ""))
    assert [(row["user_id"], row["n_events"]) for row in in_database(server_url)] == [(USERS[0], 9)]


def test_postgresql_takes_a_table_of_a_schema(workspace, postgres, database, server_url):
    postgres.execute("create schema reporting", database=database)
    export(workspace, "profiles", server_url, table="reporting.people")
    export(workspace, "profiles", server_url, table="reporting.people")
    assert len(in_database(server_url, "reporting.people")) == 2
    with pytest.raises(ExportError, match="schema .nowhere. does not exist.*nothing was changed"):
        export(workspace, "profiles", server_url, table="nowhere.people")


def test_postgresql_keeps_the_old_table_when_an_export_fails(workspace, postgres, database, server_url):
    export(workspace, "profiles", server_url)
    before = in_database(server_url)
    postgres.execute("alter table profiles add check (n_events <> 8)", database=database)
    rows = pa.concat_tables([profiles(n_events=7).slice(0, 1), profiles(n_events=8).slice(1, 1)])
    workspace.lake.publish(PROFILES, rows, fingerprint="two")
    with pytest.raises(ExportError, match="table 'profiles' cannot be replaced .*check constraint.*nothing") as caught:
        export(workspace, "profiles", server_url)
    assert in_database(server_url) == before and USERS[1] not in str(caught.value)
    # a view on a column that the contract lacks: the table cannot be made anew under it
    postgres.execute("alter table profiles add column added text", database=database)
    postgres.execute("create view seen as select added from profiles", database=database)
    before = in_database(server_url)
    with pytest.raises(ExportError, match="cannot drop table profiles because other objects depend on it"):
        export(workspace, "profiles", server_url)
    assert in_database(server_url) == before


def test_readers_of_postgresql_see_the_old_rows_until_the_new_ones_are_complete(workspace, server_url):
    export(workspace, "profiles", server_url)
    engine, seen = sa.create_engine(server_url), []

    @sa.event.listens_for(sa.Engine, "before_cursor_execute")
    def look(connection, cursor, statement, parameters, context, many):
        if statement.startswith("INSERT INTO profiles"):
            with engine.connect() as other:
                seen.append(other.execute(sa.text("select max(n_events) from profiles")).scalar())

    workspace.lake.publish(PROFILES, profiles(n_events=9), fingerprint="two")
    try:
        export(workspace, "profiles", server_url)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", look)
        engine.dispose()
    assert seen == [3] and {row["n_events"] for row in in_database(server_url)} == {9}


@pytest.mark.parametrize("url", ["{0}", "{1}", "{2}"], ids=["wrong", "with an @", "as an option"])
def test_a_password_of_postgresql_is_never_repeated(workspace, postgres, url):
    urls = [postgres.url(password="opensesame"), postgres.url(password="open@sesame")]
    urls.append(f"postgresql://shopkeeper@127.0.0.1:{postgres.port}/postgres?password=opensesame")
    with pytest.raises(ExportError) as caught:
        export(workspace, "profiles", url.format(*urls))
    assert "sesame" not in str(caught.value) and "\n" not in str(caught.value)
