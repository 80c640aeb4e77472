"""Dated evidence of a proof whose parts may be run one by one: a run replaces its own parts of the day alone."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

COLUMNS = ("run, UTC", "commit", "command", "figures")
"""Of the table of runs, which stands before the table of parts."""


def commit_of(root: Path) -> str:
    """The commit that a proof runs on, `... and changes` if a file differs from it; evidence does not count."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    changed = git("status", "--porcelain", "--", ".", ":!docs/evidence")
    return git("rev-parse", "--short=10", "HEAD") + " and changes" * bool(changed)


def cells(line: str) -> list[str]:
    """The cells of a line of a Markdown table."""
    return [cell.strip() for cell in line.strip().strip("|").split(" | ")]


def read_table(text: str, columns: Sequence[str]) -> dict[str, list[str]]:
    """First cell -> cells of each row of the Markdown table with this head; none if it is not there."""
    head = written([columns])
    if head not in text:
        return {}
    lines = text[text.index(head) + len(head) :].splitlines()[1:]
    end = next((n for n, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return {cells(line)[0]: cells(line) for line in lines[:end]}


def written(rows: Sequence[Sequence[str]]) -> str:
    """Rows of a Markdown table."""
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def merged(
    before: str,
    head: str,
    columns: Sequence[str],
    parts: Mapping[str, Sequence[str]],
    run: Sequence[str],
    order: Sequence[str],
) -> str:
    """The page with a run's parts in it.

    Args:
        before: the page as it stands, empty if there is none.
        head: text above the tables.
        columns: of the table of parts; the last names the run that a part comes from.
        parts: first cell of a part -> its other cells but the last.
        run: cells of this run, as `COLUMNS`; it replaces the row of the same first cell.
        order: first cells in the order of the page; others of the page before are dropped.

    Returns:
        The page; runs that no part comes from any more are dropped.
    """
    known = read_table(before, columns) | {first: [first, *cells, run[0]] for first, cells in parts.items()}
    rows = [known[first] for first in order if first in known]
    runs = read_table(before, COLUMNS) | {run[0]: list(run)}
    used = [runs[one] for one in sorted({row[-1] for row in rows}) if one in runs]
    tables = [
        written([names, ["---"] * len(names), *lines]) for names, lines in ((COLUMNS, used), (tuple(columns), rows))
    ]
    return "\n".join([head, *tables])
