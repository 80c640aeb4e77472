"""The real command line on a small real shop: one full run, then everything that can be asked about it."""

import json
import os
import random
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from data.contracts.out import RECOMMENDATIONS
from data.contracts.profile import PROFILES
from data.pseudonym import load_key, pseudonymise
from data.settings import REPOSITORY
from orchestration.cli import app
from orchestration.commands.running import dev_command
from tests.support.shops import YAML, write_shop

HEAVY = ("dagster", "torch", "opacus", "great_expectations", "transformers", "sklearn", "pandas", "deltalake", "duckdb")
KINDS = ("Fruit", "Bakery", "Light", "Kitchen")
ENVIRONMENT = ("PORTRAIT_SHOP", "PORTRAIT_VAR", "PORTRAIT_KEY", "PORTRAIT_THREADS", "DAGSTER_HOME")


def call(*arguments):
    """Run one command line in this process; returns (exit code, stdout, stderr)."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], prog_name="portrait", catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def process(*arguments, **environment):
    """Run one command line as a process of its own."""
    code = "from orchestration.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path):
    """Commands write the shop into the environment; every test starts without, in a var folder of its own."""
    for name in ENVIRONMENT:
        monkeypatch.setenv(name, "x")  # so that it is put back whatever the command does to it
        monkeypatch.delenv(name)
    monkeypatch.setenv("PORTRAIT_VAR", str(tmp_path / "var"))
    monkeypatch.setenv("COLUMNS", "200")


def market(folder):
    """Thirty people who come back for their habits, over three months, with items enough to discover some."""
    draw = random.Random(5)
    lines = []
    for number in range(1800):
        who = draw.randrange(30)
        item = (who * 3 + draw.choice((0, 0, 0, 1, 2, 7, 11, draw.randrange(40)))) % 40
        day = draw.randrange(90)
        at = f"2024-{1 + day // 30:02d}-{1 + day % 30 if day // 30 != 1 else 1 + day % 29:02d} 10:{number % 60:02d}:00"
        lines.append(f"{number},member{who},i{item},buy,1,{1 + item % 9}.5,{at},s{number // 2}")
    lines.append("bad1,member1,i1,buy,-1,1.0,2024-01-05 10:00:00,y")
    shop = write_shop(folder, lines, YAML.replace("declared_users: 20", "declared_users: 30"))
    items = (f"i{n},Item {n},Dept {n % 2},{KINDS[n % 4]} {n % 8},Brand {n % 5},{1 + n % 9}.5" for n in range(40))
    (folder / "catalogue.csv").write_text("\n".join(["sku,name,department,kind,brand,price", *items, ""]))
    return shop


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """One full run of the main job; returns (shop file, var folder, exit code, stdout, stderr)."""
    folder = tmp_path_factory.mktemp("market")
    shop, var = market(folder / "shop"), folder / "var"
    with pytest.MonkeyPatch.context() as patch:
        for name in ENVIRONMENT:
            patch.setenv(name, "x")
            patch.delenv(name)
        patch.setenv("PORTRAIT_VAR", str(var))
        return shop, var, *call("run", "--shop", shop)


@pytest.fixture
def shop(ran, monkeypatch):
    """The shop file after the run, with its var folder in the environment."""
    monkeypatch.setenv("PORTRAIT_VAR", str(ran[1]))
    monkeypatch.setenv("PORTRAIT_SHOP", str(ran[0]))
    return ran[0]


@pytest.mark.slow
def test_a_run_shows_progress_and_ends_with_the_table(ran):
    shop, var, code, out, err = ran
    assert code == 0, err
    assert "core.events: published (1,800 rows" in err and "DEBUG" not in err and "STEP_" not in err
    for said in ("1,801 events, 40 items, 2 users", "negative_quantity 1", "next_purchases", "portrait dev"):
        assert said in out, out
    assert "left (user level" in out and f"tables {var}" in out and "not evaluated yet" not in out
    checks = out.split("Checks")[1].split("passed")[0].split()
    assert checks[1] == checks[3] and int(checks[1]) > 100  # `| 250 of 250 passed`
    assert "member1" not in out + err


def test_a_second_run_makes_nothing_and_says_so_in_one_line(shop):
    code, out, err = call("run")
    assert code == 0 and "published" not in err
    line = next(line for line in out.splitlines() if line.startswith("Nothing new: all "))
    assert line.endswith(" tables are up to date.") and int(line.split()[3]) > 20
    assert "2024-03-30 to 2024-03-30" in err  # nothing can be stale: no other day is gone through


def test_two_runs_at_once_are_refused_with_the_process_that_is_at_work(shop, ran):
    from tests.support.holding import holding
    from tests.support.shops import workspace_of

    with holding(workspace_of(shop, ran[1])) as holder:
        code, _, err = call("run")
        holder.communicate("go\n")
    assert code == 2 and f"process {holder.pid};" in err and len(err.splitlines()) == 1


def test_status_shows_tables_runs_ledger_and_what_waits(shop):
    code, out, _ = call("status")
    assert code == 0 and "Last runs" in out and "success" in out and "epsilon" in out
    assert [line for line in out.splitlines() if "core.events " in line and "1,800" in line]
    assert "No file waits" in out
    landing = shop.parent / "landing" / "tills"
    landing.mkdir(parents=True)
    (landing / "new.csv").write_text("id,customer,sku,what,qty,paid,at,basket\nn1,member1,i1,buy,1,1.0,2024-03-30,y\n")
    try:
        assert "tills: 1 new file to land (new.csv)" in call("status")[1]
    finally:
        (landing / "new.csv").unlink()


def pseudonym_of(var, raw):
    return pseudonymise([raw], load_key(var / "keys" / "pseudonym.key"))[0]


def test_a_profile_is_found_by_raw_id_and_by_pseudonym(shop, ran):
    code, out, _ = call("profile", "member3", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["user_id"] == pseudonym_of(ran[1], "member3") and set(found) == set(PROFILES.names)
    assert json.loads(call("profile", " member3 ", "--json")[1]) == found
    assert json.loads(call("profile", found["user_id"], "--pseudonym", "--json")[1]) == found
    assert found["user_id"] in call("profile", "member3")[1]


@pytest.mark.parametrize("arguments", [["nobody"], ["u_' or '1'='1", "--pseudonym"], ["u_" + "0" * 32, "--pseudonym"]])
def test_an_unknown_user_is_a_defined_answer(shop, arguments):
    code, out, err = call("profile", *arguments)
    assert (code, out) == (1, "") and err.startswith("There is no profile of this user") and len(err.splitlines()) == 1
    code, out, err = call("recommend", *arguments, "--json")
    found = json.loads(out)
    assert code == 0 and "most popular" in err
    assert [row["place"] for row in found] == list(range(1, 21)) and {row["reason"] for row in found} == {"popular"}
    assert [row["score"] for row in found] == sorted((row["score"] for row in found), reverse=True)
    assert arguments[0] not in out + err


def test_recommendations_are_the_person_s_own_for_each_task(shop, ran):
    own = pseudonym_of(ran[1], "member3")
    found = {}
    for task in ("next_purchases", "discovery"):
        code, out, err = call("recommend", "member3", "--task", task, "--json")
        rows = json.loads(out)
        assert code == 0 and err == "" and {(row["user_id"], row["task"]) for row in rows} == {(own, task)}
        assert [row["place"] for row in rows] == list(range(1, len(rows) + 1)) and set(rows[0]) == set(
            RECOMMENDATIONS.names
        )
        found[task] = {row["item_id"] for row in rows}
    assert found["next_purchases"] != found["discovery"]
    assert "Item " in call("recommend", "member3")[1]


def test_an_open_or_missing_key_is_one_sentence(shop, ran):
    key = ran[1] / "keys" / "pseudonym.key"
    key.chmod(0o644)
    code, _, err = call("profile", "member3")
    assert code == 2 and "chmod 600" in err and len(err.splitlines()) == 1
    key.chmod(0o600)
    key.rename(key.with_suffix(".away"))
    try:
        code, _, err = call("profile", "member3")
        assert code == 2 and "restore it" in err and not key.exists()
    finally:
        key.with_suffix(".away").rename(key)


def test_exports_hold_what_was_published(shop, tmp_path):
    code, out, _ = call("export", "--what", "profiles", "--to", tmp_path / "p.parquet")
    assert code == 0 and out == f"30 rows of profiles written to {tmp_path / 'p.parquet'}.\n"
    assert pq.read_table(tmp_path / "p.parquet").num_rows == 30
    code, out, _ = call("export", "--what", "recommendations", "--to", tmp_path / "odd.name", "--format", "jsonl")
    assert code == 0 and len((tmp_path / "odd.name").read_text().splitlines()) == int(out.split()[0].replace(",", ""))
    code, out, _ = call("export", "--what", "profiles", "--to", f"sqlite:///{tmp_path}/s.db", "--table", "people")
    assert (code, out) == (0, "30 rows of profiles written to table 'people' of the database.\n")


def test_the_ledger_is_shown_verified_and_exported(shop, tmp_path):
    code, out, _ = call("ledger", "show")
    assert code == 0 and "popularity" in out and "left; user level" in out
    code, out, _ = call("ledger", "verify")
    assert code == 0 and out.startswith("In order: ")
    code, out, _ = call("ledger", "export", "--to", tmp_path / "ledger.json")
    document = json.loads((tmp_path / "ledger.json").read_text())
    assert code == 0 and document["rows"] and 0 < document["spent"]["epsilon"] <= document["spent"]["epsilon_declared"]
    assert json.loads(call("ledger", "export")[1]) == document


def test_a_cut_ledger_is_found_and_the_summary_says_it_cannot_be_trusted(shop, ran):
    path = ran[1] / "shops" / "corner" / "ledger.sqlite"
    path.rename(path.with_suffix(".away"))
    try:
        for command in (["ledger", "verify"], ["ledger", "show"]):
            code, _, err = call(*command)
            assert code == 2 and "restore the ledger" in err and len(err.splitlines()) == 1, err
        code, out, _ = call("status")
        assert code == 0 and "the ledger cannot be trusted" in out
    finally:
        path.unlink(missing_ok=True)
        path.with_suffix(".away").rename(path)
    assert call("ledger", "verify")[0] == 0


def test_the_evaluation_is_shown_with_its_report(shop, ran):
    code, out, err = call("evaluate")
    assert code == 0 and err == ""  # it was evaluated by the run: nothing is launched
    assert "portrait" in out and "discovery" in out and "ndcg" in out.lower()
    assert f"{ran[1]}/shops/corner/reports/evaluation.html" in out


def test_the_quarantine_is_counted_with_a_remedy_and_shown_masked(shop):
    code, out, err = call("quarantine", "list")
    assert (code, err) == (0, "")
    [line] = [line for line in out.splitlines() if line.startswith("│") and "negative_quantity" in line]
    assert [c.strip() for c in line.split("│")[1:-1]] == [
        "core.events_quarantine", "negative_quantity", "tills", "1", "0.06 %", "2024-01-05", "2024-01-05"
    ]  # fmt: skip
    assert "Remedy: if it is a return" in out
    assert json.loads(call("quarantine", "list", "--reason", "unknown_item", "--json")[1]) == []
    assert "Nothing is set aside" in call("quarantine", "list", "--day", "2024-01-06")[1]
    assert call("quarantine", "list", "--waiting")[1] == "Nothing waits.\n"
    [row] = json.loads(call("quarantine", "show", "negative_quantity", "--json")[1])
    assert (row["file"], row["line"], row["day"], row["column_name"], row["masked_value"]) == (
        "tills.csv", 1801, "2024-01-05", "quantity", "-***"
    )  # fmt: skip
    code, out, _ = call("quarantine", "show", "negative_quantity", "--limit", "1")
    assert code == 0 and "1,801" in out and row["file_sha256"][:12] in out and "member1" not in out
    assert "No row is set aside as unknown_item" in call("quarantine", "show", "unknown_item")[1]


def test_the_run_left_a_page_about_quality_and_a_dated_copy(shop, ran):
    folder = ran[1] / "shops" / "corner" / "reports"
    page = (folder / "quality.html").read_text()
    assert "All gates passed" in page and "negative_quantity" in page and "member1" not in page
    assert page in {path.read_text() for path in (folder / "quality").glob("*.html")}
    assert f"report {folder}/quality.html" in ran[3] and "/reports/quality/" not in ran[3]


BROKEN = {
    "unknown key": (YAML.replace("currency:", "curency:"), ["shop.yaml", "curency", "check the spelling"]),
    "no YAML": ("name: [", ["shop.yaml, line", "no YAML"]),
    "missing file": (
        YAML.replace("path: tills.csv", "path: gone.csv"),
        ["gone.csv", "sources.tills.path", "shop.yaml"],
    ),
    "unset variable": (
        YAML.replace("path: tills.csv", "path: ${NOWHERE_SET}/t.csv"),
        ["sources.tills.path", "NOWHERE_SET"],
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_shop_is_one_sentence_naming_file_field_and_remedy(case, tmp_path):
    yaml, names = BROKEN[case]
    shop = write_shop(tmp_path / "shop", yaml=yaml)
    code, out, err = call("run", "--shop", shop)
    assert (code, out) == (2, "") and "Traceback" not in err
    for name in names:
        assert name in err, err


WRONG = {
    "rn": "No such command 'rn'",
    "run --dry": "No such option: --dry",
    "run --day 31.12.2024": "'--day': '31.12.2024' does not match",
    "run --day 2024-01-01 --from 2024-01-01": "--day stands for one day",
    "run --shop /nowhere/shop.yaml": "/nowhere/shop.yaml: there is no such file",
    "run --shop SHOP --day 2025-01-01": "2025-01-01 lies outside the calendar, 2024-01-01 to 2024-03-31",
    "dev --port 99999": "'--port': Input should be less than or equal to 65535",
    "profile": "Missing argument 'USER'",
    "profile ann --shop SHOP": "profile.profiles was never published in shop 'corner'; run `portrait run` first",
    "recommend ann --shop SHOP": "out.recommendations was never published",
    "recommend ann --task other": "'other' is not one of 'next_purchases', 'discovery'",
    "export --what profiles --to p.csv --shop SHOP": "the ending tells no format",
    "ledger show --shop SHOP": "there is no ledger yet",
    "ledger move --shop SHOP": "privacy.ledger names no database",
    "budget": "Missing command",
    "quarantine list --shop SHOP --reason odd": "no row can have the reason 'odd'; name one of cancelled, ",
    "quarantine list --shop SHOP --source odd": "there is no source 'odd'; name one of tills, catalogue, members",
    "quarantine retry --shop SHOP --replaces abcdef01": "--replaces goes with --file",
    "take-back odd.csv --shop SHOP --why because": "odd.csv: no file of that name or digest was landed",
    "take-back tills.csv --shop SHOP": "Missing option '--why'",
    "init --from /nowhere": "/nowhere: there is no such folder",
    "synth --to /etc --users 20": "/etc: is not empty; name a new folder",
    "synth --to /tmp/made --users 3": "'--users': Input should be greater than or equal to 10",
    "synth --to /tmp/made --shape xml": "'xml' is not one of 'headerless_csv', 'utc_csv', 'nested_jsonl'",
    "check-shop /nowhere.yaml": "/nowhere.yaml: there is no such file",
    "dictionary --to /nowhere": "there is no such folder",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_argument_is_one_sentence(line, tmp_path):
    shop = write_shop(tmp_path / "shop")
    code, out, err = call(*line.replace("SHOP", str(shop)).split())
    assert (code, out) == (2, "") and len(err.splitlines()) == 1 and WRONG[line] in err, err


def test_a_wrong_setting_is_one_sentence(monkeypatch):
    monkeypatch.setenv("PORTRAIT_THREADS", "many")
    code, _, err = call("status")
    assert code == 2 and err == "PORTRAIT_THREADS is 'many'; set it to a whole number of at least 1.\n"


def test_a_drafted_shop_passes_the_check_and_is_never_overwritten(tmp_path):
    folder = market(tmp_path / "shop").parent
    (folder / "shop.yaml").unlink()
    target = folder / "mine.yaml"
    code, out, _ = call("init", "--from", folder, "--to", target)
    assert code == 0 and "check-shop" in out
    text = target.read_text()
    code, _, err = call("init", "--from", folder, "--to", target)
    assert code == 2 and "not overwritten" in err and target.read_text() == text


def test_check_shop_shows_mapped_rows_and_names_problems(tmp_path):
    shop = write_shop(tmp_path / "shop")
    code, out, err = call("check-shop", shop, "--rows", "2")
    assert (code, err) == (0, "") and "purchase" in out and "Apple" in out and "No problem found" in out
    assert "ann" not in out and not (tmp_path / "var").exists()
    shop.write_text(YAML.replace("look: view", "see: view"))
    code, _, err = call("check-shop", shop)
    assert code == 1 and "event types 'look' are unknown" in err


def test_a_failed_run_names_the_asset_and_its_sentence(tmp_path):
    bad = [f"{i},ann,a,buy,-1,0.5,2024-01-02 11:00:{i:02d},z" for i in range(9)]
    code, out, err = call("run", "--shop", write_shop(tmp_path / "shop", bad), "--day", "2024-01-02")
    [line] = [line for line in err.splitlines() if line.startswith("core.events failed: ")]
    assert "Shop corner, 2024-01-02 to 2024-01-02" in err  # the named day is the only one that is gone through
    assert code == 1 and "nothing of it is published" in line and "quarantine_share" in line
    assert "Traceback" not in err and "Rows in" in out


def test_help_is_quick_and_shows_examples():
    code = "import sys\nfrom orchestration.cli import app\ntry:\n    app()\nexcept SystemExit:\n    pass\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}print([m for m in {HEAVY!r} if m in sys.modules])", "run", "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "portrait run --from 2017-12-01 --to 2017-12-31" in done.stdout
    assert done.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "command",
    ["run", "dev", "status", "evaluate", "profile", "recommend", "export", "init", "check-shop", "dictionary", "synth"]
    + ["ledger show", "ledger verify", "ledger export", "ledger move", "budget plan"],
)
def test_every_command_has_help_with_an_example(command):
    code, out, _ = call(*command.split(), "--help")
    assert code == 0 and f"portrait {command}" in out.split("For example:")[1]


def test_a_process_says_one_sentence_and_leaves_with_two(tmp_path):
    done = process("status", "--shop", tmp_path / "none.yaml")
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[0].startswith(f"{tmp_path}/none.yaml: there is no such file")


def test_an_error_that_nobody_foresaw_keeps_its_traceback(tmp_path):
    shop = write_shop(tmp_path / "shop")
    log = tmp_path / "var" / "shops" / "corner" / "lake" / "raw" / "tills" / "_delta_log"
    log.mkdir(parents=True)
    (log / "00000000000000000000.json").write_text("garbage")
    done = process("status", "--shop", shop, PORTRAIT_VAR=str(tmp_path / "var"))
    assert done.returncode == 1 and "Traceback" in done.stderr


def test_the_ui_starts_from_this_environment_s_own_dg():
    program, *arguments = dev_command("127.0.0.1", 3333)
    assert os.access(program, os.X_OK)
    assert arguments == ["dev", "--workspace", "workspace.yaml", "--host", "127.0.0.1", "--port", "3333"]
    assert (REPOSITORY / "workspace.yaml").exists()
