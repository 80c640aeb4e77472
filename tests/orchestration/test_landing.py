"""The decisions of the landing sensor, by themselves."""

import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.landing import Look, day_range, identity_of, is_same, read_cursor, run_key, write_cursor

SHA = "ab" * 32
LOOK = Look(size=3, changed_ns=1_700_000_000_000_000_000, identity=SHA)
START, END = date(2024, 1, 1), date(2024, 3, 31)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.text(max_size=20),
        st.builds(
            Look, size=st.integers(0, 2**60), changed_ns=st.integers(0, 2**62), identity=st.none() | st.just(SHA)
        ),
        max_size=5,
    )
)
def test_a_cursor_comes_back_as_it_was_written(looks):
    assert read_cursor(write_cursor(looks)) == looks


@given(st.text())
def test_any_text_is_taken_for_a_cursor_without_an_error(text):
    assert isinstance(read_cursor(text), dict)


@given(JSON)
def test_any_json_is_taken_for_a_cursor_without_an_error(value):
    assert all(isinstance(look, Look) for look in read_cursor(json.dumps(value)).values())


@pytest.mark.parametrize("text", [None, "", "{", "null", "[]", "[1, 2]", "3", '"x"', "[" * 100_000, '{"a": ' * 50_000])
def test_what_is_no_cursor_remembers_nothing(text):
    assert read_cursor(text) == {}


GOOD = {"size": 3, "changed_ns": 5}
DAMAGED = [None, 5, "x", [], {}, {"size": 3}, GOOD | {"size": "3"}, GOOD | {"size": -1}, GOOD | {"changed_ns": None}]


@pytest.mark.parametrize("look", [*DAMAGED, GOOD | {"identity": "short"}, GOOD | {"unknown": 1}])
def test_a_damaged_look_is_forgotten_and_the_others_are_kept(look):
    found = read_cursor(json.dumps({"bad": look, "good": LOOK.model_dump()}))
    assert found == {"good": LOOK}


def test_a_file_that_moves_is_not_complete():
    assert is_same(LOOK, LOOK)
    assert not is_same(LOOK, None)
    assert not is_same(LOOK, LOOK.model_copy(update={"size": 4}))
    assert not is_same(LOOK, LOOK.model_copy(update={"changed_ns": 4}))


def test_a_file_is_told_by_its_bytes_and_without_bytes_by_its_name_and_time():
    assert identity_of("tills/a.csv", LOOK, SHA) == identity_of("tills/b.csv", LOOK, SHA) == SHA
    empty = LOOK.model_copy(update={"size": 0})
    for look, sha in ((LOOK, None), (empty, SHA)):
        one = identity_of("tills/a.csv", look, sha)
        assert one == identity_of("tills/a.csv", look, sha) and len(one) == 64
        assert one != identity_of("tills/b.csv", look, sha)
        assert one != identity_of("tills/a.csv", look.model_copy(update={"changed_ns": 1}), sha)


def test_the_same_bytes_for_two_sources_are_two_launches():
    assert run_key("tills", SHA) != run_key("web", SHA)


@given(st.sets(st.dates(date(1960, 1, 1), date(2040, 1, 1)), max_size=10))
def test_a_run_covers_exactly_the_days_of_the_calendar_from_the_first_to_the_last(days):
    first, last = day_range(days, START, END)
    assert START <= first <= last <= END
    inside = {d for d in days if START <= d <= END}
    assert {first, last} <= inside if inside else (first, last) == (START, START)
    assert all(first <= d <= last for d in inside)
