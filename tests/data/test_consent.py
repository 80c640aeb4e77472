"""Who agreed: the last word of a person counts, and one that cannot be read is a refusal, told and never a yes."""

import duckdb
import pyarrow as pa
import pytest

from data.contracts.raw import raw_table
from data.models import model

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
}


@pytest.mark.parametrize("case", CASES)
def test_the_last_word_of_a_person_counts_and_what_cannot_be_read_is_no(case):
    words, agreed = CASES[case]
    rows = [
        {"user_id": "u_1", "attributes": "{}", "consent": word, "source": "members", "file": f"{n}.csv", "line": 1}
        for n, word in enumerate(words)
    ]
    landed = pa.Table.from_pylist(rows, schema=raw_table("members", "users").arrow_schema())
    with duckdb.connect() as connection:
        connection.execute("create schema landed")
        connection.register("rows_that_landed", landed)
        connection.execute("create table landed.users as select * from rows_that_landed")
        checked = model("core/users_checked", is_resolved=False)
        connection.execute(f"create table users_checked as {checked}")
        assert connection.sql(model("core/users")).fetchall() == [("u_1", "{}", agreed)]
        told = connection.sql("select count(*) from users_checked where reason = 'unparsable_consent'").fetchall()
        assert told == [(sum(word in ("maybe", " ") for word in words),)]
