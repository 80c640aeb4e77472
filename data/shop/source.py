"""What a shop.yaml may say about one source of data: its origin, its columns, its times, its filters."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from data.contracts.core import EVENTS
from data.contracts.raw import FIELDS
from data.contracts.schema import OCCASIONS, Frozen
from data.pseudonym import DEFAULT_KIND
from data.shop.columns import Column, CsvOptions, EventType, Filter, named_column, named_event_type
from data.shop.handling import require_offered
from data.shop.origin import origin_fault
from data.shop.timing import Time, Validity

Kind = Literal["events", "items", "users", "identities", "promotions"]
Format = Literal["csv", "jsonl", "parquet"]

_DERIVED = (
    "occurred_at_text", "updated_at_utc", "day", "fault",
    "observed_at_utc", "observed_at_text", "user_kind", "other_kind",
)  # fmt: skip
PROMOTED_BY = ("display", "mailer")
"""What a promotion may be, each a column whose text says whether, and in what way."""
CONTRACT_COLUMNS: dict[Kind, tuple[str, ...]] = {
    "events": (*(column.name for column in FIELDS["events"] if column.name not in _DERIVED), "other_id"),
    "items": tuple(column.name for column in FIELDS["items"] if column.name not in _DERIVED),
    "users": tuple(column.name for column in FIELDS["users"] if column.name not in _DERIVED),
    "identities": tuple(column.name for column in FIELDS["identities"] if column.name not in _DERIVED),
    "promotions": ("item_id", "place", *PROMOTED_BY),
}
"""What a source may map onto, of each kind."""
REQUIRED_COLUMNS: dict[Kind, tuple[str, ...]] = {
    "events": ("user_id",),
    "items": ("item_id",),
    "users": ("user_id",),
    "identities": ("user_id", "other_id", "is_authenticated"),
    "promotions": ("item_id",),
}
ID_COLUMNS = ("user_id", "other_id")
"""Columns that name a person: pseudonymised on reading. In events, `other_id` stands in where `user_id` is empty."""
LIST_COLUMNS = ("category_path", "title", "description", "discount", "attributes")
"""Columns that may be made of several source columns: joined by ` > `, joined by a blank, summed, a JSON object."""
COMPRESSIONS = (".gz", ".zst")
FORMAT_ENDINGS: dict[str, Format] = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".dat": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip


def format_of(path: str) -> Format | None:
    """Tell a file's format from its ending, compression put aside.

    Args:
        path: Path, URL or pattern.

    Returns:
        The format, or None when the ending says nothing.
    """
    for compression in COMPRESSIONS:
        path = path.removesuffix(compression)
    return FORMAT_ENDINGS.get(Path(path).suffix.lower())


Paths = Annotated[tuple[str, ...], BeforeValidator(lambda v: (v,) if isinstance(v, str) else v), Field(min_length=1)]


class Source(Frozen):
    """One kind of file, or one table, of the shop and what its columns mean."""

    kind: Kind
    """Which contract the rows go to."""
    path: Paths = ()
    """File, folder, glob, URL, `package:PACKAGE/path`, or a list; `${NAME}` is replaced from the environment."""
    database: str | None = None
    """URL (postgresql://, sqlite://) or path of an SQLite file; `${NAME}` is replaced, and no password stands here."""
    table: str | None = None
    """Table or view of the database, with its schema where it needs one, written as the database writes it."""
    query: str | None = None
    """Instead of a table: one SELECT."""
    watermark: str | None = None
    """Column that grows with every row that is added; absent: the whole table is read every time."""
    format: Format | None = None
    """null infers it from the ending of `path`, .gz and .zst put aside."""
    csv: CsvOptions = CsvOptions()
    """Only for CSV; JSON lines use its encoding."""
    columns: dict[str, Annotated[Column, BeforeValidator(named_column)]]
    """Contract column -> where it comes from."""
    event_type: Annotated[EventType, BeforeValidator(named_event_type)] | None = None
    """Events only."""
    time: Annotated[Time, BeforeValidator(lambda v: {"column": v} if isinstance(v, str) else v)] | None = None
    """When an event happened; absent: this source has no timestamps. Of items: since when the row says so (the newest
    row of an item wins). Of identities: since when the edge is known."""
    valid: Validity | None = None
    """Promotions only: from when to when."""
    public: bool = False
    """Promotions only, and needed there: what was promoted where and when was to be seen by everybody."""
    returns: Literal["negative_quantity"] | None = None
    """negative_quantity: a purchase of a negative quantity is a return of that quantity; null: it is a fault."""
    id_form: Literal["raw", "pseudonymised"] = "raw"
    """raw: user ids become keyed pseudonyms on reading; pseudonymised: the shop did that already."""
    value_is: Literal["total", "unit_price"] = "total"
    """Whether `value` is what the line cost, or is to be multiplied by `quantity`."""
    duplicates: Literal["drop", "keep"] = "drop"
    """Identical lines within one file: one event, or several."""
    filters: tuple[Filter, ...] = ()
    """Rows that are no shopping."""

    @property
    def is_table(self) -> bool:
        """Whether the rows come from a database."""
        return not self.path

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if fault := origin_fault(self.path, self.database, self.table, self.query, self.watermark):
            raise ValueError(fault)
        for name in ("format", "csv"):
            if self.is_table and name in self.model_fields_set:
                raise ValueError(f"{name}: is for files, not for tables; remove it")
        return self

    @model_validator(mode="after")
    def _events_only(self) -> Self:
        if self.kind != "events":
            if self.event_type or self.returns:
                raise ValueError(f"event_type and returns are for events, not for {self.kind}; remove them")
            if self.time and self.kind == "promotions":
                raise ValueError("time: promotions have `valid`, from when to when; write that instead")
            if self.time and self.kind not in ("items", "identities"):
                raise ValueError(f"time is for events, items and identities, not for {self.kind}; remove it")
        elif self.event_type is None:
            raise ValueError("event_type: missing; write `event_type: purchase`, or a column and its values")
        elif "item_id" not in self.columns and "text" not in self.columns:
            raise ValueError("columns.item_id: missing; events need an item, or the text of a search")
        if self.value_is == "unit_price" and not {"value", "quantity"} <= self.columns.keys():
            raise ValueError("value_is: unit_price needs both columns value and quantity; map them")
        return self

    @model_validator(mode="after")
    def _promotions_only(self) -> Self:
        if self.kind != "promotions":
            for name in ("valid", "public"):
                if name in self.model_fields_set:
                    raise ValueError(f"{name}: is for promotions, not for {self.kind}; remove it")
            return self
        if self.valid is None:
            raise ValueError("valid: missing; write `valid: {start: COLUMN, end: COLUMN}`, or a week and its week_one")
        if not self.public:
            raise ValueError(
                "public: is false, but promotions are shown to everybody; declare `public: true` if what was promoted "
                "where and when was to be seen by everybody, or leave the source out"
            )
        if not self.columns.keys() & set(PROMOTED_BY):
            raise ValueError(
                "columns.display: missing; promotions need display or mailer, if only `display: {constant: yes}`"
            )
        if self.duplicates == "keep":
            raise ValueError("duplicates: the same promotion counts once; remove it")
        return self

    @model_validator(mode="after")
    def _returns_have_quantities(self) -> Self:
        if self.returns and "quantity" not in self.columns:
            raise ValueError("returns: negative_quantity needs the column quantity; map it, or remove returns")
        return self

    @model_validator(mode="after")
    def _columns_of_kind(self) -> Self:
        known = CONTRACT_COLUMNS[self.kind]
        for name, column in self.columns.items():
            if name in ("event_type", "occurred_at_utc") and self.kind == "events":
                raise ValueError(f"columns.{name}: say it under `{'time' if name[0] == 'o' else name}:` instead")
            if name not in known:
                raise ValueError(f"columns.{name}: {self.kind} have no such column; use one of {', '.join(known)}")
            if len(column.columns) > 1 and name not in LIST_COLUMNS:
                raise ValueError(f"columns.{name}: several columns are for {', '.join(LIST_COLUMNS)}; name one")
            if (column.absent is not None or column.labels) and name not in PROMOTED_BY:
                raise ValueError(f"columns.{name}: absent and labels are for {' and '.join(PROMOTED_BY)}; remove them")
            if column.identifier != DEFAULT_KIND and name not in ID_COLUMNS:
                raise ValueError(f"columns.{name}: identifier is for {' and '.join(ID_COLUMNS)}; remove it")
        for name in REQUIRED_COLUMNS[self.kind]:
            if name not in self.columns:
                raise ValueError(f"columns.{name}: missing; {self.kind} need it")
        return self

    @model_validator(mode="after")
    def _policies_are_offered(self) -> Self:
        declared = {column.name: column for column in EVENTS.columns} if self.kind == "events" else {}
        for name, column in self.columns.items():
            for occasion in OCCASIONS:
                if chosen := column.handling(occasion):
                    require_offered(f"columns.{name}.{occasion}", chosen, declared.get(name), occasion)
        return self

    @model_validator(mode="after")
    def _no_source_column_twice(self) -> Self:
        taken: dict[str, str] = {}
        for name in ("event_id", *ID_COLUMNS, "item_id", "quantity", "value"):
            column = self.columns.get(name)
            if column is None or column.column is None:
                continue
            if column.column in taken:
                raise ValueError(f"columns.{name}: '{column.column}' is already {taken[column.column]}; name another")
            taken[column.column] = name
        return self

    @model_validator(mode="after")
    def _raw_ids_go_nowhere_else(self) -> Self:
        users = {self.columns[name].column for name in ID_COLUMNS if name in self.columns} - {None}
        if self.id_form == "raw" and (user := self.watermark) in users:
            raise ValueError(f"watermark: '{user}' names the user and would be stored as it is; choose another column")
        for name, column in self.columns.items():
            if self.id_form == "raw" and name not in ID_COLUMNS and (named := users & set(column.sources)):
                user = sorted(map(str, named))[0]
                raise ValueError(f"columns.{name}: '{user}' names the user and would be stored as it is; remove it")
        return self
