"""Options of `portrait synth`: what they plant, and that without them a shop is the plan's."""

import inspect
import json

import pyarrow.parquet as pq
import pytest

from data.synth.plan import Plan
from orchestration.commands.synth import synth


@pytest.mark.parametrize("name", ["shape", "drift_share", "drift_at"])
def test_an_option_left_out_changes_no_byte(name):
    default = inspect.signature(synth).parameters[name].default
    declared = Plan.model_fields[name]
    assert default == ("utc_csv" if declared.is_required() else declared.default)


@pytest.mark.parametrize(("share", "at"), [(0.0, 0.6), (1.0, 0.25)])
def test_the_drift_that_is_asked_for_is_planted(tmp_path, share, at):
    synth(tmp_path / "made", users=40, items=30, days=12, seed=3, shape="utc_csv", drift_share=share, drift_at=at)
    plan = json.loads((tmp_path / "made" / "truth" / "truth.json").read_text())["plan"]
    assert (plan["drift_share"], plan["drift_at"]) == (share, at)
    drifts = pq.read_table(tmp_path / "made" / "truth" / "users.parquet", columns=["drifts_at_utc", "is_bot"])
    days = [str(day)[:10] for day, bot in zip(*(c.to_pylist() for c in drifts.columns), strict=True) if not bot]
    assert set(days) == ({"2024-01-04"} if share else {"None"})
