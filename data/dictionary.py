"""The data dictionary: one Markdown page with every contract, rendered from the contracts and from nothing else."""

import re
from collections.abc import Iterator

from data.contracts import TABLES
from data.contracts.raw import FIELDS, raw_table
from data.contracts.reasons import REASONS
from data.contracts.schema import Column, Table
from data.expectations import COMPARISONS, expectations

HEAD = """\
# Data dictionary

Every published table, rendered from `data/contracts` by `portrait dictionary`; edit the contracts, not this page.

**Class** says whose rows a table may be made of: `public` facts; `per_user`, one person's own rows with releases and
public facts; `release`, many people's rows through the privacy ledger; `internal`, for operators only.
**Sensitivity** says what a column tells about a person: `pseudonym` (a keyed pseudonym), `personal` (a fact about one
person), `public` (by declaration), `operational` (bookkeeping).
"""

_SUFFIXES = (
    ("_at_utc", "instant, UTC"),
    ("_utc", "instant, UTC"),
    ("_days", "days"),
    ("_share", "share, 0 to 1"),
    ("_sha256", "SHA-256, hexadecimal"),
)
_NAMES = {"day": "day, UTC", "share": "share, 0 to 1"}


def unit_of(name: str) -> str:
    """The unit that a column's name says.

    Args:
        name: column name.

    Returns:
        The unit; empty where the name says none.
    """
    if name.startswith("n_"):
        return "count"
    if name.startswith("is_"):
        return "yes or no"
    if decayed := re.search(r"_(\d+)d$", name):
        return f"decayed, half-life {decayed[1]} days"
    return _NAMES.get(name) or next((unit for suffix, unit in _SUFFIXES if name.endswith(suffix)), "")


def render() -> str:
    """The whole page.

    Returns:
        Markdown with one section per contract: raw tables by kind of source, then all others by layer.
    """
    tables = [(f"`raw.SOURCE` (a source of kind `{kind}`)", raw_table("SOURCE", kind)) for kind in FIELDS]
    tables += [(f"`{table.key}`", table) for table in TABLES.values()]
    parts = [HEAD, *("\n".join(_section(title, table)) for title, table in tables)]
    return "\n".join([*parts, *_reasons()])


def _reasons() -> Iterator[str]:
    yield "## Reasons to set a row aside\n"
    yield "The quarantine tables carry them; `portrait quarantine list` counts them. A shop may add filters."
    yield "\n| reason | rows of | counts as a fault | meaning | remedy |"
    yield "|---|---|---|---|---|"
    for reason in REASONS:
        fault = "yes" if reason.is_fault else "no"
        yield f"| `{reason.name}` | {', '.join(reason.kinds)} | {fault} | {reason.meaning} | {reason.remedy} |"
    yield ""


def _section(title: str, table: Table) -> Iterator[str]:
    yield f"## {title}\n"
    yield f"{table.doc}\n"
    yield f"- Class: `{table.privacy}`"
    yield f"- Partitioned by: {'UTC day' if table.partition_by else 'nothing, replaced as a whole'}"
    past = f"{table.history_days} days" if table.history_days else "for ever"
    yield f"- Older versions are kept: {past}"
    yield f"- Key: {', '.join(f'`{name}`' for name in table.primary_key) or 'none'}"
    for reference in table.references:
        yield f"- Reference: `{reference.column}` stands in `{reference.table}.{reference.target}`"
    if table.min_rows:
        yield f"- Rows: at least {table.min_rows}"
    if table.max_quarantine_share is not None:
        share = f"{table.max_quarantine_share:.0%}"
        yield f"- Refused as a batch when more than {share} of its rows are set aside for a fault"
    for said in (one.meaning for one in expectations(table) if one.kind in COMPARISONS):
        yield f"- Warns: {said[0].lower()}{said[1:]}"
    yield "\n| column | type | unit | required | limits | sensitivity | meaning |"
    yield "|---|---|---|---|---|---|---|"
    yield from (_row(column) for column in table.columns)
    yield ""


def _row(column: Column) -> str:
    cells = (
        f"`{column.name}`",
        column.type,
        unit_of(column.name),
        "yes" if column.required else "",
        _limits(column),
        column.sensitivity,
        column.doc,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _limits(column: Column) -> str:
    said = []
    if column.minimum is not None:
        said.append(f"at least {column.minimum:,g}")
    if column.maximum is not None:
        said.append(f"at most {column.maximum:,g}")
    if column.one_of:
        said.append("one of " + ", ".join(f"`{value}`" for value in column.one_of))
    if column.pattern:
        said.append(f"`{column.pattern}`")
    return "; ".join(said)
