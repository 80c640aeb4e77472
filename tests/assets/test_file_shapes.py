"""A file that changes its shape half way, through the real job: its good part is published, or nothing is."""

import json
import logging

import dagster as dg
import pytest

from orchestration.definitions import build_defs
from orchestration.progress import sentence_of
from tests.support.runs import WHOLE, execute, rows
from tests.support.shops import YAML, workspace_of, write_shop


def objects(n: int, first: int = 0, item: str = "sku") -> str:
    """Lines of a log, the item under a key of that name."""
    rows = [
        {"id": f"g{i}", "customer": "ann", item: "a", "what": "buy", "qty": 1, "paid": 0.5, "basket": f"z{i}",
         "at": f"2024-01-08 10:{i // 60:02d}:{i % 60:02d}"}
        for i in range(first, first + n)
    ]  # fmt: skip
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(("n_changed", "is_published"), [(5, True), (40, False)])
def test_json_lines_that_change_a_key_half_way(tmp_path, n_changed, is_published):
    shop_file = write_shop(tmp_path / "shop", yaml=YAML.replace("path: tills.csv", "path: tills.jsonl"))
    (shop_file.parent / "tills.jsonl").write_text(objects(100) + objects(n_changed, 100, "article"))
    workspace = workspace_of(shop_file, tmp_path / "var")
    defs, instance = build_defs(workspace), dg.DagsterInstance.ephemeral()
    keys = [k for k in defs.resolve_asset_graph().executable_asset_keys if k.path[0] in ("raw", "core")]
    result = execute(defs, instance, tags=WHOLE, only=keys)
    assert result.success is is_published
    logged = [e.user_message for e in instance.all_logs(result.run_id) if e.level == logging.INFO]
    [told] = [line for line in logged if "missing_key" in line and line.startswith("tills:")]
    assert f"{n_changed} lines lack 'sku' (first in line 101) and are set aside as missing_key; map the key" in told
    if is_published:
        assert [row["event_id"] for row in rows(workspace, "core.events") if row["item_id"] != "a"] == []
        assert len(rows(workspace, "core.events")) == 100
        aside = rows(workspace, "core.events_quarantine")
        assert {(row["reason"], row["line"]) for row in aside} == {("missing_key", 101 + i) for i in range(n_changed)}
    else:
        [failure] = [sentence_of(e) for e in result.all_events if e.is_step_failure]
        assert "quarantine_share is 28.6 percent" in failure and "'missing_key': 40" in failure
        assert workspace.lake.published("core.events") is None
