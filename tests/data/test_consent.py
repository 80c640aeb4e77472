"""Who agreed: the last word of a person counts, and one that cannot be read is a refusal, told and never a yes."""

import duckdb
import pyarrow as pa
import pytest

from data.contracts.raw import raw_table
from data.models import model
from data.shop.staging import MISSING_KEY

LACKING = "lacking"
"""A JSON line without the key of the consent."""
CASES = {
    "yes": (["yes"], True),
    "no": (["no"], False),
    "not asked": ([None], True),
    "the last word counts": (["yes", "no"], False),
    "also when it is yes": (["no", "Yes"], True),
    "unreadable": (["maybe"], False),
    "unreadable after a yes": (["yes", "maybe"], False),
    "unreadable before a yes": (["maybe", "yes"], True),
    "empty": ([" "], False),
    "no key of it": ([LACKING], False),
    "no key of it after a yes": (["yes", LACKING], False),
    "no key of it before a yes": ([LACKING, "yes"], True),
}


@pytest.mark.parametrize("case", CASES)
def test_the_last_word_of_a_person_counts_and_what_cannot_be_read_is_no(case):
    words, agreed = CASES[case]
    rows = [
        {"user_id": "u_1", "attributes": "{}", "source": "members", "file": f"{n}.csv", "line": 1}
        | ({"fault": MISSING_KEY} if word == LACKING else {"consent": word})
        for n, word in enumerate(words)
    ]
    landed = pa.Table.from_pylist(rows, schema=raw_table("members", "users").arrow_schema())
    with duckdb.connect() as connection:
        connection.execute("create schema landed")
        connection.register("rows_that_landed", landed)
        connection.execute("create table landed.users as select * from rows_that_landed")
        checked = model("core/users_checked", is_resolved=False, asking=["members"])
        connection.execute(f"create table users_checked as {checked}")
        assert connection.sql(model("core/users")).fetchall() == [("u_1", "{}", agreed)]
        told = connection.sql(
            "select count(*) from users_checked where reason in ('unparsable_consent', 'missing_key')"
        )
        assert told.fetchall() == [(sum(word in ("maybe", " ", LACKING) for word in words),)]


def test_a_line_that_lacks_another_key_refuses_nothing_where_its_source_asks_for_no_consent():
    row = {"user_id": "u_1", "attributes": "{}", "source": "loyalty", "file": "a", "line": 1, "fault": MISSING_KEY}
    landed = pa.Table.from_pylist([row], schema=raw_table("loyalty", "users").arrow_schema())
    with duckdb.connect() as connection:
        connection.execute("create schema landed")
        connection.register("rows_that_landed", landed)
        connection.execute("create table landed.users as select * from rows_that_landed")
        checked = model("core/users_checked", is_resolved=False, asking=["members"])
        assert connection.sql(f"select reason, consents from ({checked})").fetchall() == [(MISSING_KEY, True)]
