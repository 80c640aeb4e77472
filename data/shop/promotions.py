"""From the lines of a promotions file to raw rows: lines that differ by their place alone are one row.

A shop says for every place what is promoted there, so that of a million lines most repeat one another. They are put
together while the file is read, in one pass over it, and nothing that they say is lost but their line numbers.
"""

from collections.abc import Mapping

from data.contracts.promotions import EVERYWHERE
from data.shop.columns import Column
from data.shop.instants import days_later_sql, instant_sql, says_clock
from data.shop.source import PROMOTED_BY, Source
from data.shop.staging import UNREADABLE, Staged, literal
from data.shop.timing import Time, Validity

_NO = ("0", "n", "no", "false")
"""What says that something is not so, in lower case, unless the shop file says otherwise."""
_LAST = "TIMESTAMP '9999-12-31 23:59:59'"
"""Shops write 9999-12-31 for no end; the day after it is no date that Python has."""
_WEEK = r"\s*(\d{1,4})(\.0+)?\s*"


def promotions_query(
    source: Source, staged: Staged, fields: Mapping[str, str], texts: Mapping[str, str], fault: str, shop_zone: str
) -> str:
    """Render raw promotions.

    What the file's own values mean is worked out after lines were put together, and of places once for each of them.

    Args:
        source: A source of promotions.
        staged: One of its files.
        fields: Contract column -> SQL expression of its text.
        texts: Source column -> SQL expression of its text.
        fault: SQL expression of the fault of a line.
        shop_zone: Zone of days and weeks, unless the source names one.

    Returns:
        SQL query: the columns of a raw table of promotions up to `fault`, and `line`, the first of the lines of a row.
    """
    valid = source.valid
    assert valid is not None, "the declaration of promotions always has it"
    start, end = ([texts[name] for name in valid.columns] + ["CAST(NULL AS VARCHAR)"])[:2]
    told = {name for key, column in source.columns.items() if key != "place" for name in column.sources}
    cells = sorted({staged.cells[name] for name in (*told, *valid.columns)} - {"NULL"})
    place = source.columns.get("place")
    cell = staged.cells[place.column] if place and place.column else "NULL"
    named = f"coalesce(nullif(trim({fields.get('place', 'NULL')}), ''), {literal(EVERYWHERE)})"
    begins, ends = _span(valid, shop_zone)
    return f"""
        WITH places AS MATERIALIZED (
            SELECT cell, place, CAST(dense_rank() OVER (ORDER BY place) AS INTEGER) AS number
            FROM (SELECT {cell} AS cell, {named} AS place FROM (SELECT DISTINCT {cell} FROM {staged.table}))
        ),
        put_together AS MATERIALIZED (
            SELECT {"".join(f"{name}, " for name in cells)}{fault} AS fault,
                -- A line that cannot be read has nothing to be told by but its number.
                CASE WHEN fault = {literal(UNREADABLE)} THEN line END AS own,
                list_sort(list_distinct(list(number))) AS numbers, count(*) AS n_lines, min(line) AS line
            FROM {staged.table} JOIN places ON {cell} IS NOT DISTINCT FROM cell GROUP BY ALL
        ),
        worded AS MATERIALIZED (
            SELECT {fields["item_id"]} AS item_id, {start} AS valid_from_text, {end} AS valid_until_text,
                {", ".join(f"{_way(source.columns.get(name), fields.get(name))} AS {name}" for name in PROMOTED_BY)},
                list_select((SELECT list(place ORDER BY place) FROM (SELECT DISTINCT place FROM places)), numbers)
                    AS places,
                n_lines, fault, line
            FROM put_together
        ),
        spans AS (
            SELECT valid_from_text, valid_until_text,
                CASE WHEN begins > {_LAST} THEN {_LAST} ELSE begins END AS valid_from_utc,
                CASE WHEN ends > {_LAST} THEN {_LAST} ELSE ends END AS valid_until_utc
            FROM (SELECT *, {begins} AS begins, {ends} AS ends
                FROM (SELECT DISTINCT valid_from_text, valid_until_text FROM worded))
        )
        SELECT w.item_id, s.valid_from_utc, w.valid_from_text, s.valid_until_utc, w.valid_until_text,
            coalesce(CAST(s.valid_from_utc AS DATE), DATE '1970-01-01') AS day,
            w.display, w.mailer, w.places, w.n_lines, w.fault, w.line
        FROM worded AS w JOIN spans AS s ON w.valid_from_text IS NOT DISTINCT FROM s.valid_from_text
            AND w.valid_until_text IS NOT DISTINCT FROM s.valid_until_text"""


def _way(column: Column | None, text: str | None) -> str:
    """Render what a code means, null where it says no."""
    if column is None or text is None:
        return "CAST(NULL AS VARCHAR)"
    absent = _NO if column.absent is None else tuple(word.strip().lower() for word in column.absent)
    no = f"lower(trim({text})) IN ({', '.join(map(literal, ('', *absent)))})"
    cases = "".join(f" WHEN {literal(code)} THEN {literal(label)}" for code, label in column.labels.items())
    said = f"CASE trim({text}){cases} ELSE trim({text}) END" if cases else f"trim({text})"
    return f"CASE WHEN NOT {no} THEN {said} END"


def _span(valid: Validity, shop_zone: str) -> tuple[str, str]:
    """Render the instants from which and until which a row is valid; a day that ends it counts whole."""
    zone = valid.timezone or shop_zone
    if valid.week is not None:
        number = f"CAST(regexp_extract(valid_from_text, {literal(_WEEK)}, 1) AS INTEGER)"
        is_week = f"regexp_full_match(valid_from_text, {literal(_WEEK)})"
        first = f"TIMESTAMP '{valid.week_one} 00:00:00'"

        def edge(weeks: str) -> str:
            monday = f"timezone({literal(zone)}, {first} + to_days(7 * ({weeks})))"
            return f"CASE WHEN {is_week} THEN try(timezone('UTC', {monday})) END"

        return edge(f"{number} - 1"), edge(number)
    begins = instant_sql(Time(column="", format=valid.format, timezone=zone), "valid_from_text", zone)
    if valid.days is not None:
        return begins, days_later_sql(begins, valid.days, zone)
    ends = instant_sql(Time(column="", format=valid.format, timezone=zone), "valid_until_text", zone)
    is_instant = says_clock(valid.format, "valid_until_text")
    return begins, f"CASE WHEN {is_instant} THEN {ends} ELSE {days_later_sql(ends, 1, zone)} END"
