"""The one Dagster instance that `make run`, the UI, the daemon and the sensor share: `var/dagster`, telemetry off."""

import os
from pathlib import Path

from data.settings import Settings

CONFIG = """\
# Written by Portrait on first use; edit freely, it is not overwritten.
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  runs:
    max_concurrent_runs: 1   # tables are written by one run at a time
event_log_storage:
  module: orchestration.event_log
  class: EventLog
  config:
    home: {env: DAGSTER_HOME}
run_monitoring:
  enabled: true
  max_runtime_seconds: 7200
run_retries:
  enabled: true
  max_retries: 1
  retry_on_asset_or_op_failure: false   # a crash is retried, a refused batch is not
"""


def prepare_home(settings: Settings) -> Path:
    """Point `DAGSTER_HOME` at the shared instance, creating it if absent, and set what libraries read when they load.

    Threads of torch sleep while they wait for one another: on a machine that is busy with other work they would else
    burn six times the CPU time of a training step.

    Args:
        settings: paths of this installation.

    Returns:
        The folder; an already set `DAGSTER_HOME` wins.
    """
    home = Path(os.environ.setdefault("DAGSTER_HOME", str(settings.dagster_home)))
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    if not config.exists():
        config.write_text(CONFIG, encoding="utf-8")
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return home
