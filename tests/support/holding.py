"""Another process that works on a shop."""

import os
import subprocess
import sys

from data.settings import REPOSITORY
from data.workspace import Workspace

HOLD = """
import sys
from pathlib import Path
from orchestration.turn import alone
from tests.support.shops import workspace_of
with alone(workspace_of(Path(sys.argv[1]), Path(sys.argv[2]))):
    print("held", flush=True)
    sys.stdin.readline()
"""


def holding(workspace: Workspace) -> subprocess.Popen[str]:
    """A process that holds the shop's lock until it reads a line or dies."""
    command = [sys.executable, "-c", HOLD, str(workspace.shop.location), str(workspace.settings.var)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    pipe = subprocess.PIPE
    holder = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdin=pipe, stdout=pipe, text=True)
    assert holder.stdout.readline() == "held\n"
    return holder
