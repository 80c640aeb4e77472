"""Files that change their columns: every row of the table in docs/your-own-shop.md, in each format that has it."""

import csv
import io
import json

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.contracts.raw import raw_table
from data.identity import identities_sql
from data.ingest import ingest
from data.shop.preview import preview
from data.workspace import Workspace
from tests.support.shops import GOOD, HEADER, YAML, workspace_of, write_shop

FOLDER = YAML.replace("path: tills.csv", "path: tills/*").replace(
    "session_id: basket}", "session_id: basket, place: {column: shop, optional: true}}"
)
FORMATS = ("csv", "jsonl", "parquet")
ROWS = [dict(zip(HEADER.split(","), line, strict=True)) for line in csv.reader(GOOD)]


def rows_of(first: int, **more: str) -> list[dict[str, str]]:
    """The good rows over again, with ids of their own."""
    return [{**row, "id": f"{first}-{row['id']}", **more} for row in ROWS]


def written(rows, form: str) -> bytes:
    """A file of rows; its columns are those of the first row, of JSON lines those of each."""
    out = io.StringIO(newline="")
    if form == "parquet":
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        return sink.getvalue()
    if form == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


class Folder:
    """The corner shop whose tills are a folder of files of one format."""

    def __init__(self, path, form: str, yaml: str = FOLDER) -> None:
        self.path, self.form = path / "shop" / "tills", form
        self.workspace: Workspace = workspace_of(write_shop(path / "shop", yaml=yaml), path / "var")
        self.path.mkdir()

    def add(self, name: str, rows) -> None:
        content = rows if isinstance(rows, bytes) else written(rows, self.form)
        (self.path / f"{name}.{self.form}").write_bytes(content)

    def land(self) -> tuple[list[str], list[str]]:
        """One landing; what it told besides the files' names and rows, and its problems."""
        told: list[str] = []
        _, problems = ingest(self.workspace, "tills", told.append)
        return [sentence for sentence in told if " new files)" not in sentence], problems

    def rows(self) -> list[dict]:
        contract = self.workspace.raw("tills")
        with self.workspace.engine.session() as session:
            session.attach(contract, self.workspace.lake)
            return session.query(f"select * from {contract.key} order by file, line").to_pylist()

    def notes(self) -> dict[str, str]:
        published = self.workspace.lake.published("raw.tills")
        assert published is not None
        return published.notes


@pytest.fixture(params=FORMATS)
def tills(request, tmp_path) -> Folder:
    """A file of each format, not yet landed."""
    found = Folder(tmp_path, request.param)
    found.add("1", rows_of(1, shop="north"))
    return found


def without(rows, name: str):
    return [{key: value for key, value in row.items() if key != name} for row in rows]


def renamed(rows, name: str, to: str):
    return [{to if key == name else key: value for key, value in row.items()} for row in rows]


def test_a_column_that_nothing_maps_is_said_once_and_left_out(tills):
    tills.add("2", rows_of(2, shop="north", colour="red"))
    said = f"tills: 2.{tills.form} has columns that the shop file does not map and that are left out: 'colour'"
    assert tills.land() == ([said], [])
    tills.add("3", rows_of(3, shop="north", colour="red"))
    assert tills.land() == ([], []) and tills.notes()["unmapped_columns"] == '["colour"]'
    assert len(tills.rows()) == 15 and {row["place"] for row in tills.rows()} == {"north"}


def test_columns_in_another_order_are_the_same_columns(tills):
    tills.add("2", [dict(reversed(row.items())) for row in rows_of(1, shop="north")])
    assert tills.land() == ([], [])
    own = ("file", "file_sha256")
    rows = [{key: value for key, value in row.items() if key not in own} for row in tills.rows()]
    assert len(rows) == 10 and rows[:5] == rows[5:]


def test_a_mapped_column_that_is_gone_refuses_that_file_alone(tills):
    tills.add("2", without(rows_of(2), "sku"))
    tills.add("3", renamed(rows_of(3), "sku", "skus"))
    tills.add("4", renamed(rows_of(4), "at", "day"))
    tills.add("5", rows_of(5, shop="south"))
    wanted = {
        "2": "has no column 'sku'; correct the column in the shop file, or mark it optional: true",
        "3": "has no column 'sku'; map 'skus', or give it its old name",
        "4": "has no column 'at'; correct the column in the shop file",
    }
    told, problems = tills.land()
    assert told == [] and len(problems) == 3
    assert all(f"{n}.{tills.form}: {said}" in p for (n, said), p in zip(wanted.items(), problems, strict=True))
    assert {row["file"] for row in tills.rows()} == {f"1.{tills.form}", f"5.{tills.form}"}
    for name in wanted:
        tills.add(name, rows_of(int(name), shop="south"))
    assert tills.land() == ([], []) and len(tills.rows()) == 25


def test_an_optional_column_that_is_gone_is_null_and_said_whenever_it_goes(tills):
    for name, has_shop in (("2", False), ("3", False), ("4", True), ("5", False)):
        tills.add(name, rows_of(int(name), shop="south") if has_shop else rows_of(int(name)))
    lacks = "lacks optional columns, which are empty: 'shop'"
    assert tills.land() == ([f"tills: {name}.{tills.form} {lacks}" for name in ("2", "5")], [])
    assert tills.notes()["absent_columns"] == '["shop"]'
    assert [row["place"] for row in tills.rows()[::5]] == ["north", None, None, "south", None]


def test_csv_lines_of_another_width_are_set_aside_and_the_others_stay(tmp_path):
    tills = Folder(tmp_path, "csv")
    wider, narrower = rows_of(2, shop="n", colour="red"), without(rows_of(3, shop="n"), "basket")
    parts = [written(rows, "csv").decode() for rows in (rows_of(1, shop="n"), wider, narrower)]
    # Exports that were put one behind the other: the second has a column more, the third one less.
    tills.add("1", "".join(parts).encode())
    assert tills.land() == ([], [])
    faults = [row["fault"] for row in tills.rows()]
    assert faults == [None] * 5 + ["unreadable_line"] * 12
    assert [row["event_id"] for row in tills.rows()[:5]] == [row["id"] for row in rows_of(1)]
    assert any("12 of the first 17 rows cannot be read" in said for said in preview(tills.workspace.shop).problems)


def test_csv_files_put_one_behind_the_other(tmp_path):
    tills = Folder(tmp_path, "csv")
    first, again = rows_of(1, shop="n"), rows_of(2, shop="n")
    tills.add("1", written(first, "csv") + written(again, "csv"))
    tills.add("2", written(first, "csv") + written([dict(reversed(row.items())) for row in again], "csv"))
    tills.add("3", written(first, "csv") + written(renamed(again, "sku", "article"), "csv"))
    told, problems = tills.land()
    assert told == [] and len(problems) == 2
    for name, problem in zip("23", problems, strict=True):
        assert f"{name}.csv: has another header in data line 6, with other columns than the first; deliver" in problem
    faults = {row["line"]: row["fault"] for row in tills.rows()}
    assert faults == {line: "unreadable_line" if line == 6 else None for line in range(1, 12)}
    assert [row["event_id"] for row in tills.rows()[6:]] == [row["id"] for row in again]


def test_a_csv_file_without_a_header_is_refused_when_its_width_changes(tmp_path):
    header = ", ".join([*HEADER.split(","), "shop"])
    yaml = FOLDER.replace("    time: at\n", f"    time: at\n    csv: {{header: false, names: [{header}]}}\n")
    tills = Folder(tmp_path, "csv", yaml)
    lines = "".join(f"{line},north\n" for line in GOOD)
    tills.add("1", lines.encode())
    tills.add("2", lines.replace("north", "north,red").encode())
    told, [problem] = tills.land()
    assert not told and "2.csv: its first line has 10 fields, but csv.names has 9; correct csv.names" in problem
    assert len(tills.rows()) == 5


def test_json_lines_that_lose_a_mapped_key_half_way_are_set_aside_with_a_sentence(tmp_path):
    tills = Folder(tmp_path, "jsonl")
    tills.add("1", rows_of(1, shop="north") + renamed(rows_of(2, shop="north"), "customer", "buyer"))
    told, problems = tills.land()
    assert problems == [] and told == [
        "tills: 1.jsonl has columns that the shop file does not map and that are left out: 'buyer'",
        "tills: 1.jsonl: 5 lines lack 'customer' (first in line 6) and are set aside as missing_key; map the key that "
        "they have instead, or mark the column optional: true",
    ]
    rows = tills.rows()
    assert [row["fault"] for row in rows] == [None] * 5 + ["missing_key"] * 5
    assert rows[0]["user_id"] and rows[5]["user_id"] is None and rows[5]["item_id"] == "a"
    [problem] = preview(tills.workspace.shop).problems
    assert problem.startswith("tills: 5 of the first 10 rows lack 'customer' (first in line 6); map the key")


NESTED = """\
    event_type: {column: event.what, values: {buy: purchase}}
    time: event.at
    columns:
      user_id: user.id
      item_id: "$.items[0].sku"
      place: {column: where.shop, optional: true}
    filters:
      - {column: event.what, drop_values: [login], reason: login}
      - {column: test, drop_values: ['true'], reason: test, optional: true}
"""


GOOD_OBJECT = {
    "user": {"id": 7},
    "event": {"what": "buy", "at": "2024-01-02"},
    "items": [{"sku": "a"}],
    "where": {"shop": "n"},
    "test": False,
}
CHANGES: list[tuple[dict, str | None]] = [
    ({"user": {"id": None}}, None),  # an explicit null is what the file says
    ({"user": None}, None),  # nobody
    ({"items": []}, None),  # nothing: core misses the item
    ({"where": {}}, None),
    ({"test": ...}, None),
    ({"test": True}, "test"),
    ({"user": {"uid": 1}}, "missing_key"),
    ({"user": 7}, "missing_key"),
    ({"user": ...}, "missing_key"),
    ({"items": [{"code": "a"}]}, "missing_key"),
    ({"items": {"sku": "a"}}, "missing_key"),
    ({"event": {"what": "buy"}}, "missing_key"),
    ({"event": {"at": "2024-01-02"}}, "missing_key"),
    ({"event": {"what": "login", "at": "2024-01-02"}, "items": ...}, "login"),  # a filter comes before other keys
]


def test_what_a_json_line_lacks_and_what_it_says_to_be_nothing(tmp_path):
    start, end = YAML.index("    event_type"), YAML.index("  catalogue:")
    yaml = YAML[:start] + NESTED + YAML[end:]
    tills = Folder(tmp_path, "jsonl", yaml.replace("path: tills.csv", "path: tills/*"))
    changed = [
        {key: value for key, value in (GOOD_OBJECT | change).items() if value is not ...} for change, _ in CHANGES
    ]
    tills.add("1", [GOOD_OBJECT, *changed])
    told, problems = tills.land()
    assert problems == [] and len(told) == 4
    assert "1.jsonl: 3 lines lack 'user.id' (first in line 8) and are set aside as missing_key" in told[0]
    found = {row["line"]: row["fault"] for row in tills.rows()}
    assert found == {line: fault for line, fault in enumerate([None, *(fault for _, fault in CHANGES)], 1)}


def test_parquet_files_of_different_schemas_are_each_read_by_their_own(tmp_path):
    """Files of one folder may differ in order, in what is left out, in optional columns and in types."""
    tills = Folder(tmp_path, "parquet")
    typed = [{**row, "qty": int(row["qty"]) if row["qty"] else None, "customer": 17} for row in rows_of(2)]
    floats = [{**row, "customer": 17.0} for row in rows_of(3, shop="north", colour="red")]
    tills.add("1", rows_of(1, shop="north"))
    tills.add("2", [dict(reversed(row.items())) for row in typed])
    tills.add("3", floats)
    tills.add("4", without(rows_of(4), "paid"))
    told, [problem] = tills.land()
    assert len(told) == 2 and "4.parquet: has no column 'paid'" in problem
    found = tills.rows()
    assert [row["quantity"] for row in found[5:10]] == ["2", "1", None, "1", "1"]
    # An id is its text: 17 and 17.0 are two, until the shop file says that they are numbers.
    assert len({row["user_id"] for row in found[5:]}) == 2
    column = "user_id: {column: customer, form: integer}"
    whole = Folder(tmp_path / "whole", "parquet", FOLDER.replace("user_id: customer, item", f"{column}, item"))
    whole.add("2", typed)
    whole.add("3", floats)
    assert whole.land()[1] == [] and len({row["user_id"] for row in whole.rows()}) == 1


def test_a_line_that_undoes_an_edge_counts_without_the_keys_that_it_does_not_need():
    edge = {"user_id": "u_1", "other_id": "u_2", "user_kind": "user", "other_kind": "cookie", "source": "logins"}
    rows = [
        edge | {"line": 1, "is_authenticated": "yes", "is_revoked": "no"},
        edge | {"line": 2, "is_revoked": "yes", "fault": "missing_key"},
        edge | {"line": 3, "is_authenticated": "yes", "fault": "missing_key"},
    ]
    landed = pa.Table.from_pylist(rows, schema=raw_table("logins", "identities").arrow_schema())
    with duckdb.connect() as connection:
        connection.execute("create schema landed")
        connection.register("rows_that_landed", landed)
        connection.execute("create table landed.identities as select *, false as is_timed from rows_that_landed")
        checked = f"select line, reason, undoes, place_in_pair from ({identities_sql()['checked']}) order by line"
        found = connection.sql(checked).fetchall()
    assert found == [(1, None, False, 2), (2, None, True, 1), (3, "missing_key", False, 1)]
