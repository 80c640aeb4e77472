"""The portable SQL subset: a lint for what DuckDB and Spark would answer differently, lineage, and transpilation.

Models are DuckDB SQL, rendered by `data.macros.render`. `lint` refuses what lies outside the subset, `column_lineage`
reads where each output column comes from, and `to_spark` translates. No SQL runs here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from sqlglot import TokenType, exp, parse, tokenize
from sqlglot.errors import ErrorLevel, SqlglotError
from sqlglot.lineage import Node, lineage

from data.macros import safe_bigint, safe_double, safe_timestamp


@dataclass(frozen=True)
class Fault:
    """One place where DuckDB and Spark would differ, or where a result would not be determined."""

    rule: str
    """Short name of the rule."""
    message: str
    """What is wrong and what to write instead."""
    excerpt: str
    """The SQL at fault."""


_QUANTILE = "is approximate or missing on Spark; write a row_number() / count() window rank."
_WEEK = "counts weekdays or weeks differently on Spark; write {{ iso_weekday('ts') }}."
_CLOCK_READ = "reads the clock or chance; pass the instant in as a parameter."
_PICK = "picks an arbitrary row; write min, max, or arg_max over a unique order."
_EPOCH = "differs or is missing on Spark; write {{ elapsed_s(\"timestamp '1970-01-01'\", 'ts') }}."
_ZONED = "depends on the session's time zone; keep naive UTC timestamps."

_BANNED: Mapping[type[exp.Expr], tuple[str, str]] = {
    **dict.fromkeys((exp.DayOfWeek, exp.DayOfWeekIso, exp.Week, exp.WeekOfYear, exp.YearOfWeek), ("weekday", _WEEK)),
    **dict.fromkeys(
        (exp.PercentileCont, exp.PercentileDisc, exp.Quantile, exp.ApproxQuantile), ("quantile", _QUANTILE)
    ),
    exp.ApproxDistinct: ("approximate", "is approximate; write count(distinct x)."),
    exp.Corr: ("corr", "of zero variance is NaN here and NULL on Spark; write it out with nullif."),
    **dict.fromkeys((exp.AnyValue, exp.First, exp.Last, exp.Mode, exp.TableSample), ("arbitrary", _PICK)),
    exp.GroupConcat: ("list_order", "loses its order on Spark; sort with list_sort(array_agg(x))."),
    **dict.fromkeys((exp.TimeToUnix, exp.UnixToTime), ("epoch", _EPOCH)),
    **dict.fromkeys(
        (exp.Rand, exp.Randn, exp.Uuid, exp.CurrentDate, exp.CurrentTime, exp.CurrentTimestamp, exp.Localtime,
         exp.Localtimestamp, exp.CurrentDatetime, exp.CurrentUser),
        ("nondeterministic", _CLOCK_READ),
    ),
    exp.AtTimeZone: ("time_zone", _ZONED),
    **dict.fromkeys((exp.ReadCSV, exp.ReadParquet), ("file", "reads a file; a model reads `layer.name` tables only.")),
    exp.RegexpFullMatch: ("regexp_full_match", "does not exist on Spark; write regexp_matches with ^ and \\z."),
    exp.Slice: ("slice", "does not exist on Spark; filter by a row_number() before array_agg."),
}  # fmt: skip

_BANNED_NAMES: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(("now", "get_current_timestamp", "setseed", "nextval"), ("nondeterministic", _CLOCK_READ)),
    **dict.fromkeys(("weekday", "yearweek", "date_part", "datepart"), ("weekday", _WEEK)),
    **dict.fromkeys(("epoch_us", "epoch_ns"), ("epoch", _EPOCH)),
    **dict.fromkeys(("date_sub", "datesub"), ("date_sub", "has no Spark form; write {{ elapsed_s('a', 'b') }}.")),
    "reservoir_quantile": ("quantile", _QUANTILE),
}

_ORDERED_WINDOWS = (exp.RowNumber, exp.Rank, exp.DenseRank, exp.PercentRank, exp.CumeDist, exp.Ntile,
                    exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue, exp.NthValue)  # fmt: skip
_EXTRACTABLE = {"year", "quarter", "month", "day", "hour", "minute"}
_ZONED_TYPES = {exp.DType.TIMESTAMPTZ, exp.DType.TIMESTAMPLTZ, exp.DType.TIMETZ}


def _parse(sql: str) -> exp.Expr:
    try:
        statements = [statement for statement in parse(sql, read="duckdb") if statement is not None]
    except SqlglotError as error:
        raise ValueError(f"The model is not DuckDB SQL: {str(error).splitlines()[0]}") from error
    if len(statements) != 1:
        raise ValueError(f"The model holds {len(statements)} statements; write one file for each.")
    return statements[0]


def _is_nonzero(divisor: exp.Expr) -> bool:
    """Whether a divisor can be read off the text as never zero: literals, their products, or nullif."""
    divisor = divisor.unnest()
    if isinstance(divisor, exp.Cast | exp.Neg):
        return _is_nonzero(divisor.this)
    if isinstance(divisor, exp.Mul):
        return _is_nonzero(divisor.left) and _is_nonzero(divisor.right)
    return isinstance(divisor, exp.Nullif) or (divisor.is_number and float(divisor.name) != 0)


def _is_whole_day(operand: exp.Expr) -> bool:
    """Whether a date_diff operand is visibly a day: date_trunc('day', x), a DATE, or a literal at midnight."""
    operand = operand.unnest()
    if isinstance(operand, exp.TimestampTrunc | exp.DateTrunc):
        return operand.text("unit").lower() == "day"
    if not isinstance(operand, exp.Cast):
        return False
    return operand.is_type("date") or (operand.this.is_string and len(operand.this.name) == 10)


def _guarded(node: exp.TryCast) -> bool:
    """Whether a try_cast stands in the output of one of the safe macros, compared as parsed trees."""
    case = node.find_ancestor(exp.Case)
    while case is not None:
        guard = case.find(exp.RegexpLike)
        if guard is not None and isinstance(guard.this, exp.Trim):
            operand = guard.this.this.sql(dialect="duckdb")
            if any(case == _parse(macro(operand)) for macro in (safe_bigint, safe_double, safe_timestamp)):
                return True
        case = case.find_ancestor(exp.Case)
    return False


def _node_fault(node: exp.Expr) -> tuple[str, str] | None:
    """The rule that a node of the tree breaks, and its remedy; a flat table, so long."""
    match node:
        case exp.TryCast() if not _guarded(node):
            return "try_cast", "accepts other texts on Spark; write {{ safe_bigint|safe_double|safe_timestamp('x') }}."
        case exp.Cast() if node.is_type("text", "varchar") and node.this.is_type("double", "float"):
            return "double_to_text", "spells infinity and exponents differently on Spark; cast to a decimal first."
        case exp.DateDiff() if node.text("unit").lower() not in {"second", "day"}:
            return "date_diff", "counts boundaries here, not elapsed time; write {{ elapsed_s('a', 'b') }} / 3600e0."
        case exp.DateDiff() if node.text("unit").lower() == "day" and not (
            _is_whole_day(node.this) and _is_whole_day(node.expression)
        ):
            return "date_diff", "of days needs date_trunc('day', x) or cast(x as date) on both sides."
        case exp.Extract() if node.name.lower() not in _EXTRACTABLE:
            return "extract", f"agrees for {', '.join(sorted(_EXTRACTABLE))}; weekdays: {{{{ iso_weekday('ts') }}}}."
        case exp.Log() if node.args.get("expression") is None:
            return "log", "is base 10 here and natural on Spark; write ln(x) or log10(x)."
        case exp.Round() if not (isinstance(node.this.unnest(), exp.Cast) and node.this.unnest().is_type("decimal")):
            return "round", "of a double differs on Spark; write round(cast(x as decimal(18, 6)), n)."
        case exp.Literal() if not node.is_string and "." in node.name and "e" not in node.name.lower():
            if not isinstance(node.parent, exp.Cast):
                return "decimal_literal", "is a decimal that Spark divides to six digits; write it as 30e0."
        case exp.Div() | exp.IntDiv() | exp.Mod() if not _is_nonzero(node.right):
            return "division", "fails on zero on Spark; write x / nullif(y, 0) or divide by a literal."
        case exp.Sub() if _is_whole_day(node.left) and _is_whole_day(node.right):
            return "date_minus_date", "is a number here and an interval on Spark; write date_diff('day', a, b)."
        case exp.Window() if not node.args.get("order") and isinstance(_function(node), _ORDERED_WINDOWS):
            return "window_order", "needs an ORDER BY that is total (end it with a unique id)."
        case exp.Join() if node.method.upper() == "ASOF":
            return "asof_join", "does not exist on Spark; join and keep the latest by row_number()."
        case exp.ArrayAgg() if not isinstance(node.parent, exp.ArraySort):
            return "list_order", "loses its order on Spark, ORDER BY inside too; write list_sort(array_agg(x))."
        case exp.DataType() if node.this in _ZONED_TYPES:
            return "time_zone", _ZONED
        case exp.Limit() | exp.Offset() if node.parent is not None and not node.parent.args.get("order"):
            return "limit_order", "without ORDER BY keeps arbitrary rows."
        case exp.Anonymous():
            unknown = ("unknown_function", "is not known to both engines; use a portable function or a macro.")
            return _BANNED_NAMES.get(node.name.lower(), unknown)
    return _BANNED.get(type(node))


def _function(window: exp.Window) -> exp.Expr:
    """The function of a window, without IGNORE NULLS and the like."""
    inner: exp.Expr = window.this
    return inner.this if isinstance(inner, exp.IgnoreNulls | exp.RespectNulls) else inner


def _token_faults(sql: str) -> Iterator[Fault]:
    """Numbers whose exponent swallowed the sign after it: the parser would silently read another expression."""
    for token in tokenize(sql, read="duckdb"):
        mantissa, _, exponent = token.text.lower().partition("e")
        if token.token_type is TokenType.NUMBER and any(s in mantissa + exponent[1:] for s in "+-"):
            remedy = "an exponent literal directly followed by + or - is misread; put spaces around the sign."
            yield Fault("tight_exponent", remedy, token.text)


def lint(sql: str) -> list[Fault]:
    """Find everything in a model that the portable subset leaves out.

    Types are not inferred: a rule about doubles applies wherever the text does not show another type. BIGINT sums that
    overflow and orders that are not total cannot be seen here.

    Args:
        sql: one rendered DuckDB statement.

    Returns:
        The faults, empty for a portable model; in the order of the parsed tree.

    Raises:
        ValueError: the text does not parse as one statement.
    """
    if tight := list(_token_faults(sql)):
        return tight
    faults = []
    for node in _parse(sql).walk(bfs=False):
        if found := _node_fault(node):
            faults.append(Fault(found[0], found[1], node.sql(dialect="duckdb")[:120]))
    return faults


def tables(sql: str) -> tuple[str, ...]:
    """The `layer.name` tables that a model reads, sorted, each once; its own CTEs and bare names are left out."""
    return tuple(sorted({f"{t.db}.{t.name}" for t in _parse(sql).find_all(exp.Table) if t.db}))


def column_lineage(sql: str, schemas: Mapping[str, Mapping[str, str]]) -> dict[str, list[tuple[str, str]]]:
    """Where every output column of a model comes from, through CTEs, joins, unions and windows.

    Args:
        sql: one rendered DuckDB query.
        schemas: for each `layer.name` table read, its columns and their SQL types.

    Returns:
        Output column -> its source columns as sorted (`layer.name`, column); empty for constants and `count(*)`.

    Raises:
        ValueError: the text does not parse, or a column is in none of the schemas.
    """
    frozen = tuple((key, tuple(columns.items())) for key, columns in schemas.items())
    return {column: list(sources) for column, sources in _traced(sql, frozen)}


@lru_cache(maxsize=256)
def _traced(
    sql: str, schemas: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    """See `column_lineage`; remembered, for a process puts the definitions of a shop together more than once."""
    nested: dict[str, dict[str, dict[str, str]]] = {}
    for key, columns in schemas:
        layer, _, name = key.partition(".")
        nested.setdefault(layer, {})[name] = dict(columns)
    tree = _parse(sql)
    try:
        roots = lineage(None, tree, nested, dialect="duckdb", trim_selects=False, validate_qualify_columns=True)
    except SqlglotError as error:
        raise ValueError(f"No lineage: {str(error).splitlines()[0]}; add the table to the schemas.") from error
    assert isinstance(roots, dict)
    return tuple((column, tuple(sorted(set(_leaves(root))))) for column, root in roots.items())


def _leaves(root: Node) -> Iterator[tuple[str, str]]:
    """The (table, column) pairs at the ends of a lineage tree."""
    for node in root.walk():
        if isinstance(node.expression, exp.Table):
            yield f"{node.expression.db}.{node.expression.name}", exp.to_column(node.name).name


def to_spark(sql: str) -> str:
    """Translate a model to Spark SQL.

    Args:
        sql: one rendered DuckDB statement, free of `lint` faults.

    Returns:
        Spark SQL text, for a session with ANSI mode on and time zone UTC.

    Raises:
        ValueError: the model has lint faults, or the translator knows no Spark form for a part of it.
    """
    if faults := lint(sql):
        raise ValueError(f"`{faults[0].excerpt}` {faults[0].message} ({len(faults)} fault(s) in this model)")
    tree = _parse(sql)
    for cte in tree.find_all(exp.CTE):
        cte.set("materialized", None)  # a hint to DuckDB that Spark cannot parse
    try:
        return tree.sql(dialect="spark", pretty=True, unsupported_level=ErrorLevel.RAISE)
    except SqlglotError as error:
        raise ValueError(f"No Spark form: {str(error).splitlines()[0]}; rewrite that part.") from error
