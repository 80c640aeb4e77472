"""Which batch the daemon of a proof is to corrupt next, told through a file that an environment variable names."""

import os
from pathlib import Path

from data.contracts.schema import Frozen

CASE_FILE = "PORTRAIT_TEST_CASE"
"""Names the file that holds the case in force; absent or empty: nothing is corrupted."""


class Case(Frozen):
    """One corruption, and what the daemon is to launch for it."""

    number: int
    """Of the case; each is launched once."""
    table: str = ""
    """Contract key; empty: nothing is corrupted."""
    check: str = ""
    """The expectation that is broken."""
    launch: tuple[str, ...] = ()
    """Contract keys to make in one run; empty: whatever lands or follows by automation."""
    tags: dict[str, str] = {}
    """Tags of that run."""

    def write(self, path: Path) -> None:
        """Put it in force, at once for every reader."""
        beside = path.with_suffix(".new")
        beside.write_text(self.model_dump_json(), encoding="utf-8")
        os.replace(beside, path)


def case_in_force() -> Case | None:
    """What the file says now."""
    path = Path(os.environ[CASE_FILE])
    return Case.model_validate_json(path.read_text(encoding="utf-8")) if path.exists() else None
