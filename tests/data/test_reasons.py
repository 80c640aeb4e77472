"""Every reason that the SQL gives is declared, every declared one is given, and each has a remedy."""

from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from data.contracts.reasons import BOOKKEEPING, REASONS, declared_for, reason_of
from data.core import events_sql, rows_sql
from data.dictionary import render
from data.identity import TOO_LARGE, TWO_PEOPLE, identities_sql
from data.promotions import promotions_sql
from data.quarantine import reasons_of, totals
from data.shop.staging import MISSING_KEY, UNREADABLE
from tests.support.shops import YAML, workspace_of, write_shop

NO_FAULTS = {"duplicate", "superseded", "cancelled", "not_authenticated", TOO_LARGE, TWO_PEOPLE}
DECIDING = ("fault_found", "outcome", "reason", "final_reason")
"""Columns of the models in which reasons are given."""


def given(sql: str) -> set[str]:
    """Every literal that a deciding column of a query can come out as."""
    found = set()
    for alias in sqlglot.parse_one(sql, dialect="duckdb").find_all(exp.Alias):
        if alias.alias in DECIDING:
            outcomes = [case.args["true"] for case in alias.this.find_all(exp.If)]
            found |= {outcome.name for outcome in outcomes if isinstance(outcome, exp.Literal)}
    return found


@pytest.fixture
def workspace(tmp_path):
    rules = "    filters:\n      - {column: what, drop_values: [gift], reason: gift}\n"
    return workspace_of(
        write_shop(tmp_path / "shop", yaml=YAML.replace("    time: at\n", f"    time: at\n{rules}")), tmp_path
    )


@pytest.mark.parametrize("kind", ["events", "items", "users", "promotions"])
def test_declared_reasons_are_those_that_the_sql_and_the_reader_give(workspace, kind):
    by_day = {"events": lambda: events_sql(workspace), "promotions": promotions_sql}
    sql = by_day[kind]() if kind in by_day else rows_sql(workspace.shop, kind)
    repeats = {"repeated"} if kind == "items" else set()  # of a catalogue row: counted, not set aside
    assert given(sql["checked"]) | {UNREADABLE, MISSING_KEY} == {reason.name for reason in declared_for(kind)} | repeats


def test_declared_reasons_of_edges_are_those_of_rows_and_of_what_they_would_join():
    found = given(identities_sql()["checked"]) | {UNREADABLE, MISSING_KEY, TOO_LARGE, TWO_PEOPLE}
    assert found == {reason.name for reason in declared_for("identities")}


def test_a_reason_that_nobody_declared_would_be_found():
    assert given("select case when a then 'new_reason' when b is null then c end as reason from t") == {"new_reason"}


def test_each_reason_is_declared_once_with_meaning_and_remedy():
    names = [reason.name for reason in REASONS]
    assert len(names) == len(set(names)) and set(BOOKKEEPING) == NO_FAULTS
    for reason in REASONS:
        assert reason.meaning.endswith(".") and reason.remedy and not reason.remedy.endswith(".")


def test_a_filter_s_reason_is_no_fault_and_is_counted_like_the_others(workspace):
    assert reasons_of(workspace.shop, "events")[-1] == "gift" and "gift" not in reasons_of(workspace.shop, "items")
    assert not reason_of("gift").is_fault and reason_of("unknown_item").is_fault
    assert set(totals(workspace, "events").values()) == {0}


def test_the_dictionary_names_every_reason_with_its_remedy():
    page = render()
    for reason in REASONS:
        assert f"| `{reason.name}` |" in page and reason.remedy in page
    assert page == (Path(__file__).parents[2] / "docs" / "data-dictionary.md").read_text(encoding="utf-8")
