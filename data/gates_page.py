"""The page of the gates, docs/gates.md: what contracts expect, how severe it is, and the bad data that proves it."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from data.contracts import TABLES
from data.contracts.raw import FIELDS, raw_table
from data.contracts.schema import Table
from data.expectations import COMPARISONS, Expectation, Kind, expectations

HEAD = Path(__file__).parent / "templates" / "gates.md"
"""The page that people wrote; the tables are rendered below it."""

CORRUPTIONS: Mapping[Kind, str] = {
    "schema": "a column that the contract does not know",
    "not_null": "NULL in one row",
    "between": "one row beyond a limit, each in turn",
    "in_set": "a value outside the set in one row",
    "matches": "a value that is written otherwise in one row",
    "key_unique": "one row twice",
    "row_count": "one row less than the least",
    "references": "one row whose target is missing",
    "quarantine_share": "more rows set aside than the share allows",
    "freshness": "newest row a day older than the shop allows",
    "arrival": "newest row older than the longest usual wait and a day",
    "volume": "one row on a day that usually has sixty",
    "drift": "every row of a day alike, unlike the weeks before",
}
"""The corruption that proves each kind, as `tests/support/corruption.py` and `tests/data/test_drift.py` make it."""


def can_fail(contract: Table, one: Expectation) -> bool:
    """Whether bad data can fail an expectation: a count of rows without a least number is only plotted."""
    return one.kind != "row_count" or contract.min_rows > 0


def render() -> str:
    """The whole page.

    Returns:
        Markdown: the head, then one table per contract.
    """
    tables = [(f"`raw.SOURCE` (a source of kind `{kind}`)", raw_table("SOURCE", kind)) for kind in FIELDS]
    tables += [(f"`{table.key}`", table) for table in TABLES.values()]
    sections = ("\n".join(_section(title, table)) for title, table in tables)
    return "\n".join([HEAD.read_text(encoding="utf-8"), *sections])


def _section(title: str, contract: Table) -> Iterator[str]:
    yield f"### {title}\n"
    yield "| expectation | what it takes | severity | corruption | outcome |"
    yield "|---|---|---|---|---|"
    for one in expectations(contract):
        corruption, outcome = "none: no limit is declared", "always passes, is plotted"
        if can_fail(contract, one):
            warns = one.severity == "warning"
            corruption = CORRUPTIONS[one.kind]
            outcome = "it alone warns" if warns else "it alone fails; the batch is refused"
        if one.kind in COMPARISONS:
            outcome += "; refused where the shop says `block`"
        cells = (f"`{one.name}`", one.meaning.replace("|", "\\|"), one.severity, corruption, outcome)
        yield f"| {' | '.join(cells)} |"
    yield ""
