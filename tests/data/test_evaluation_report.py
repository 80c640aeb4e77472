"""The report says what the tables say, refers to nothing outside itself, and is never seen half written."""

import json
import os
import random
import re
import subprocess
import sys
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.contracts.core import ITEMS
from data.contracts.model import POPULARITY, RANKER
from data.contracts.out import EVALUATION
from data.contracts.schema import Table
from data.evaluation_page import METRICS, MODELS, TWIN, render
from data.evaluation_report import report_facts, write_report
from data.workspace import Workspace
from tests.support.shops import YAML, workspace_of, write_shop

ROOT = Path(__file__).parents[2]
UNIT = "all rows of one user id, add or remove one user"
EVENTS: dict[str, dict[str, Any]] = {
    POPULARITY.key: {
        "kind": "discrete_gaussian",
        "sensitivity": 1048576,
        "scale": 2156293.0,
        "bound": 4.0,
        "randomness": "opendp",
    },
    RANKER.key: {
        "kind": "gaussian",
        "steps": 40,
        "noise_multiplier": 15.928814,
        "bound": 0.5,
        "randomness": "opendp",
    },
}
SPENT = {POPULARITY.key: ("2", "2.035273", "2.200030"), RANKER.key: ("6", "3.123456", "3.304953")}
UNTIMED = YAML.replace("    time: at\n", "").replace("calendar: {start: 2024-01-01, end: 2024-03-31}\n", "")


def one_row(contract: Table, **values: Any) -> pa.Table:
    """A row with the given values, and null elsewhere."""
    return pa.Table.from_pylist([{**dict.fromkeys(contract.names), **values}], contract.arrow_schema())


def publish_release(workspace: Workspace, contract: Table, **values: Any) -> None:
    sequence, epsilon, zcdp = SPENT[contract.key]
    notes = {
        "ledger_sequence": sequence,
        "ledger_head": sequence * 64,
        "epsilon_spent": epsilon,
        "epsilon_spent_zcdp": zcdp,
        "epsilon_declared": "4",
        "delta": "4.05022e-06",
        "event": json.dumps(EVENTS[contract.key]),
        "unit": UNIT,
        "code_version": "1",
    }
    row = {"release": f"made{sequence}", "window_start": date(2024, 2, 2), "window_end": date(2024, 3, 1), **values}
    workspace.lake.publish(contract, one_row(contract, **row), fingerprint="f", notes=notes)


def publish_evaluation(workspace: Workspace, seed: int = 0, models: tuple[str, ...] = tuple(MODELS)) -> list[Any]:
    draw = random.Random(seed)
    rows = [
        {"task": task, "model": model, "metric": metric, "score": draw.random(), "n_users": users}
        for task, users in (("discovery", 1789), ("next_purchases", 1823))
        for model in models
        if not (model == "personal_frequency" and task == "discovery")
        for metric in METRICS
    ]
    notes = {f"{r['task']}_{r['model']}_ndcg": f"{r['score']:.6f}" for r in rows if r["metric"] == "ndcg"}
    workspace.lake.publish(EVALUATION, pa.Table.from_pylist(rows), fingerprint=str(seed), notes=notes)
    return rows


def bare(folder: Path, yaml: str = YAML) -> Workspace:
    """A shop with releases and a catalogue, not yet evaluated."""
    workspace = workspace_of(write_shop(folder, yaml=yaml), folder / "var")
    publish_release(workspace, POPULARITY, item_id="a", popularity=3.5, popularity_before=1.0, noise_std=8.2)
    publish_release(workspace, RANKER, task="discovery", feature="popularity", weight=0.5)
    workspace.lake.publish(ITEMS, one_row(ITEMS, item_id="a"), fingerprint="f")
    return workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return bare(tmp_path)


class Cells(HTMLParser):
    """Texts of table cells by heading and row; every tag and attribute."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: dict[str, list[list[str]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.heading, self.open = "", ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "h2":
            self.heading = ""
        if tag == "tr":
            self.rows.setdefault(self.heading, []).append([])
        if tag in ("td", "th"):
            self.rows[self.heading][-1].append("")
        if tag in ("h2", "td", "th"):
            self.open = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self.open:
            self.open = ""

    def handle_data(self, data: str) -> None:
        if self.open == "h2":
            self.heading += data
        elif self.open:
            self.rows[self.heading][-1][-1] += data


def test_page_and_json_hold_the_figures_of_the_table(workspace: Workspace) -> None:
    rows = publish_evaluation(workspace)
    page = write_report(workspace)
    assert page == workspace.reports / "evaluation.html"
    text = page.read_text(encoding="utf-8")
    facts = json.loads((workspace.reports / "evaluation.json").read_text(encoding="utf-8"))

    def key(row: dict[str, Any]) -> tuple[str, ...]:
        return row["task"], row["model"], row["metric"]

    assert sorted(facts["scores"], key=key) == sorted(rows, key=key)
    cells = Cells(text).rows
    for task, heading in (("next_purchases", "Next purchases"), ("discovery", "Discovery")):
        wanted = {
            MODELS[model]: [f"{r['score']:.4f}" for r in rows if (r["task"], r["model"]) == (task, model)]
            for model in dict.fromkeys(r["model"] for r in rows if r["task"] == task)
        }
        assert {name: scores for name, *scores in cells[heading][1:]} == wanted
        plot = text[text.index(f"bars-{task}") :]
        for name, scores in wanted.items():
            assert name in plot and scores[0] in plot[: plot.index("</svg>")]
    assert "1,823 people" in text and "1,789 people" in text
    assert "2024-03-01 to 2024-03-28, which no release has read" in text and "up to 2024-02-29" in text


def test_privacy_cost_is_portrait_beside_its_twin(workspace: Workspace) -> None:
    scores = {(r["task"], r["model"], r["metric"]): r["score"] for r in publish_evaluation(workspace)}
    cost = report_facts(workspace)["privacy_cost"]
    assert len(cost) == 8
    for row in cost:
        portrait, twin = (scores[row["task"], model, row["metric"]] for model in ("portrait", TWIN))
        assert (row["portrait"], row[TWIN], row["difference"]) == (portrait, twin, portrait - twin)


def test_the_guarantee_is_what_the_latest_release_carries(workspace: Workspace) -> None:
    publish_evaluation(workspace)
    guarantee = report_facts(workspace)["guarantee"]
    assert (guarantee["epsilon_spent"], guarantee["epsilon_spent_zcdp"]) == (3.123456, 3.304953)
    assert (guarantee["epsilon_declared"], guarantee["delta"], guarantee["units"]) == (4.0, 4.05022e-06, [UNIT])
    assert list(guarantee["exceptions"]) == ["E1", "E2", "E3"]
    text = " ".join(write_report(workspace).read_text(encoding="utf-8").split())
    for said in (
        "3.124 of 4 declared",
        "3.305 for the same releases",
        "<dd>4.05e-06, for both",
        UNIT,
        "OpenDP&#39;s cryptographically secure sampler",
        "L2 norm of at most 4<",
        "L2 norm of at most 0.5<",
        "scale 2,156,293 at sensitivity 1,048,576",
        "40 steps of gradients over all users with Gaussian noise, noise multiplier 15.929",
        "<dd>2024-02-02 to 2024-02-29</dd>",
        "declared public in the shop file",
        "Exception E1",
        "row 6, head <code>6666666666666666</code>",
    ):
        assert said.replace("&#39;", "'") in text.replace("&#39;", "'"), said


def test_page_refers_to_nothing_outside_and_escapes_what_the_shop_says(tmp_path: Path) -> None:
    yaml = YAML + "description: \"<script>alert('x')</script>\"\n"
    workspace = bare(tmp_path, yaml)
    publish_evaluation(workspace, 1)
    publish_evaluation(workspace, 2)
    text = write_report(workspace).read_text(encoding="utf-8")
    assert "&lt;script&gt;" in text
    assert not re.search(r"https?:|//\w|@import|<script|<link|javascript:", text, re.IGNORECASE)
    tags = Cells(text).tags
    assert {"table", "svg", "style"} <= {tag for tag, _ in tags}
    assert not {tag for tag, _ in tags} & {"script", "link", "iframe", "object", "embed", "img", "base", "form"}
    ids = [found["id"] for _, found in tags if "id" in found]
    assert len(ids) == len(set(ids)), "ids of two plots collide"
    for _, found in tags:
        for name, value in found.items():
            assert not name.startswith("on") and name != "src"
            if name.endswith("href"):
                assert value is not None and value.startswith("#") and value[1:] in ids
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))


def test_two_writes_are_byte_identical_in_any_process(workspace: Workspace) -> None:
    publish_evaluation(workspace, 1)
    publish_evaluation(workspace, 2)
    paths = [write_report(workspace), workspace.reports / "evaluation.json"]
    first = [path.read_bytes() for path in paths]
    with matplotlib.rc_context({"font.size": 33, "svg.hashsalt": None, "lines.linewidth": 9}):
        before = dict(matplotlib.rcParams)
        write_report(workspace)
        assert dict(matplotlib.rcParams) == before
    assert [path.read_bytes() for path in paths] == first
    code = (
        "import sys; from pathlib import Path; from tests.support.shops import workspace_of\n"
        "from data.evaluation_report import write_report\n"
        "assert 'matplotlib' not in sys.modules, 'imported before it is needed'\n"
        f"write_report(workspace_of(Path({str(workspace.shop.location)!r}), Path({str(workspace.settings.var)!r})))\n"
        "assert 'matplotlib.pyplot' not in sys.modules, 'pyplot keeps global state'\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=environment)
    assert [path.read_bytes() for path in paths] == first


def test_without_an_evaluation_one_clear_error_and_nothing_written(workspace: Workspace) -> None:
    with pytest.raises(LookupError, match=r"out\.evaluation is not published in .*; make it with `portrait run`"):
        write_report(workspace)
    assert not workspace.reports.exists()


def test_a_missing_release_is_said_in_amber_and_hides_nothing(tmp_path: Path) -> None:
    workspace = workspace_of(write_shop(tmp_path), tmp_path / "var")
    publish_release(workspace, POPULARITY, item_id="a", popularity=3.5, popularity_before=1.0, noise_std=8.2)
    rows = publish_evaluation(workspace)
    text = write_report(workspace).read_text(encoding="utf-8")
    guarantee = json.loads((workspace.reports / "evaluation.json").read_text())["guarantee"]
    assert RANKER.key in guarantee["missing"] and POPULARITY.key not in guarantee["missing"]
    banner = text[text.index("No guarantee can be stated.") :][:300]
    assert f"Not published: {', '.join(guarantee['missing'])}" in banner
    assert f"{rows[0]['score']:.4f}" in text


def test_a_release_without_its_ledger_row_is_said_in_amber(workspace: Workspace) -> None:
    publish_evaluation(workspace)
    made = one_row(RANKER, task="discovery", feature="x", weight=1.0, release="bare")
    workspace.lake.publish(RANKER, made, fingerprint="g")
    assert report_facts(workspace)["guarantee"]["unaccounted"] == [RANKER.key]
    assert "without a row of the privacy ledger: model.ranker" in write_report(workspace).read_text(encoding="utf-8")


def test_the_new_page_takes_the_place_of_the_old_one_at_once(workspace: Workspace) -> None:
    publish_evaluation(workspace, 1)
    page = write_report(workspace)
    before = page.read_text(encoding="utf-8")
    publish_evaluation(workspace, 2)
    with page.open(encoding="utf-8") as reader:  # opened before the write, read after it
        write_report(workspace)
        assert reader.read() == before
    assert page.read_text(encoding="utf-8") != before
    assert sorted(path.name for path in workspace.reports.iterdir()) == ["evaluation.html", "evaluation.json"]


def test_a_failed_write_leaves_no_part_behind(workspace: Workspace) -> None:
    publish_evaluation(workspace)
    (workspace.reports / "evaluation.html" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError):
        write_report(workspace)
    assert not list(workspace.reports.glob(".*"))


def test_privacy_off_stands_on_top(tmp_path: Path) -> None:
    on = bare(tmp_path, YAML)
    publish_evaluation(on)
    off = on.shop.model_copy(update={"privacy": on.shop.privacy.model_copy(update={"mode": "off"})})
    workspace = replace(on, shop=off)
    text = write_report(workspace).read_text(encoding="utf-8")
    assert '<p class="banner amber"><strong>privacy off</strong>' in text[: text.index("<h1")]
    assert "Nothing: privacy is off" in text
    assert not {said for said in ("Take two histories", "Privacy spent", "released with noise") if said in text}


def test_own_data_has_no_twin(tmp_path: Path) -> None:
    workspace = bare(tmp_path, YAML.replace("public_benchmark: true\n", ""))
    publish_evaluation(workspace, models=("portrait", "popularity"))
    text = write_report(workspace).read_text(encoding="utf-8")
    assert "not a public benchmark: no twin" in text[: text.index("<h1")] and "privacy off" not in text
    assert report_facts(workspace)["privacy_cost"] is None and MODELS[TWIN] not in text
    publish_evaluation(workspace)
    with pytest.raises(ValueError, match="does not declare public_benchmark: true; evaluate anew"):
        write_report(workspace)
    assert (workspace.reports / "evaluation.html").read_text(encoding="utf-8") == text


def test_trend_is_of_the_models_that_are_published_now(workspace: Workspace) -> None:
    first = publish_evaluation(workspace, 1)
    assert "Over time" not in write_report(workspace).read_text(encoding="utf-8")
    second = publish_evaluation(workspace, 2, models=("portrait", "popularity"))
    text = write_report(workspace).read_text(encoding="utf-8")
    trend = report_facts(workspace)["trend"]
    assert {r["model"] for r in trend} == {"portrait", "popularity"}
    for version, rows in enumerate((first, second)):
        for row in (r for r in rows if r["metric"] == "ndcg" and r["model"] in ("portrait", "popularity")):
            found = [r for r in trend if (r["version"], r["task"], r["model"]) == (version, row["task"], row["model"])]
            assert [r["ndcg"] for r in found] == [round(row["score"], 6)]
            assert f"<td>{MODELS[row['model']]}</td><td>{found[0]['ndcg']:.4f}</td>" in text
    assert text.count("Over time") == 2


def test_a_shop_without_timestamps_says_hold_out_and_names_no_day(tmp_path: Path) -> None:
    workspace = bare(tmp_path, UNTIMED.replace("evaluation: {test_start: 2024-03-01, test_days: 28}\n", ""))
    publish_evaluation(workspace)
    text = write_report(workspace).read_text(encoding="utf-8")
    assert "a hold-out instead of days" in text and "20 percent of every" in text
    assert "1970" not in text and "2024-02" not in text


def test_days_that_were_learnt_from_are_said_in_amber(workspace: Workspace) -> None:
    publish_evaluation(workspace)
    row = {"task": "discovery", "feature": "x", "weight": 1.0, "window_end": date(2024, 3, 10)}
    publish_release(workspace, RANKER, **row)
    text = write_report(workspace).read_text(encoding="utf-8")
    assert "days up to 2024-03-09, the test starts on 2024-03-01" in text
    assert "which no release has read" not in text


@given(st.integers(min_value=0, max_value=20_000_000))
def test_spent_epsilon_is_never_rounded_down(millionths: int) -> None:
    from data.evaluation_page import _rounded_up

    thousandths = int(_rounded_up(millionths / 1e6).replace(".", ""))
    assert 0 <= thousandths * 1000 - millionths < 1000


def test_render_needs_no_twin_no_trend_and_no_release() -> None:
    rows = [{"task": "discovery", "model": "other <model>", "metric": "ndcg", "score": 0.5, "n_users": 3}]
    text = render(
        {
            "shop": {"name": "s", "description": "", "is_public_benchmark": True, "privacy_mode": "on"},
            "measured": {"learnt_until": None, "test_start": "2024-01-01", "test_end": "2024-01-02", "is_unseen": True},
            "scores": rows,
            "privacy_cost": None,
            "guarantee": {
                **dict.fromkeys(("epsilon_spent", "epsilon_spent_zcdp", "epsilon_declared", "delta")),
                **{"is_on": True, "is_catalogue_public": False, "catalogue_items": None, "exceptions": {}},
                **{name: [] for name in ("units", "randomness", "releases", "missing", "unaccounted")},
            },
            "trend": [],
            "provenance": {"portrait": None, "tables": []},
        }
    )
    assert "other &lt;model&gt;" in text and "<model>" not in text and "0.5000" in text
