"""How times are probably written, told from some of them."""

import datetime as dt
import re
from collections.abc import Iterable, Sequence

_PATTERNS = (
    "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S",
    "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%d-%m-%Y %H:%M", "%m-%d-%Y %H:%M", "%d-%m-%Y %H:%M:%S",
    "%m/%d/%Y %I:%M %p", "%m/%d/%Y %I:%M:%S %p", "%d/%m/%y %H:%M", "%m/%d/%y %H:%M", "%d/%m/%y", "%m/%d/%y",
    "%Y%m%d", "%Y%m%d%H%M%S", "%Y%m%d %H:%M:%S", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d", "%m %d, %Y",
    "%Y-%m-%d %H", "%b %d, %Y", "%B %d, %Y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y", "%a %b %d %H:%M:%S %Y",
    "%d/%b/%Y:%H:%M:%S %z",
)  # fmt: skip
_UNIX = (("unix_s", r"[12]\d{9}(\.\d+)?"), ("unix_ms", r"[12]\d{12}(\.\d+)?"), ("unix_us", r"[12]\d{15}"))


def time_format(values: Sequence[str], is_named: bool = False) -> tuple[str, bool] | None:
    """Guess how times are written.

    Args:
        values: Texts of one column.
        is_named: Whether the column is named like a time; then seconds before September 2001 count too.

    Returns:
        (format, whether another format would read them too), or None when they are no times.
    """
    if not values:
        return None
    if all(re.fullmatch(r"\s*\d{4}-\d{2}-\d{2}([ T]+\d{2}:\d{2}.*)?\s*", value) for value in values):
        return "iso", False
    for name, pattern in (("unix_s", r"([3-9]\d{8}|[12]\d{9})(\.\d+)?"), *_UNIX) if is_named else _UNIX:
        if all(re.fullmatch(pattern, value.strip()) for value in values):
            return name, False
    fitting = [pattern for pattern in _PATTERNS if all(_parses(value, pattern) for value in values)]
    if not is_named and fitting and "%b" not in fitting[0] and values[0].strip().isdigit():
        return None  # eight digits are a code before they are a date
    return (fitting[0], len(fitting) > 1) if fitting else None


def precision(values: Iterable[str], form: str) -> int:
    """Tell how finely a column of times tells them: 3 an instant with its zone, 2 a time of day, 1 a day.

    Args:
        values: Texts of the column.
        form: What `time_format` found.

    Returns:
        The number; the greater is the better time of an event.
    """
    if form.startswith("unix"):
        return 3
    has_clock = "%H" in form or "%I" in form if form != "iso" else any(":" in value for value in values)
    return 2 if has_clock else 1


def _parses(value: str, pattern: str) -> bool:
    try:
        return 1990 <= dt.datetime.strptime(value.strip(), pattern).year <= 2100
    except ValueError:
        return False
