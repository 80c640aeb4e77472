"""The portable subset: macros against Python's own reading of the same texts, the lint rule by rule, lineage."""

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError

from data import macros
from data.macros import render
from data.portable import column_lineage, lint, tables, to_spark


@pytest.fixture(scope="module")
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": "1"}) as connection:
        connection.execute("set TimeZone = 'America/New_York'")  # naive UTC must not depend on it
        yield connection


def read(duck: duckdb.DuckDBPyConnection, macro: str, text: str | None) -> object:
    sql = render("select {{ macro('t') }} from (select cast($t as varchar) as t)", macro=macros.MACROS[macro])
    return duck.execute(sql, {"t": text}).fetchone()[0]


TRAPS = ["1e3", "1.5", "0x10", "1_000", "1d", "1f", "inf", "-inf", "nan", "NaN", "Infinity", "", " ", "１２", "12\n",
         "\u00a012", "1,5", "--1", "1e400", ".", "e5", "12abc", None]  # fmt: skip


@pytest.mark.parametrize(("text", "number"), [(" 12 ", 12), ("+5", 5), ("-5", -5), ("007", 7), ("9" * 18, 10**18 - 1)])
def test_safe_bigint_reads_integers(duck: duckdb.DuckDBPyConnection, text: str, number: int) -> None:
    assert read(duck, "safe_bigint", text) == number


@pytest.mark.parametrize("text", [*TRAPS, "9223372036854775808"])
def test_safe_bigint_refuses_traps(duck: duckdb.DuckDBPyConnection, text: str | None) -> None:
    assert read(duck, "safe_bigint", text) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [(" 12 ", 12.0), ("1e3", 1000.0), ("1.5", 1.5), (".5", 0.5), ("5.", 5.0), ("-2.5E-3", -0.0025), ("+7", 7.0)],
)
def test_safe_double_reads_numbers(duck: duckdb.DuckDBPyConnection, text: str, number: float) -> None:
    assert read(duck, "safe_double", text) == number


@pytest.mark.parametrize(
    ("text", "shown"), [("a", "***"), ("ann", "a***"), ("anna", "an***"), ("member17", "mem***"), ("", "***")]
)
def test_masked_shows_no_more_than_half_of_a_text(duck: duckdb.DuckDBPyConnection, text: str, shown: str) -> None:
    assert read(duck, "masked", text) == shown and len(shown) - 3 <= len(text) / 2


@pytest.mark.parametrize("text", [t for t in TRAPS if t not in ("1e3", "1.5")])
def test_safe_double_refuses_traps(duck: duckdb.DuckDBPyConnection, text: str | None) -> None:
    assert read(duck, "safe_double", text) is None


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2017-01-02", datetime(2017, 1, 2)),
        (" 2017-01-02 03:04 ", datetime(2017, 1, 2, 3, 4)),
        ("2017-01-02T03:04:05", datetime(2017, 1, 2, 3, 4, 5)),
        ("2017-01-02T03:04:05Z", datetime(2017, 1, 2, 3, 4, 5)),
        ("2019-10-01 00:00:00 UTC", datetime(2019, 10, 1)),
        ("2017-01-02T03:04:05+02:00", datetime(2017, 1, 2, 1, 4, 5)),
        ("2017-01-01T00:30:00+0200", datetime(2016, 12, 31, 22, 30)),
        ("2017-01-02 03:04:05-05", datetime(2017, 1, 2, 8, 4, 5)),
        ("2017-01-02T23:04:05.25-05:30", datetime(2017, 1, 3, 4, 34, 5, 250000)),
        ("2020-02-29", datetime(2020, 2, 29)),
    ],
)
def test_safe_timestamp_reads_utc(duck: duckdb.DuckDBPyConnection, text: str, time: datetime) -> None:
    assert read(duck, "safe_timestamp", text) == time


@pytest.mark.parametrize(
    "text",
    ["2017-02-30", "2019-02-29", "2017-13-01", "2017-00-10", "2017-1-2", "20170102", "2017-01-02 24:00:00",
     "2017-01-02 25:00", "2017-01-02 23:59:60", "infinity", "epoch", "now", "0000-01-01", "99999-01-01", "", None,
     "2017-01-02 03:04:05 America/New_York", "2017-01-02+02:00", "2017-01-02T03:04:05+15:00", "2017-01-02\n"],
)  # fmt: skip
def test_safe_timestamp_refuses_traps(duck: duckdb.DuckDBPyConnection, text: str | None) -> None:
    assert read(duck, "safe_timestamp", text) is None


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.one_of(st.text(alphabet="0123456789+-.eE_xdf nai,", max_size=12), st.floats(-1e20, 1e20).map(repr)))
def test_guards_agree_with_python(duck: duckdb.DuckDBPyConnection, text: str) -> None:
    bare = text.strip(" ")
    is_integer = re.fullmatch(r"[+-]?[0-9]{1,18}", bare)
    assert read(duck, "safe_bigint", text) == (int(bare) if is_integer else None)
    is_number = re.fullmatch(r"[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,2})?", bare)
    found = read(duck, "safe_double", text)
    if is_number:
        assert isinstance(found, float) and math.isfinite(found)
        assert found == pytest.approx(float(bare), rel=1e-15)
    else:
        assert found is None


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.datetimes(datetime(1900, 1, 2), datetime(2100, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_safe_timestamp_agrees_with_python(duck: duckdb.DuckDBPyConnection, local: datetime, offset: int) -> None:
    sign, (hours, minutes) = "-" if offset < 0 else "+", divmod(abs(offset), 60)
    text = f"{local.isoformat()}{sign}{hours:02d}:{minutes:02d}"
    expected = datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)
    assert read(duck, "safe_timestamp", text) == expected


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.datetimes(datetime(1950, 1, 1), datetime(2050, 1, 1)), st.integers(-(10**8), 10**8))
def test_time_macros_agree_with_python(duck: duckdb.DuckDBPyConnection, start: datetime, seconds: int) -> None:
    end = start.replace(microsecond=0) + timedelta(seconds=seconds)
    age = macros.elapsed_s("a", "b")
    sql = (
        f"select {macros.iso_weekday('a')}, {age}, {macros.decay(age, 28)} "
        "from (select cast($a as timestamp) as a, cast($b as timestamp) as b)"
    )
    weekday, elapsed, factor = duck.execute(sql, {"a": start, "b": end}).fetchone()
    assert (weekday, elapsed) == (start.isoweekday(), float(seconds))
    assert factor == pytest.approx(2.0 ** (-seconds / (28 * 86400)), rel=1e-12)


def test_decay_refuses_a_half_life_of_zero() -> None:
    with pytest.raises(ValueError, match="half_life_days is 0"):
        macros.decay("age", 0)


def test_render_refuses_unknown_names() -> None:
    with pytest.raises(UndefinedError, match="layer"):
        render("select a from {{ layer }}.events")


@pytest.mark.parametrize("macro", ["safe_bigint", "safe_double", "safe_timestamp", "iso_weekday", "rank_key"])
def test_macros_pass_the_lint_and_translate(macro: str) -> None:
    sql = render("select {{ macro('e.x') }} as y from raw.events as e", macro=macros.MACROS[macro])
    assert lint(sql) == []
    assert "FROM raw.events AS e" in to_spark(sql)


def test_spark_text_of_a_guard() -> None:
    spark = to_spark(f"select {macros.safe_bigint('a')} as a from raw.t")
    assert r"TRIM(' ' FROM a) RLIKE '^[+-]?[0-9]{1,18}\\z'" in spark
    assert "TRY_CAST(TRIM(' ' FROM a) AS BIGINT)" in spark


REFUSED = {
    "select dayofweek(a)": "weekday",
    "select isodow(a)": "weekday",
    "select week(a)": "weekday",
    "select weekday(a)": "weekday",
    "select extract(isodow from a)": "extract",
    "select extract(week from a)": "extract",
    "select date_diff('hour', a, b)": "date_diff",
    "select datediff('minute', a, b)": "date_diff",
    "select date_diff('day', a, date_trunc('day', b))": "date_diff",
    "select date_diff('day', a, timestamp '2017-01-01 10:00:00')": "date_diff",
    "select date_sub('day', a, b)": "date_sub",
    "select cast(a as date) - date '2017-01-01'": "date_minus_date",
    "select epoch(a)": "epoch",
    "select epoch_us(a)": "epoch",
    "select log(a)": "log",
    "select round(a, 2)": "round",
    "select a / 30.0": "decimal_literal",
    "select a / b": "division",
    "select a // b": "division",
    "select a % b": "division",
    "select a / 0": "division",
    "select a / (24e0 * b)": "division",
    "select percentile_cont(5e-1) within group (order by a) from t": "quantile",
    "select quantile_cont(a, 5e-1) from t": "quantile",
    "select approx_quantile(a, 5e-1) from t": "quantile",
    "select approx_count_distinct(a) from t": "approximate",
    "select corr(a, b) from t": "corr",
    "select try_cast(a as bigint)": "try_cast",
    "select case when regexp_matches(trim(a, ' '), '.') then try_cast(trim(a, ' ') as bigint) end": "try_cast",
    "select cast(cast(a as double) as varchar)": "double_to_text",
    "select * from a asof join b on a.t >= b.t": "asof_join",
    "select row_number() over (partition by a) from t": "window_order",
    "select lag(b ignore nulls) over (partition by a) from t": "window_order",
    "select any_value(a) from t": "arbitrary",
    "select first(a) from t": "arbitrary",
    "select a from t using sample 10%": "arbitrary",
    "select string_agg(a, ',') from t": "list_order",
    "select array_agg(a order by b) from t": "list_order",
    "select l[1:3] from t": "slice",
    "select a from t limit 3": "limit_order",
    "select now()": "nondeterministic",
    "select current_date": "nondeterministic",
    "select current_timestamp": "nondeterministic",
    "select random()": "nondeterministic",
    "select uuid()": "nondeterministic",
    "select cast(a as timestamptz)": "time_zone",
    "select a at time zone 'UTC'": "time_zone",
    "select regexp_full_match(a, 'x')": "regexp_full_match",
    "select a from read_parquet('x')": "file",
    "select isfinite(a)": "unknown_function",
    "select a*1e0+0.5e0": "tight_exponent",
    "select floor(a*100e0-0.5e0)": "tight_exponent",
}


@pytest.mark.parametrize(("sql", "rule"), REFUSED.items())
def test_lint_refuses(sql: str, rule: str) -> None:
    assert [fault.rule for fault in lint(sql)] == [rule]
    with pytest.raises(ValueError, match=re.escape(lint(sql)[0].excerpt)):
        to_spark(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select a * 1e0 + 0.5e0, 'x1e0+2', 1e-5 + 2 -- 1e0+2",
        "select a / nullif(b, 0), a / 3e0, a / (24e0 * 3600e0), a % 7, cast(0.5 as double)",
        "select date_diff('second', a, b), date_diff('day', date_trunc('day', a), date '2017-01-01')",
        "select ln(a), log10(a), round(cast(a as decimal(18, 2)), 1), extract(hour from a), cast(a as varchar)",
        "select a from t qualify row_number() over (partition by b order by c, d) = 1",
        "select a, sum(b) over (partition by c) from t order by a limit 5",
        "select a, list_sort(array_agg(b)), arg_max(b, c), median(c) from t group by all",
        "select count(*) filter (where a > 1), strftime(a, '%Y-%m'), split_part(b, ' > ', 1) from t",
    ],
)
def test_lint_passes_the_portable_subset(sql: str) -> None:
    assert lint(sql) == []


def test_every_fault_of_a_model_is_reported() -> None:
    faults = lint("select log(a), a / b from t limit 1")
    assert {fault.rule for fault in faults} == {"log", "division", "limit_order"}


@pytest.mark.parametrize(("sql", "message"), [("selec 1", "not DuckDB SQL"), ("select 1; select 2", "2 statements")])
def test_lint_raises_on_what_is_no_model(sql: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lint(sql)


SCHEMAS = {
    "core.events": {"user_id": "VARCHAR", "item_id": "VARCHAR", "quantity": "DOUBLE", "day": "DATE"},
    "core.items": {"item_id": "VARCHAR", "brand": "VARCHAR"},
}
MODEL = """
with e as (
    select user_id, item_id, quantity * 2e0 as q, row_number() over (partition by user_id order by day, item_id) as n
    from core.events
), j as (
    select e.user_id, i.brand, sum(e.q) as s, max(e.n) as n, count(*) as rows
    from e left join core.items as i using (item_id)
    group by all
)
select user_id, coalesce(brand, user_id) as label, s / nullif(n, 0) as mean, rows, 'x' as c from j
union all
select user_id, item_id, 0e0, 1, 'y' from e
"""


def test_tables_leaves_out_ctes() -> None:
    assert tables(MODEL) == ("core.events", "core.items")


def test_column_lineage_through_ctes_windows_and_unions() -> None:
    user, day = ("core.events", "user_id"), ("core.events", "day")
    item, quantity = ("core.events", "item_id"), ("core.events", "quantity")
    assert column_lineage(MODEL, SCHEMAS) == {
        "user_id": [user],
        "label": [item, user, ("core.items", "brand")],
        "mean": sorted([day, item, quantity, user]),
        "rows": [],
        "c": [],
    }
    assert column_lineage("select * from core.items", SCHEMAS)["brand"] == [("core.items", "brand")]


def test_column_lineage_names_the_unknown_column() -> None:
    with pytest.raises(ValueError, match="'colour' could not be resolved"):
        column_lineage("select colour from core.items", SCHEMAS)
