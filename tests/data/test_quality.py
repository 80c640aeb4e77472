"""The gate: corrupt real rows in one respect, and exactly that expectation fails; a check that broke has not passed."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from data import gate, validation
from data.contracts.core import EVENTS
from data.contracts.schema import Column, Table
from data.engine import DuckDB
from data.expectations import expectation_names
from data.quality import batch_measures, prove
from data.verdicts import Measure, Verdict, failures, worst

PEOPLE = Table(
    key="t.people",
    doc="people",
    privacy="internal",
    columns=(
        Column(name="id", type="text", doc="id", required=True, pattern=r"p\d+"),
        Column(name="age", type="double", doc="age", minimum=0, maximum=150),
        Column(name="kind", type="text", doc="kind", one_of=("a", "b")),
    ),
    primary_key=("id",),
    min_rows=2,
    max_quarantine_share=0.1,
)


def good():
    return PEOPLE.conform(pa.table({"id": ["p1", "p2", "p3"], "age": [1.0, None, 99.0], "kind": ["a", "b", None]}))


def with_value(column, value):
    table = good()
    values = table.column(column).to_pylist()
    values[0] = value
    return table.set_column(table.column_names.index(column), column, pa.array(values, table.column(column).type))


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    with DuckDB(tmp_path_factory.mktemp("spill"), 1, "500MB").session() as one:
        yield one


@pytest.fixture(params=["core.people", "out.people"], ids=["by row", "by count"])
def verdicts(request, session):
    """Proves a table by both instruments: the contract's layer decides which."""
    contract = PEOPLE.model_copy(update={"key": request.param})

    def run(table, quarantined=0, measures=None):
        facts = batch_measures(contract, rows=table.num_rows, orphans={}, quarantined=quarantined)
        return prove(contract, table, facts if measures is None else measures, session)

    return run


def test_good_rows_pass_every_expectation_by_name(verdicts):
    found = verdicts(good())
    assert [v.check for v in found] == list(expectation_names(PEOPLE))
    assert all(v.passed for v in found) and failures(PEOPLE, found) is None


CORRUPTIONS = {
    "id_not_null": (lambda: with_value("id", None), 0),
    "id_matches": (lambda: with_value("id", "q1"), 0),
    "age_between": (lambda: with_value("age", -1.0), 0),
    "kind_in_set": (lambda: with_value("kind", "c"), 0),
    "key_unique": (lambda: with_value("id", "p2"), 0),
    "row_count": (lambda: good().slice(0, 1), 0),
    "quarantine_share": (good, 9),
    "schema": (lambda: good().set_column(1, "age", pc.cast(good().column("age"), pa.float32())), 0),
}


@pytest.mark.parametrize("check", CORRUPTIONS)
def test_exactly_the_corrupted_respect_fails(verdicts, check):
    make, quarantined = CORRUPTIONS[check]
    found = verdicts(make(), quarantined)
    assert [v.check for v in found if not v.passed] == [check]
    assert check in failures(PEOPLE, found)


PAIRED = PEOPLE.model_copy(update={"key": "core.people", "primary_key": ("id", "kind")})


def on_all_rows(table):
    """What Great Expectations says when every rule is judged on all rows."""
    return validation._validate(validation._frame(table), validation._rules(PAIRED))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t,
        lambda t: pa.concat_tables([t, t.slice(1, 1)]),
        lambda t: pa.concat_tables([t, with_value("id", "q1"), with_value("id", None)]),
        lambda t: t.set_column(0, "id", pa.nulls(3, pa.string())).set_column(2, "kind", pa.nulls(3, pa.string())),
        lambda t: t.slice(0, 0),
    ],
    ids=["good", "a key twice", "a pattern and a key", "no key at all", "no rows"],
)
def test_what_less_settles_comes_out_as_on_all_rows(session, change):
    """Patterns on distinct values and keys by digests find what, and count as, the rules on all rows do."""
    table = change(good())
    assert validation.prove_rows(PAIRED, table, session) == on_all_rows(table)


@pytest.mark.parametrize("key", ["core.people", "out.people"])
def test_keys_whose_digests_collide_are_judged_themselves(session, key):
    class Colliding:
        def register(self, key, data):
            session.register(key, data)

        def query(self, sql):
            return session.query(sql.replace("hash(id, kind)", "hash(7)"))

    contract = PAIRED.model_copy(update={"key": key, "min_rows": 0, "max_quarantine_share": None})
    for table, passed in ((good(), True), (pa.concat_tables([good(), good()]), False)):
        rows = [Measure(name="row_count", value=table.num_rows, minimum=0)]
        found = prove(contract, table, rows, Colliding())
        assert {v.check: v.passed for v in found}["key_unique"] is passed
        assert [v.check for v in found if not v.passed] == ([] if passed else ["key_unique"])


def test_rows_of_an_unknown_item_are_counted_each(session):
    session.register("core.items", pa.table({"item_id": ["a", "b"]}))
    rows = pa.table({"item_id": ["x", "a", None, "y", "x", "b"]})
    assert gate._orphans(EVENTS, rows, session) == {"item_id": 3}
    assert gate._orphans(EVENTS, rows.slice(1, 2), session) == {"item_id": 0}
    assert gate._orphans(EVENTS, rows.drop_columns(["item_id"]), session) == {}


def test_every_expectation_has_its_corruption():
    assert set(CORRUPTIONS) == set(expectation_names(PEOPLE))


def test_a_missing_column_breaks_its_checks_and_does_not_pass(verdicts):
    found = {v.check: v for v in verdicts(good().drop_columns(["age"]))}
    assert not found["age_between"].passed and found["age_between"].broke
    assert not found["schema"].passed


def test_a_check_that_did_not_run_has_not_passed(verdicts):
    found = {v.check: v for v in verdicts(good(), measures=[])}
    assert not found["row_count"].passed and found["row_count"].broke == "the check did not run"


def test_no_value_of_a_person_reaches_a_verdict(verdicts):
    found = verdicts(with_value("id", "secret-id"))
    assert "secret-id" not in str(found)


def test_a_measure_outside_its_interval_fails(verdicts):
    found = verdicts(good(), measures=[Measure(name="row_count", value=1, minimum=2)])
    assert not next(v for v in found if v.check == "row_count").passed


def broken(contract, check, session, table=None):
    """One verdict about a check that cannot run."""
    table = good() if table is None else table
    facts = batch_measures(contract, rows=table.num_rows, orphans={}, quarantined=0)
    found = prove(contract, table, facts, session)
    assert [v.check for v in found if not v.passed] == [check]
    return next(v for v in found if v.check == check), failures(contract, found)


@pytest.mark.parametrize("key", ["core.people", "out.people"])
def test_a_check_that_raises_has_not_passed_and_is_told_from_bad_data(session, key):
    """A pattern that no engine can compile: Great Expectations, or the engine, raises for real."""
    columns = [c.model_copy(update={"pattern": "p(["}) if c.name == "id" else c for c in PEOPLE.columns]
    contract = PEOPLE.model_copy(update={"key": key, "columns": tuple(columns)})
    verdict, said = broken(contract, "id_matches", session)
    assert verdict.broke and verdict.blocks and "unexpected_count" not in verdict.observed
    assert f"id_matches broke and says nothing about the data ({verdict.broke})" in said


def test_a_warning_that_fails_or_breaks_blocks_nothing(session):
    contract = PEOPLE.model_copy(update={"key": "core.people", "warns": ("age_between", "id_matches")})
    verdict, said = broken(contract, "age_between", session, with_value("age", -1.0))
    assert (verdict.severity, verdict.broke, said) == ("warning", None, None)
    columns = [c.model_copy(update={"pattern": "p(["}) if c.name == "id" else c for c in PEOPLE.columns]
    verdict, said = broken(contract.model_copy(update={"columns": tuple(columns)}), "id_matches", session)
    assert verdict.broke and said is None


def test_a_misspelt_warning_is_named():
    with pytest.raises(ValueError, match="age_betwen"):
        expectation_names(PEOPLE.model_copy(update={"warns": ("age_betwen",)}))


def test_an_error_s_values_do_not_reach_a_verdict(session):
    contract = PEOPLE.model_copy(update={"key": "core.people"})
    ages = good().set_column(1, "age", pa.array(["1", "secret", "2"]))
    facts = batch_measures(contract, rows=3, orphans={}, quarantined=0)
    found = {v.check: v for v in prove(contract, ages, facts, session)}
    assert found["age_between"].broke and "secret" not in str(found)


def test_of_several_batches_the_failure_is_kept_and_the_latest_otherwise():
    def verdict(check, passed, n):
        return Verdict(check=check, passed=passed, broke=None, observed={"n": n})

    one = [verdict("a", False, 1), verdict("b", True, 1)]
    two = [verdict("a", True, 2), verdict("b", True, 2)]
    assert [(v.passed, v.observed["n"]) for v in worst(one, two)] == [(False, 1), (True, 2)]
