"""A real year lands file by file, in order and shuffled; its tables end as one bulk load makes them, row for row.

Shop: the second year of UCI Online Retail, one gzipped CSV a day. Every file is a run of its own over the days that
stand in it, as the sensor asks for; a last run takes up what a later catalogue row has made stale.
"""

import os
import random
import shutil
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import dagster as dg
import pytest
import yaml

from data.contracts import TABLES
from data.settings import REPOSITORY
from data.workspace import Workspace
from orchestration.definitions import build_defs
from orchestration.sensors import days_of_file
from tests.support.runs import days, execute
from tests.support.shops import workspace_of

FILES = int(os.environ.get("PORTRAIT_REPLAY_FILES", "305"))
SEED = 20111209
AT_ONCE = 2
SHARED = Path(os.environ.get("UCI_ONLINE_RETAIL", REPOSITORY.parent / "shared" / "data" / "uci-online-retail"))
KEYS = ("core.items", "core.users", "core.corrections", "core.events_quarantine", "core.events")
RUN = (
    "raw.invoices_2011", "raw.descriptions_2011", "core.items", "core.items_quarantine", "core.corrections",
    "core.events_quarantine", "core.events",
)  # fmt: skip


def shop_file(folder: Path) -> Path:
    """The example with its second year alone, reading the files of a folder."""
    shop = yaml.safe_load((REPOSITORY / "examples" / "uci_online_retail" / "shop.yaml").read_text(encoding="utf-8"))
    shop["sources"] = {name: source for name, source in shop["sources"].items() if name.endswith("_2011")}
    for source in shop["sources"].values():
        source["path"] = str(folder / "landed" / "*.csv.gz")
    (folder / "landed").mkdir(parents=True)
    path = folder / "shop.yaml"
    path.write_text(yaml.safe_dump(shop), encoding="utf-8")
    return path


def content(workspace: Workspace) -> dict[str, tuple[object, ...]]:
    """Rows of each table as a multiset: count and two hash sums, without what only says how they were made."""
    found = {}
    for key in KEYS:
        names = ", ".join(f'"{name}"' for name in TABLES[key].names if name != "input_version")
        with workspace.engine.session() as session:
            session.attach(TABLES[key], workspace.lake)
            sums = f"count(*) as n, sum(hash({names})::hugeint)::varchar as s, bit_xor(hash({names})) as x"
            found[key] = tuple(session.query(f"select {sums} from {key}").to_pylist()[0].values())
    return found


Seconds = tuple[float, float]
"""On the clock, and of processor time."""


def replay(folder: Path, batches: Sequence[Sequence[Path]]) -> tuple[dict[str, tuple[object, ...]], list[Seconds]]:
    """Land batch after batch, one run each; what the tables hold in the end, and the seconds of each run."""
    workspace = workspace_of(shop_file(folder), folder / "var")
    defs, only = build_defs(workspace), [dg.AssetKey(key.split(".")) for key in RUN]
    seconds: list[Seconds] = []

    def ran(tags: dict[str, str]) -> bool:
        with dg.DagsterInstance.ephemeral() as instance:  # one for all would hold the records of 305 runs in memory
            return execute(defs, instance, "daily", tags, only=only).success

    for batch in batches:
        for file in batch:
            shutil.copy(file, folder / "landed")
        started, worked = time.monotonic(), time.process_time()
        assert ran(landed_days(workspace, batch))
        seconds.append((time.monotonic() - started, time.process_time() - worked))
        said = "{:.1f} s, {:.1f} s of processor time".format(*seconds[-1])
        print(f"{folder.name}: {len(seconds)} of {len(batches)} runs, {said}", flush=True)
    assert ran(days("2010-12-01", "2011-12-31"))
    return content(workspace), seconds


def landed_days(workspace: Workspace, batch: Sequence[Path]) -> dict[str, str]:
    """The range of the days that stand in the files."""
    from data.connectors import SourceFile

    files = [SourceFile(str(file), file.stat().st_size) for file in batch]
    found = sorted(day for file in files for day in days_of_file(workspace, "invoices_2011", file))
    return days(found[0].isoformat(), found[-1].isoformat())


@pytest.mark.prove
def test_a_year_that_lands_in_any_order_equals_one_bulk_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there; set UCI_ONLINE_RETAIL to the folder of the data")
    monkeypatch.setenv("PORTRAIT_KEY", "ab" * 32)
    files = sorted((SHARED / "by-day").glob("*.csv.gz"))[:FILES]
    shuffled = random.Random(SEED).sample(files, len(files))
    ways = {"bulk": [files], "ordered": [[file] for file in files], "shuffled": [[file] for file in shuffled]}
    with ProcessPoolExecutor(AT_ONCE, mp_context=get_context("spawn")) as pool:
        runs = {name: pool.submit(replay, tmp_path / name, batches) for name, batches in ways.items()}
        (bulk, _), (ordered, in_order), (mixed, out_of_order) = (run.result() for run in runs.values())
    write_evidence(len(files), bulk, ordered, mixed, in_order, out_of_order)
    assert ordered == bulk
    assert mixed == bulk


PARTS = {
    "2 to 11": slice(1, 11),
    "the middle ten": slice(max(1, FILES // 2 - 5), FILES // 2 + 5),
    "the last ten": slice(-10, None),
}
"""The first run pays for imports."""


def median(seconds: Sequence[Seconds]) -> str:
    return "{:.1f} ({:.1f})".format(*map(statistics.median, zip(*seconds, strict=True)))


def write_evidence(n_files, bulk, ordered, mixed, in_order, out_of_order) -> None:
    day = datetime.now(UTC).date().isoformat()
    lines = [
        f"# Replay of a real year, {day}",
        "",
        f"{n_files} daily files of UCI Online Retail, each landed by a run of its own, then one run for what had",
        f"become stale; `PORTRAIT_REPLAY_FILES={n_files} make prove`, seed {SEED}.",
        "",
        "| table | rows | in order equals bulk | shuffled equals bulk |",
        "|---|---|---|---|",
        *(
            f"| `{key}` | {bulk[key][0]:,} | {'yes' if ordered[key] == bulk[key] else 'NO'} "
            f"| {'yes' if mixed[key] == bulk[key] else 'NO'} |"
            for key in KEYS
        ),
        "",
        f"Median seconds of a run, processor time in brackets; {AT_ONCE} replays at a time on {os.cpu_count()} cores.",
        "",
        "| runs | in order | shuffled |",
        "|---|---|---|",
        *(f"| {name} | {median(in_order[part])} | {median(out_of_order[part])} |" for name, part in PARTS.items()),
        "",
    ]
    target = REPOSITORY / "docs" / "evidence" / f"replay-{day}.md"
    target.write_text("\n".join(lines), encoding="utf-8")
