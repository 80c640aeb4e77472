"""A shop whose events are a table, as the daemon runs it: asked each tick, pulled when it grew, the same as files."""

import dagster as dg
import pytest
from typer.testing import CliRunner

from data.ingest_tables import mark_of
from data.shop.preview import preview
from orchestration.cli import app
from orchestration.definitions import build_defs
from orchestration.tables import TABLE_TAG
from tests.support.runs import FIRST, LAST, days, execute, rows
from tests.support.shops import GOOD, workspace_of, write_shop
from tests.support.tables import (
    VARIABLE,
    WHOLE,
    PostgresDatabase,
    SqliteDatabase,
    create_orders,
    insert,
    shop_yaml,
)

MORE = (
    "6,bob,a,buy,3,1.5,2024-01-09 10:00:00,y1",
    "7,ann,b,buy,1,2.5,2024-01-03 09:00:00,y2",  # late: its day was made before
    "8,ann,,buy,1,2.5,2024-01-09 09:00:00,y3",  # a fault: no item
    *(f"m{n},cia,d,look,,,2024-01-09 12:00:{n:02d},y4" for n in range(30)),
)
KEY = "ab" * 32
CORE = ("items", "items_quarantine", "corrections", "events", "events_quarantine")
MADE = ("raw.tills", "raw.catalogue", *(f"core.{name}" for name in CORE))


def short(yaml: str) -> str:
    """The shop with a short calendar."""
    return yaml.replace("end: 2024-03-31", "end: 2024-01-10").replace(
        "2024-03-01, test_days: 28", "2024-01-09, test_days: 2"
    )


class Shop:
    """A shop, its definitions, and the sensor of tables."""

    def __init__(self, folder, yaml: str, lines=GOOD) -> None:
        self.workspace = workspace_of(write_shop(folder / "shop", lines, short(yaml)), folder / "var")
        self.instance = dg.DagsterInstance.ephemeral()
        self.defs = build_defs(self.workspace)
        self.keys = [dg.AssetKey(key.split(".")) for key in MADE]

    def tick(self) -> list[dg.RunRequest]:
        context = dg.build_sensor_context(self.instance, resources={"workspace": self.workspace})
        return list(self.defs.resolve_sensor_def("tables").evaluate_tick(context).run_requests or [])

    def run(self, tags) -> None:
        assert execute(self.defs, self.instance, tags=tags, only=self.keys).success

    def core(self) -> dict[str, list[dict]]:
        """What core says, without the files that it came from."""
        events = rows(self.workspace, "core.events")
        aside = rows(self.workspace, "core.events_quarantine", ("input_version", "file", "file_sha256", "line"))
        return {"events": events, "aside": aside}


@pytest.fixture(params=["sqlite", "postgresql"])
def shop_database(request, tmp_path, monkeypatch):
    """A database of each kind with the table of orders, its URL in the environment."""
    if request.param == "sqlite":
        found = SqliteDatabase(tmp_path / "shop.db")
    else:
        found = PostgresDatabase(request.getfixturevalue("postgres"), request.getfixturevalue("database"))
    monkeypatch.setenv(VARIABLE, found.url)
    monkeypatch.setenv("PORTRAIT_KEY", KEY)
    create_orders(found)
    return found


@pytest.fixture(scope="module")
def from_files(tmp_path_factory):
    """What core says of the same rows in one file."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PORTRAIT_KEY", KEY)
        shop = Shop(tmp_path_factory.mktemp("files"), shop_yaml("path: tills.csv"), [*GOOD, *MORE])
        shop.run(days("2024-01-01", "2024-01-10"))
        return shop.core()


def test_a_table_that_grows_is_pulled_once_and_gives_the_same_events_as_a_file(shop_database, tmp_path, from_files):
    shop = Shop(tmp_path, shop_yaml())
    (first,) = shop.tick()
    assert first.tags[TABLE_TAG] == "tills" and first.run_key.startswith("tills:")
    assert [again.run_key for again in shop.tick()] == [first.run_key], "the run key launches it once"
    shop.run(first.tags)
    assert shop.tick() == [] and len(shop.core()["events"]) == len(GOOD)

    insert(shop_database, enumerate(MORE, 6))
    (second,) = shop.tick()
    assert second.run_key != first.run_key
    # PostgreSQL says which days the new rows are about (and today, which the calendar cuts); SQLite has no times.
    span = {"postgresql": ("2024-01-03", "2024-01-09"), "sqlite": ("2024-01-01", "2024-01-10")}
    assert (second.tags[FIRST], second.tags[LAST]) == span[shop_database.kind]
    shop.run(second.tags)
    assert shop.core() == from_files and mark_of(shop.workspace, "tills").pulls == 2
    assert [row["reason"] for row in shop.core()["aside"]] == ["missing_item"]
    assert shop.tick() == []


def test_the_sensor_waits_for_a_run_and_a_database_that_is_down_launches_nothing(shop_database, tmp_path, monkeypatch):
    shop = Shop(tmp_path, shop_yaml())
    (request,) = shop.tick()
    run = shop.instance.create_run_for_job(
        shop.defs.resolve_job_def("daily"), tags=request.tags, status=dg.DagsterRunStatus.STARTED
    )
    assert shop.tick() == []
    shop.instance.report_run_failed(run)
    assert len(shop.tick()) == 1
    monkeypatch.setenv(VARIABLE, shop_database.url.replace("shop.db", "gone.db").replace("127.0.0.1:", "127.0.0.1:1"))
    assert shop.tick() == []


def test_a_table_without_a_watermark_is_left_to_runs_by_hand(shop_database, tmp_path):
    assert Shop(tmp_path, shop_yaml(WHOLE)).tick() == []


def test_check_shop_shows_rows_of_a_table_and_what_is_wrong_with_it(shop_database, tmp_path):
    shop = Shop(tmp_path, shop_yaml())
    shown = preview(shop.workspace.shop)
    assert shown.problems == () and shown.files["tills"] == 1 and shown.rows["tills"].num_rows == len(GOOD)
    assert shown.unmapped == {}, "the watermark is read"
    shop_database.execute("alter table orders add column colour text")
    insert(shop_database, [(None, MORE[0])])
    [problem] = preview(shop.workspace.shop).problems
    assert "has rows without a value of seq, which no run would ever see; give them one" in problem
    shop_database.execute("delete from orders where seq is null", "alter table orders rename column sku to skus")
    result = CliRunner().invoke(app, ["check-shop", str(shop.workspace.shop.location)], prog_name="portrait")
    assert result.exit_code == 1 and "has no column 'sku'; map 'skus', or give it its old name" in result.output
