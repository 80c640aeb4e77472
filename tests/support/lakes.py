"""A lake that has grown old."""

import json
from pathlib import Path

from data.lake import Lake


def age_removals(lake: Lake, key: str, days: int) -> None:
    """Make every removal of a file from a table look so many days older."""
    for commit in Path(lake.uri(key), "_delta_log").glob("*.json"):
        actions = [json.loads(line) for line in commit.read_text().splitlines()]
        for action in actions:
            if "remove" in action:
                action["remove"]["deletionTimestamp"] -= days * 86_400_000
        commit.write_text("\n".join(json.dumps(action) for action in actions))
