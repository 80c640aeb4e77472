"""Bad data as its owner meets it: refused and told once, looked at, put right in each of three ways, and on record."""

import io
import json
import shutil

import dagster as dg
import pytest
from pydantic import SecretStr

from data import refusals
from data.contracts.core import EVENTS
from data.days import stale_days
from data.ingest import held_digests, new_files
from data.quality_report import quality_facts
from data.quarantine import Wanted, counts, rows, totals
from data.shop.errors import ShopError
from data.take_back import allow_again, held_files, replace, take_back
from data.withdrawn import record
from data.workspace import Workspace
from orchestration.launch import execute
from orchestration.retry import retry
from orchestration.sensors import look_once
from tests.data.test_alerts import receiving
from tests.support.runs import land
from tests.support.shops import GOOD, YAML, workspace_of, write_shop

KEYS = ("raw.tills", "raw.catalogue", "raw.members", "core.events", "core.events_quarantine", "core.items",
        "core.items_quarantine", "core.users", "core.users_quarantine", "features.daily")  # fmt: skip
LINE = [dg.AssetKey(key.split(".")) for key in KEYS]
BAD = [f"3{i},ann,a,buy,-1,1.0,2024-01-05 11:00:0{i},y2" for i in range(5)]
FINE = [f"20{i},ann,d,buy,1,12.0,2024-01-05 10:00:{i:02d},y1" for i in range(30)]
LATE = [*FINE, "21,bob,zz,buy,1,1.0,2024-01-06 10:00:00,y1"]
MANY = [f"g{i},ann,a,buy,1,0.5,2024-01-01 10:00:{i:02d},z{i}" for i in range(40)]


class Line:
    """A shop, its instance, and its runs as far as the daily sums."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace, self.instance = workspace, dg.DagsterInstance.ephemeral()

    def run(self):
        return execute(self.workspace, self.instance, io.StringIO(), only=LINE)

    def retry(self, fix=None):
        return retry(self.workspace, self.instance, io.StringIO(), fix, LINE)

    def days(self, key="core.events"):
        return self.workspace.lake.day_versions(key)

    def changed(self, before, key="core.events"):
        """Days of a table that are not what they were."""
        now = self.days(key)
        return {str(day) for day in {*now, *before} if now.get(day) != before.get(day)}

    def sensor(self):
        """Files that two ticks of the landing sensor launch."""
        first = look_once(self.workspace, None)
        return [request.tags["portrait/file"] for request in look_once(self.workspace, first.cursor).run_requests]

    def reported(self, table):
        facts = quality_facts(self.workspace, "run")
        return next(t for t in facts["tables"] if t["table"] == table)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A shop that is made up to its daily sums; copied by `line`, never changed."""
    folder = tmp_path_factory.mktemp("made")
    line = Line(workspace_of(write_shop(folder / "shop", [*GOOD, *MANY]), folder / "var"))
    assert not line.run().failed
    return folder


@pytest.fixture
def line(made, tmp_path):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return Line(workspace_of(tmp_path / "shop" / "shop.yaml", tmp_path / "var"))


WHO = {"by": "me", "why": "a test"}


def test_a_refused_file_is_told_once_shown_and_taken_back_for_good(line, tmp_path):
    before, daily = line.days(), line.days("features.daily")
    land(line.workspace, "bad.csv", BAD)
    with receiving() as (server, url):
        hooked = line.workspace.settings.model_copy(update={"alert_webhook": SecretStr(url)})
        told = Line(Workspace(hooked, line.workspace.shop, line.workspace.lake, line.workspace.engine))
        ran = told.run()
    [failed] = ran.failed
    [(_, _, got)] = server.got
    assert failed.asset == "core.events" and got["run_id"] == ran.run_id and got["table"] == "core.events"
    assert [c["check"] for c in got["checks"]] == ["row_count", "quarantine_share"]
    errors = [e for e in told.instance.all_logs(ran.run_id) if e.level == 40 and "quarantine_share" in e.user_message]
    assert len([e for e in errors if not e.is_dagster_event]) == 1

    assert line.reported("core.events")["status"] == "bad data"
    assert [(r["reason"], r["n"]) for r in counts(line.workspace, waiting=True)] == [("negative_quantity", 5)]
    [shown, *_] = rows(line.workspace, Wanted(reason="negative_quantity"), waiting=True)
    assert (shown["file"], shown["line"], shown["column_name"], str(shown["day"])) == (
        "bad.csv",
        1,
        "quantity",
        "2024-01-05",
    )
    assert shown["masked_value"] == "-***" and counts(line.workspace) == []

    done = line.retry(lambda: take_back(line.workspace, "bad.csv", **WHO))
    assert not done.ran.failed and done.lines == [("core.events_quarantine", "negative_quantity", 0, 0, 5, 0)]
    assert line.changed(before) == set() and line.changed(daily, "features.daily") == set()
    assert line.reported("core.events")["status"] == "passed" and refusals.standing(line.workspace) == {}
    assert line.sensor() == [] and new_files(line.workspace, "tills") == []
    again = workspace_of(line.workspace.shop.location, tmp_path / "var")  # after a restart
    assert [n.action for n in record(again.lake, "raw.tills")] == ["taken back"] and new_files(again, "tills") == []


def test_a_good_file_taken_back_leaves_exactly_its_days_stale_and_can_come_back(line):
    before = line.days()
    land(line.workspace, "late.csv", LATE)
    assert not line.run().failed
    with_file, kept = line.days(), line.days("raw.tills")
    found = take_back(line.workspace, "late.csv", **WHO)
    assert (found.n_rows, str(found.first_day), str(found.last_day)) == (31, "2024-01-05", "2024-01-06")
    assert line.changed(kept, "raw.tills") == {"2024-01-05", "2024-01-06"}
    done = line.retry()
    assert line.changed(with_file) == {"2024-01-05"} and line.changed(before) == set()
    assert done.after.entered["core.events"] == 45 and totals(line.workspace, "events")["unknown_item"] == 0

    land(line.workspace, "more.csv", ["40,ann,a,buy,1,0.5,2024-01-07 10:00:00,q"])
    assert not line.run().failed  # a later commit carries the record on
    assert "late.csv" not in {h.file for h in held_files(line.workspace, "tills")}
    done = line.retry(lambda: allow_again(line.workspace, "late.csv", **WHO))
    assert line.days()[found.first_day] and done.after.entered["core.events"] == 76
    assert [(n.action, n.by, n.why) for n in record(line.workspace.lake, "raw.tills")] == [
        ("taken back", "me", "a test"),
        ("allowed again", "me", "a test"),
    ]


def test_a_corrected_file_of_the_same_name_replaces_the_old_one_when_asked(line):
    land(line.workspace, "late.csv", LATE)
    line.run()
    assert totals(line.workspace, "events")["unknown_item"] == 1
    raw, [old] = line.days("raw.tills"), [h for h in held_files(line.workspace, "tills") if h.file == "late.csv"]
    land(line.workspace, "late.csv", [*FINE, LATE[-1].replace("zz", "c")])
    done = line.retry(lambda: replace(line.workspace, "late.csv", **WHO))
    assert ("core.events_quarantine", "unknown_item", 1, 0, 0, 0) in done.lines
    assert done.after.entered["core.events"] == done.before.entered["core.events"] + 1
    assert line.changed(raw, "raw.tills") == {"2024-01-05", "2024-01-06"}
    held = {h.sha256 for h in held_files(line.workspace, "tills") if h.file == "late.csv"}
    [note] = record(line.workspace.lake, "raw.tills")
    assert held == {note.replaced_by} and note.sha256 == old.sha256 and old.sha256 not in held
    assert line.sensor() == [] and line.workspace.lake.published("raw.tills").rows == 76


def test_what_was_read_beside_the_old_one_by_the_daemon_still_replaces_it(line):
    land(line.workspace, "late.csv", LATE)
    line.run()
    land(line.workspace, "late.csv", [*FINE, LATE[-1].replace("zz", "c")])
    line.run()
    assert totals(line.workspace, "events")["duplicate"] == 30
    line.retry(lambda: replace(line.workspace, "late.csv", **WHO))
    found = totals(line.workspace, "events")
    assert found["duplicate"] == found["unknown_item"] == 0


def test_a_name_that_is_used_again_for_new_data_is_never_guessed(line):
    for day in (5, 6):
        land(line.workspace, "today.csv", [f"5{day},ann,a,buy,1,0.5,2024-01-0{day} 10:00:00,q"])
        line.run()
    land(line.workspace, "today.csv", ["57,ann,a,buy,1,0.5,2024-01-07 10:00:00,q"])
    version = line.workspace.lake.published("raw.tills").version
    with pytest.raises(ShopError, match="several files of that name: today.csv .*--replaces DIGEST"):
        replace(line.workspace, "today.csv", **WHO)
    assert line.workspace.lake.published("raw.tills").version == version
    first = next(h for h in held_files(line.workspace, "tills") if str(h.first_day) == "2024-01-05")
    gone, _ = replace(line.workspace, "today.csv", replaces=first.sha256[:12], **WHO)
    assert gone == first
    assert {str(h.first_day) for h in held_files(line.workspace, "tills") if h.file == "today.csv"} == {
        "2024-01-06",
        "2024-01-07",
    }


WRONG = {
    "a file that nobody landed": (lambda w: take_back(w, "nowhere.csv", **WHO), "nowhere.csv: no file of that name"),
    "no reason": (lambda w: take_back(w, "tills.csv", by="me", why=" "), "--why is empty"),
    "an unknown source": (lambda w: take_back(w, "tills.csv", source="x", **WHO), "no source 'x'; name one of tills"),
    "nothing to replace": (
        lambda w: replace(w, "tills.csv", **WHO),
        "tills.csv: source 'tills' holds no earlier version",
    ),
    "no such file to replace with": (lambda w: replace(w, "nowhere.csv", **WHO), "nowhere.csv: lies in no folder"),
    "never taken back": (lambda w: allow_again(w, "tills.csv", **WHO), "was taken back in shop 'corner'"),
}


def test_a_wish_that_is_not_clear_is_one_sentence_and_changes_nothing(line):
    held = held_digests(line.workspace, "tills")
    for wish, said in WRONG.values():
        with pytest.raises(ShopError, match=said):
            wish(line.workspace)
    assert held_digests(line.workspace, "tills") == held and record(line.workspace.lake, "raw.tills") == []


def test_a_corrected_shop_file_lets_the_rows_in_and_no_series_stops(tmp_path):
    words = ["90,ann,a,steal,1,1.0,2024-01-05 10:00:00,y"]
    line = Line(workspace_of(write_shop(tmp_path / "shop", [*GOOD, *MANY, *words]), tmp_path / "var"))
    first = line.run()
    before = line.days()
    line.workspace.shop.location.write_text(YAML.replace("look: view", "look: view, steal: purchase"))
    line.workspace = workspace_of(line.workspace.shop.location, tmp_path / "var")
    done = line.retry()
    assert done.lines == [("core.events_quarantine", "unknown_event_type", 1, 0, 0, 0)]
    assert done.after.entered["core.events"] == 46 and "2024-01-05" in line.changed(before)
    series = []
    for run_id in (first.run_id, done.ran.run_id):
        records = line.instance.fetch_materializations(dg.AssetKey(["core", "events_quarantine"]), limit=1000).records
        made = next(r.asset_materialization for r in records if r.run_id == run_id)  # one of a record for each day
        series.append({k: v.value for k, v in made.metadata.items() if k.startswith("n_")})
    assert series[0].keys() == series[1].keys() and {type(v) for s in series for v in s.values()} <= {int, float}
    assert [s["n_unknown_event_type"] for s in series] == [1, 0] and series[1]["n_negative_value"] == 0
    path = made.metadata["quality_report"].path
    page = (tmp_path / "var" / "shops" / "corner" / "reports" / "quality.html").read_text()
    assert path.endswith("/reports/quality.html") and "unknown_event_type" in page and "ann" not in page.split()
    dated = sorted((tmp_path / "var/shops/corner/reports/quality").glob("*.json"))
    asides = [json.loads(p.read_text())["aside"] for p in dated]
    assert [a["core.events_quarantine unknown_event_type tills"] for a in asides] == [1, 0]
    assert "2 values, first 1, last 0" in page


def test_a_refusal_stands_until_a_run_covers_all_its_days(line):
    from datetime import date

    land(line.workspace, "bad.csv", BAD)
    line.run()
    (refusal,) = refusals.standing(line.workspace).values()
    refusals.clear(line.workspace, "core.events", [date(2024, 1, 6)])
    assert refusals.standing(line.workspace) == {"core.events": refusal}
    refusals.clear(line.workspace, "core.events", [refusal.first_day, refusal.last_day])
    assert refusals.standing(line.workspace) == {}


def test_what_waits_is_nothing_where_everything_is_published(line):
    from data.contracts.core import EVENTS_QUARANTINE
    from data.core import LOOKUPS, days_of_events, events_sql
    from data.fingerprint import digest

    assert counts(line.workspace, waiting=True) == []
    code = digest(events_sql(line.workspace))
    by_day = days_of_events(line.workspace.shop)
    assert stale_days(line.workspace, [EVENTS_QUARANTINE, EVENTS], by_day, LOOKUPS, code_version=code) == []
