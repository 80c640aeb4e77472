"""What a shop.yaml may say about the columns of one source: where each comes from, and which rows are left out."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from data.contracts.core import EVENT_TYPES
from data.contracts.schema import Frozen, Occasion
from data.pseudonym import DEFAULT_KIND
from data.shop.handling import Handling, Policed
from data.shop.timing import probe

Pattern = Annotated[str, BeforeValidator(probe("SELECT regexp_matches('', ?)", "regular expression"))]
Texts = Annotated[tuple[str, ...], BeforeValidator(lambda v: tuple(map(str, v)) if isinstance(v, list) else v)]


def _with_text_keys(value: Any) -> Any:
    return {str(key): target for key, target in value.items()} if isinstance(value, dict) else value


class Column(Frozen):
    """Where the text of one contract column comes from; in the YAML a name or a list of names says it shortly."""

    column: str | None = None
    """Source column; in JSON lines `a.b` reaches into nested objects, and `$...` is a JSON path."""
    columns: Texts = ()
    """Several source columns: category_path from the widest to the narrowest, discount summed, title joined."""
    constant: Annotated[str | None, BeforeValidator(lambda v: str(v) if isinstance(v, int | float) else v)] = None
    """The same text for every row."""
    form: Literal["text", "integer", "upper", "lower", "decimal_comma"] = "text"
    """integer: 17850.0 is 17850 (ids that passed a spreadsheet); upper, lower: case means nothing;
    decimal_comma: 1.234,50 is 1234.50."""
    optional: bool = False
    """True: a file or a JSON line may lack the column, which then is null; otherwise such a file is refused, and such a
    line is set aside."""
    missing: Policed = None
    """What becomes of a missing value, if the contract offers another policy than its default."""
    unparsable: Policed = None
    """The same of a text that is no number."""
    out_of_range: Policed = None
    """The same of a number outside the contract's bounds."""
    identifier: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)] = DEFAULT_KIND
    """Of user_id and other_id: the kind of identifier, one of the shop's `identity.kinds`."""
    absent: Texts | None = None
    """Of display and mailer: the texts that say no, whatever their case; null: 0, no, n, false. Empty always does."""
    labels: Annotated[dict[str, str], BeforeValidator(_with_text_keys)] = {}
    """Of display and mailer: source text -> what it means; a text that is not listed stays as it is."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.column is not None) + bool(self.columns) + (self.constant is not None) != 1:
            raise ValueError("give exactly one of column, columns, constant")
        return self

    def handling(self, occasion: Occasion) -> Handling | None:
        """What was chosen for one occasion; None: the contract's default."""
        return {"missing": self.missing, "unparsable": self.unparsable, "out_of_range": self.out_of_range}[occasion]

    @property
    def sources(self) -> tuple[str, ...]:
        """The source columns that are read, in order."""
        return (self.column,) if self.column is not None else self.columns


def named_column(value: Any) -> Any:
    """What the YAML says of a column, in full: a name or a list of names says it shortly."""
    if isinstance(value, str):
        return {"column": value}
    return {"columns": value} if isinstance(value, list) else value


class EventType(Frozen):
    """What happened in a row; in the YAML one event type alone stands for a constant."""

    constant: str | None = None
    """Every row is this event type."""
    column: str | None = None
    """Source column that says it."""
    values: dict[str, str] = {}
    """Source value -> event type; a value that is not listed stays as it is, and core quarantines unknown ones."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if (self.constant is None) == (self.column is None):
            raise ValueError("give exactly one of constant, column")
        named = [self.constant] if self.constant is not None else list(self.values.values())
        if unknown := [name for name in named if name not in EVENT_TYPES]:
            raise ValueError(f"'{unknown[0]}' is no event type; use one of {', '.join(EVENT_TYPES)}")
        return self


def named_event_type(value: Any) -> Any:
    """What the YAML says of the event type, in full: a constant is said by its name alone."""
    if isinstance(value, dict) and isinstance(value.get("values"), dict):
        return value | {"values": _with_text_keys(value["values"])}
    return {"constant": value} if isinstance(value, str) else value


class Filter(Frozen):
    """Rows that are no shopping, told by constants alone: they are counted as rejected, never lost in silence."""

    column: str
    """Source column."""
    drop_values: Texts = ()
    """Rows with one of these texts are rejected."""
    drop_matching: Pattern | None = None
    """Rows whose text matches this regular expression (anywhere; anchor it) are rejected."""
    keep_values: Texts = ()
    """Rows with none of these texts are rejected."""
    reason: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] = "filtered"
    """The reason that the rejected rows carry."""
    optional: bool = False
    """True: a file or a JSON line may lack the column, as if it were empty."""

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if bool(self.drop_values) + (self.drop_matching is not None) + bool(self.keep_values) != 1:
            raise ValueError("give exactly one of drop_values, drop_matching, keep_values")
        return self


class CsvOptions(Frozen):
    """How the text of a CSV file is cut."""

    delimiter: Annotated[str, Field(min_length=1, max_length=4)] | None = None
    """Usually one character, such as `;`, or `::`; null takes a tab for .tsv and a comma otherwise."""
    quote: Annotated[str, Field(max_length=1)] = '"'
    """Character round values that hold the delimiter; empty when there is none."""
    escape: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """What stands before a quote inside a quoted value; null: the quote itself, doubled."""
    header: bool = True
    """False: the first line is data, and `names` says what the columns are."""
    names: Texts = ()
    """Column names of a file without a header, in order."""
    encoding: str = "utf-8"
    """Any encoding that Python knows, such as cp1252 or utf-16."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.header == bool(self.names):
            raise ValueError("names goes with header: false, and header: false needs names")
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ValueError(f"encoding '{self.encoding}' is unknown; use utf-8, cp1252, latin-1, ...") from None
        return self
