"""Evidence of a day: a run of some parts leaves what other runs of that day say about the others."""

from tests.support.evidence import COLUMNS, merged, read_table

PARTS = ("table", "outcome", "run")
ORDER = ["a", "b", "c"]
FIRST = ("10:00:00", "abc", "`make prove`", "2 of 2")
SECOND = ("11:00:00", "def and changes", '`PORTRAIT_GATES="b" make prove`', "1 of 1")


def page(before, parts, run, order=ORDER):
    return merged(before, "# Head\n", PARTS, {key: [value] for key, value in parts.items()}, run, order)


def test_a_run_replaces_its_own_parts_and_no_others():
    text = page(page("", {"a": "fell", "b": "fell"}, FIRST), {"c": "held", "b": "held"}, SECOND)
    assert text.startswith("# Head\n")
    assert read_table(text, PARTS) == {
        "a": ["a", "fell", FIRST[0]],
        "b": ["b", "held", SECOND[0]],
        "c": ["c", "held", SECOND[0]],
    }
    assert list(read_table(text, PARTS)) == ORDER
    assert read_table(text, COLUMNS) == {run[0]: list(run) for run in (FIRST, SECOND)}


def test_a_run_that_no_part_comes_from_any_more_is_dropped():
    text = page(page("", {"a": "fell"}, FIRST), {"a": "held"}, SECOND)
    assert list(read_table(text, COLUMNS)) == [SECOND[0]]


def test_a_run_may_write_again_and_a_part_that_is_no_more_goes():
    text = page(page("", {"a": "held", "b": "held"}, FIRST), {"a": "held"}, (*FIRST[:3], "1 of 1"), ["a"])
    assert list(read_table(text, PARTS)) == ["a"]
    assert read_table(text, COLUMNS)[FIRST[0]][-1] == "1 of 1"


def test_a_page_of_another_form_is_no_table():
    assert read_table("# Head\n\n| table | outcome |\n|---|---|\n| a | held |\n", PARTS) == {}
