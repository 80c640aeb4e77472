"""From the text of a time to an instant in UTC, as SQL that never raises; the SQL runs on DuckDB alone."""

from data.shop.staging import literal
from data.shop.timing import UNIX_FORMATS, Time

_UNIX_LIMIT_S = 253402300800  # the year 10000, in seconds: DuckDB raises an error far beyond
_OFFSET = r":\d{2}(\.\d+)?\s*(Z|[A-Z]{3,4}|[A-Z][A-Za-z]+(/[A-Za-z_]+)+|[+-]\d{2}(:?\d{2})?)\s*$"


def instant_sql(time: Time, text: str, shop_zone: str) -> str:
    """Render the parsing of a time.

    Args:
        time: How it is written.
        text: SQL expression of the text.
        shop_zone: Zone of times without an offset, unless `time` names one.

    Returns:
        SQL expression: TIMESTAMP in UTC, NULL for whatever does not parse; never an error.
    """
    if time.format in UNIX_FORMATS:
        bound = _UNIX_LIMIT_S * UNIX_FORMATS[time.format]
        scale = 1_000_000 // UNIX_FORMATS[time.format]
        number = f"try_cast({text} AS DECIMAL(28, 6))"
        return f"CASE WHEN abs({number}) < {bound} THEN make_timestamp(CAST({number} * {scale} AS BIGINT)) END"
    zone = literal(time.timezone or shop_zone)
    if time.format != "iso":
        parsed = f"try(try_strptime({text}, {literal(time.format)}))"
        return f"try(timezone('UTC', {_localised(parsed, zone, any(z in time.format for z in ('%z', '%Z')))}))"
    local = _localised(f"try_cast({text} AS TIMESTAMP)", zone, False)
    instant = (
        f"CASE WHEN regexp_matches({text}, {literal(_OFFSET)}) THEN try_cast({text} AS TIMESTAMPTZ) ELSE {local} END"
    )
    # DuckDB also reads words (epoch, infinity) as times.
    return f"CASE WHEN regexp_matches({text}, '^\\s*\\d{{4}}-') THEN try(timezone('UTC', {instant})) END"


def _localised(timestamp: str, zone: str, has_offset: bool) -> str:
    return f"CAST({timestamp} AS TIMESTAMPTZ)" if has_offset else f"timezone({zone}, {timestamp})"


def days_later_sql(instant: str, days: int, zone: str) -> str:
    """Render the same time of day some days later, as the clocks of a zone tell it.

    Args:
        instant: SQL expression of a TIMESTAMP in UTC.
        days: How many days.
        zone: Name of the zone.

    Returns:
        SQL expression: TIMESTAMP in UTC; a day on which the clocks change has 23 or 25 hours.
    """
    local = f"timezone({literal(zone)}, timezone('UTC', {instant}))"
    return f"try(timezone('UTC', timezone({literal(zone)}, {local} + to_days({days}))))"


def says_clock(format: str, text: str) -> str:
    """Render whether a text that parses tells a time of day, not a day alone.

    Args:
        format: As `Time.format`.
        text: SQL expression of the text.

    Returns:
        SQL expression of a BOOLEAN.
    """
    if format == "iso":
        return f"regexp_matches({text}, ':\\d{{2}}')"
    clocks = ("%H", "%I", "%c", "%X", "%-H", "%-I")
    return str(format in UNIX_FORMATS or any(mark in format for mark in clocks)).lower()
