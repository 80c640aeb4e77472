"""The data dictionary page is what the contracts render, and it lacks nothing."""

from typing import get_args

from data import gates_page
from data.contracts import TABLES
from data.contracts.raw import FIELDS
from data.contracts.schema import Column, Table
from data.dictionary import render, unit_of
from data.expectations import Kind
from data.settings import REPOSITORY


def test_the_committed_page_is_what_the_contracts_render():
    page = (REPOSITORY / "docs" / "data-dictionary.md").read_text(encoding="utf-8")
    assert page == render(), "a contract changed; run `portrait dictionary`"


def test_the_committed_page_of_gates_is_what_the_contracts_render():
    page = (REPOSITORY / "docs" / "gates.md").read_text(encoding="utf-8")
    assert page == gates_page.render(), "a contract changed; run `portrait dictionary`"


def test_every_kind_of_expectation_is_explained_with_its_corruption():
    assert set(gates_page.CORRUPTIONS) == set(get_args(Kind))


def test_every_table_has_a_section_with_all_its_columns():
    sections = {text.splitlines()[0]: text for text in render().split("\n## ")[1:]}
    assert len(sections) == len(TABLES) + len(FIELDS) + 1, "and the reasons"
    for key, table in TABLES.items():
        section = sections[f"`{key}`"]
        assert table.doc in section and f"Class: `{table.privacy}`" in section
        rows = [line for line in section.splitlines() if line.startswith("| `")]
        assert [row.split("`")[1] for row in rows] == list(table.names)


def test_limits_references_and_units_are_written_out(monkeypatch):
    table = Table(
        key="core.probe",
        doc="A probe.",
        privacy="internal",
        columns=(
            Column(name="age_days", type="double", doc="Age | in days.", minimum=0, maximum=1e6, required=True),
            Column(name="kind", type="text", doc="Kind.", one_of=("a", "b"), sensitivity="public"),
        ),
        primary_key=("kind",),
        history_days=7,
        max_quarantine_share=0.05,
    )
    monkeypatch.setitem(TABLES, "core.probe", table)
    page = render()
    assert "| `age_days` | double | days | yes | at least 0; at most 1e+06 | personal | Age \\| in days. |" in page
    assert "| `kind` | text |  |  | one of `a`, `b` | public | Kind. |" in page
    assert "- Older versions are kept: 7 days" in page and "more than 5% of its rows" in page
    assert "- Reference: `item_id` stands in `core.items.item_id`" in page


def test_units_are_read_off_names():
    names = ("recency_days", "n_events", "occurred_at_utc", "is_available", "decayed_104d", "discount_share", "title")
    assert [unit_of(name) for name in names] == [
        "days",
        "count",
        "instant, UTC",
        "yes or no",
        "decayed, half-life 104 days",
        "share, 0 to 1",
        "",
    ]
