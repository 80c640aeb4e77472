"""SQL macros that mean the same on DuckDB and on Spark, and the templates that call them.

Each macro is a function from SQL text to SQL text; `render` makes them callable in a template. No SQL runs here.
"""

from collections.abc import Callable, Mapping
from functools import cache, lru_cache

from jinja2 import Environment, StrictUndefined, Template

# Whole-text patterns end in \z, for Java's $ also matches before a final line break; trim names its character,
# for DuckDB's bare trim strips every Unicode space and Spark's only U+0020.
_BIGINT = r"^[+-]?[0-9]{1,18}\z"
_DOUBLE = r"^[+-]?([0-9]{1,30}([.][0-9]{0,30})?|[.][0-9]{1,30})([eE][+-]?[0-9]{1,2})?\z"
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,6})?)?"
_ZONE = r"Z|UTC|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?"
_TIMESTAMP = rf"^[12][0-9]{{3}}-[01][0-9]-[0-3][0-9]([T ]{_CLOCK}( ?({_ZONE}))?)?\z"
_LOCAL = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]+)?"
_OFFSET = r":[0-9.]+ ?([+-])([0-9]{2}):?([0-9]{2})?\z"


def safe_bigint(column: str) -> str:
    """A text as a BIGINT, or NULL where it is not a plain integer of at most 18 digits.

    Args:
        column: a SQL expression of type text.

    Returns:
        SQL text. `' 12 '`, `'+5'` and `'007'` are numbers; `'1e3'`, `'1.5'`, `'0x10'`, `'1_000'` and `''` are NULL.
    """
    text = f"trim({column}, ' ')"
    return f"case when regexp_matches({text}, '{_BIGINT}') then try_cast({text} as bigint) end"


def safe_double(column: str) -> str:
    """A text as a finite DOUBLE, or NULL where it is not a plain decimal number.

    Args:
        column: a SQL expression of type text.

    Returns:
        SQL text. `'1e3'`, `'1.5'`, `'.5'` and `' 12 '` are numbers; `'0x10'`, `'1_000'`, `'1d'`, `'inf'`, `'nan'`, `''`
        and exponents of three digits (which could overflow to infinity) are NULL.
    """
    text = f"trim({column}, ' ')"
    return f"case when regexp_matches({text}, '{_DOUBLE}') then try_cast({text} as double) end"


def safe_timestamp(column: str) -> str:
    """A text as a naive UTC TIMESTAMP, or NULL where it is not an ISO 8601 calendar time between 1000 and 2999.

    A zone (`Z`, `UTC`, `+02`, `+0200`, `+02:00`) is taken off the time, since a plain cast silently drops it; a text
    without a zone is read as UTC. Dates that no calendar has (2017-02-30), 24:00 and leap seconds are NULL.

    Args:
        column: a SQL expression of type text.

    Returns:
        SQL text.
    """
    text = f"trim({column}, ' ')"
    sign, hours, minutes = (f"regexp_extract({text}, '{_OFFSET}', {group})" for group in (1, 2, 3))
    hours, minutes = (f"coalesce(try_cast({sign} || {part} as integer), 0)" for part in (hours, minutes))
    local = f"try_cast(regexp_extract({text}, '{_LOCAL}', 0) as timestamp)"
    utc = f"{local} - interval '1' minute * ({hours} * 60 + {minutes})"
    return f"case when regexp_matches({text}, '{_TIMESTAMP}') then {utc} end"


def iso_weekday(timestamp: str) -> str:
    """ISO weekday of a timestamp or date, 1 (Monday) to 7, as SQL text; also before 1970."""
    days = f"date_diff('day', timestamp '1970-01-05', date_trunc('day', {timestamp}))"
    return f"(({days} % 7 + 7) % 7 + 1)"


def elapsed_s(start: str, end: str) -> str:
    """Whole seconds from `start` to `end` as a DOUBLE, as SQL text; both are first cut to the second.

    The cut makes the two engines agree: on fractions of a second one counts boundaries, the other elapsed time.
    """
    return f"cast(date_diff('second', date_trunc('second', {start}), date_trunc('second', {end})) as double)"


def decay(age_s: str, half_life_days: float) -> str:
    """The factor `2 ** (-age / half_life)` as SQL text.

    Args:
        age_s: a SQL expression of type double, in seconds; negative ages give factors over 1.
        half_life_days: in days, above 0.

    Returns:
        SQL text of type DOUBLE.

    Raises:
        ValueError: the half-life is not above 0.
    """
    if not half_life_days > 0:
        raise ValueError(f"half_life_days is {half_life_days}; give a number of days above 0.")
    return f"exp(-0.6931471805599453e0 * ({age_s}) / {float(half_life_days) * 86400:.6f}e0)"


def rank_key(score: str) -> str:
    """A score as DECIMAL(18, 6), as SQL text: ordering by it, then by an id, hides differences of summation order."""
    return f"cast({score} as decimal(18, 6))"


def masked(text: str) -> str:
    """The beginning of a text, the rest starred, as SQL text: never more than half of it, three characters at most."""
    size = f"length({text})"
    begin = f"case when {size} >= 6 then 3 when {size} >= 4 then 2 when {size} >= 2 then 1 else 0 end"
    return f"concat(substr({text}, 1, {begin}), '***')"


MACROS: Mapping[str, Callable[..., str]] = {
    m.__name__: m for m in (safe_bigint, safe_double, safe_timestamp, iso_weekday, elapsed_s, decay, rank_key, masked)
}
"""What a template may call, by name."""


@cache
def _environment() -> Environment:
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    environment.globals.update(MACROS)
    return environment


@lru_cache(maxsize=256)
def _compiled(template: str) -> Template:
    return _environment().from_string(template)


def render(template: str, **params: object) -> str:
    """Fill in a SQL template, for example `select {{ safe_double('price') }} as price from raw.items`.

    Args:
        template: Jinja2 text; the names of `MACROS` are callable in it.
        params: further names.

    Returns:
        SQL text.

    Raises:
        jinja2.UndefinedError: the template uses a name that is neither a macro nor a parameter.
    """
    return _compiled(template).render(**params)
