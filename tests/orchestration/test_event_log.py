"""The event log with open connections is Dagster's own: same files, read and written by both, from any thread."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest

from data.settings import load_settings
from orchestration.event_log import KEPT, EventLog
from orchestration.home import prepare_home


@dg.asset(check_specs=[dg.AssetCheckSpec("is_counted", asset="numbers")])
def numbers(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    context.log.info("counted")
    return dg.MaterializeResult(metadata={"n": 3}, check_results=[dg.AssetCheckResult(passed=True)])


DEFS = dg.Definitions([numbers])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    return prepare_home(load_settings())


def materialise(instance: dg.DagsterInstance) -> str:
    job = DEFS.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(instance=instance).run_id


def test_dagsters_own_storage_reads_what_was_written_and_the_other_way_round(home: Path) -> None:
    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance.event_log_storage, EventLog)
        ours = materialise(instance)
    written = (home / "dagster.yaml").read_text(encoding="utf-8")
    start, end = written.index("event_log_storage:"), written.index("run_monitoring:")
    (home / "dagster.yaml").write_text(written[:start] + written[end:], encoding="utf-8")
    with dg.DagsterInstance.get() as plain:
        assert not isinstance(plain.event_log_storage, EventLog)
        assert "counted" in [entry.user_message for entry in plain.all_logs(ours)]
        theirs = materialise(plain)
    (home / "dagster.yaml").write_text(written, encoding="utf-8")
    with dg.DagsterInstance.get() as instance:
        assert len(instance.all_logs(theirs)) == len(instance.all_logs(ours)) > 5
        [latest] = instance.fetch_materializations(dg.AssetKey("numbers"), limit=1).records
        assert latest.run_id == theirs
        check = dg.AssetCheckKey(dg.AssetKey("numbers"), "is_counted")
        found = instance.event_log_storage.get_asset_check_execution_history(check, limit=5)
        assert [one.run_id for one in found] == [theirs, ours]


def test_few_databases_stay_open_and_a_closed_one_opens_again(home: Path) -> None:
    with dg.DagsterInstance.get() as instance:
        runs = [materialise(instance) for _ in range(KEPT + 1)]
        storage = instance.event_log_storage
        assert isinstance(storage, EventLog) and len(storage.open_databases) == KEPT
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda run: len(instance.all_logs(run)), runs * 4))
        assert len(set(found)) == 1 and found[0] > 5


def test_nothing_is_left_open_after_the_instance_or_a_wipe(home: Path) -> None:
    with dg.DagsterInstance.get() as instance:
        materialise(instance)
        storage = instance.event_log_storage
        assert isinstance(storage, EventLog)
        storage.wipe()
        assert instance.fetch_materializations(dg.AssetKey("numbers"), limit=1).records == []
        materialise(instance)
        assert len(instance.fetch_materializations(dg.AssetKey("numbers"), limit=5).records) == 1
    assert storage.open_databases == ()
