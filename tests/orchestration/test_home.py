"""What a command sets before the libraries that read it are loaded."""

import os
from pathlib import Path

import pytest

from data.settings import Settings
from orchestration.home import prepare_home


@pytest.mark.parametrize(("given", "wanted"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_that_wait_sleep_unless_the_owner_of_the_machine_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, wanted: str
) -> None:
    for name, value in (("DAGSTER_HOME", None), ("DAGSTER_DISABLE_TELEMETRY", None), ("OMP_WAIT_POLICY", given)):
        monkeypatch.setenv(name, value or "")  # so that it is put back afterwards
        if value is None:
            monkeypatch.delenv(name)
    settings = Settings(shop_file=tmp_path / "shop.yaml", var=tmp_path / "var", threads=1, memory_limit="1GB")
    assert prepare_home(settings) == settings.dagster_home and (settings.dagster_home / "dagster.yaml").exists()
    assert (os.environ["OMP_WAIT_POLICY"], os.environ["DAGSTER_DISABLE_TELEMETRY"]) == (wanted, "yes")
