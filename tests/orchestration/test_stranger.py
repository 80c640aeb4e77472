"""What a stranger types, in the order in which `portrait synth` says it: from made-up files to a recommendation."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from data.settings import REPOSITORY

ENVIRONMENT = ("PORTRAIT_SHOP", "PORTRAIT_VAR", "PORTRAIT_KEY", "PORTRAIT_THREADS", "DAGSTER_HOME")
PROVED = [pytest.param(shape, marks=pytest.mark.prove) for shape in ("headerless_csv", "utc_csv")]


def call(line: str) -> tuple[str, str]:
    """Run `portrait LINE` in a process of its own."""
    command = [sys.executable, "-c", "from orchestration.cli import main; main()", *shlex.split(line)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, f"portrait {line}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["nested_jsonl", *PROVED])
def test_a_stranger_types_four_lines(shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PORTRAIT_VAR", str(tmp_path / "var"))
    monkeypatch.setenv("COLUMNS", "200")
    folder = tmp_path / "made_up"
    size = "--users 400" if "headerless" in shape else "--users 120 --items 80 --days 60"
    out, _ = call(f"synth --to {folder} {size} --seed 2 --shape {shape}")
    lines = [line.strip().removeprefix("portrait ") for line in out.split("Next:")[1].strip().splitlines()]
    assert [line.split()[0] for line in lines] == ["init", "check-shop", "run", "recommend"]
    init, check, run, recommend = lines
    call(init)
    assert "No problem found" in call(check)[0]
    out, _ = call(run)
    assert "epsilon 4.000 of 4 spent" in out or "left (user level" in out
    out, _ = call(recommend)
    assert "Recommendations: next_purchases" in out
