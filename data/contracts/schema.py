"""The vocabulary of contracts: a `Table` of `Column`s, from which schemas, gates, docs and retention are derived.

One declaration per table; nothing about a table is written down twice.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

PrivacyClass = Literal["public", "per_user", "release", "internal"]
"""Who may read what across users; see docs/decisions and the tag `portrait/class` on every asset."""

Sensitivity = Literal["pseudonym", "personal", "public", "operational"]
"""Of one column: a keyed pseudonym of a person; a fact about one person; public by declaration; bookkeeping."""

Type = Literal["text", "bigint", "integer", "double", "boolean", "date", "timestamp", "texts", "vector"]

ARROW: Mapping[str, pa.DataType] = {
    "text": pa.string(),
    "bigint": pa.int64(),
    "integer": pa.int32(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "texts": pa.list_(pa.string()),
    "vector": pa.list_(pa.float32()),
}

SQL: Mapping[str, str] = {
    "text": "VARCHAR",
    "bigint": "BIGINT",
    "integer": "INTEGER",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "texts": "VARCHAR[]",
    "vector": "FLOAT[]",
}


class Frozen(BaseModel):
    """Base of every declaration: immutable, and a misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Policy = Literal["reject", "null", "constant", "winsorise", "interpolate"]
"""What becomes of a value: the row is set aside; the value goes; a constant; the nearest bound of the contract; what
the same user's neighbouring events of the same item say. A policy reads one user's rows and constants alone."""

Occasion = Literal["missing", "unparsable", "out_of_range"]
"""What can be wrong with a value."""

OCCASIONS: tuple[Occasion, ...] = ("missing", "unparsable", "out_of_range")


class Repair(Frozen):
    """The policies that a column offers on each occasion, its default first; none where the occasion cannot arise."""

    missing: tuple[Policy, ...] = ()
    """There is no value where one is expected."""
    unparsable: tuple[Policy, ...] = ()
    """The text is no number."""
    out_of_range: tuple[Policy, ...] = ()
    """The number lies outside the column's minimum and maximum."""
    constant: float | None = None
    """What `constant` puts there unless the shop file says otherwise; also where no value is expected."""
    expected_in: tuple[str, ...] = ()
    """Event types in which a value is expected; in others its absence says nothing. Empty: in all."""

    def allowed(self, occasion: Occasion) -> tuple[Policy, ...]:
        """The policies on one occasion, the default first."""
        return {"missing": self.missing, "unparsable": self.unparsable, "out_of_range": self.out_of_range}[occasion]


class Column(Frozen):
    """One column of a table and the rules its values keep."""

    name: str
    """Name in every table, query and file; carries its unit (`recency_days`) where it has one."""
    type: Type
    """Logical type; see `ARROW` and `SQL`."""
    doc: str
    """One line for the data dictionary."""
    sensitivity: Sensitivity = "personal"
    """What the value says about a person."""
    required: bool = False
    """Whether NULL is a fault."""
    minimum: float | None = None
    """Smallest allowed value, inclusive."""
    maximum: float | None = None
    """Largest allowed value, inclusive."""
    one_of: tuple[str, ...] = ()
    """The allowed values, if they are a closed set."""
    pattern: str | None = None
    """A regular expression that the whole text matches."""
    repair: Repair | None = None
    """What a shop file may choose for values that are missing, unparsable or out of range; None: nothing."""


Severity = Literal["critical", "warning"]
"""Of an expectation: a critical one that is not met stops the batch, a warning is shown and stops nothing."""


class VolumeRule(Frozen):
    """How many rows a day may have, beside the same weekday of the weeks before it.

    Which days it judges is a matter of numbers alone: `min_days` earlier ones, and `min_rows` on a usual one, since
    below that a factor is mostly chance.
    """

    weeks: int = 8
    """Weeks that are looked back."""
    low: float = 1 / 3
    """Smallest factor of the median of those weekdays."""
    high: float = 3.0
    """Largest factor."""
    min_days: int = 4
    """Earlier same weekdays with rows that it takes to judge a day."""
    min_rows: int = 30
    """Median below which a day is not judged."""


class DriftRule(Frozen):
    """How far the distribution of a column on one day may be from that of the weeks before it."""

    column: str
    """The column."""
    edges: tuple[float, ...] = ()
    """Public edges of the bins of a number, ascending: x <= e1 < x <= e2 ...; none: each value is a category."""
    weeks: int = 8
    """Weeks that are looked back."""
    limit: float = 0.25
    """Largest population stability index; see `data.drift.stability_index`."""
    min_days: int = 14
    """Earlier days with rows that it takes to judge a day."""
    min_rows: int = 200
    """Rows that it takes to judge a day."""


class Reference(Frozen):
    """A foreign key: every non-null value of `column` stands in `table`.`target`."""

    column: str
    table: str
    target: str


class Table(Frozen):
    """The contract of one published table."""

    key: str
    """`layer.name`, as SQL models spell it; the asset key is `[layer, name]`."""
    doc: str
    """What one row is and what the table is for."""
    privacy: PrivacyClass
    """Class of the asset that makes it."""
    columns: tuple[Column, ...]
    """In the order of the file."""
    primary_key: tuple[str, ...] = ()
    """Columns that together are unique."""
    partition_by: Literal["day"] | None = None
    """`day`: one Delta partition per UTC calendar day, replaced as a whole."""
    references: tuple[Reference, ...] = ()
    """Foreign keys, proved at the gate."""
    min_rows: int = 0
    """Fewer rows in the published table are a fault."""
    max_quarantine_share: float | None = None
    """Largest share of a batch's rows that may be quarantined before the batch is refused; None: no row gate here."""
    is_timely: bool = False
    """Whether the age of the newest row is held against the shop's `max_lag_days` and against its usual arrival."""
    volume: VolumeRule | None = None
    """Rows of a day against the same weekday before; None: not judged."""
    drift: tuple[DriftRule, ...] = ()
    """Columns whose distribution is held against the weeks before."""
    warns: tuple[str, ...] = ()
    """Expectations that warn and do not block, by name; what rests on statistics across users warns anyhow."""
    history_days: Annotated[int, Field(ge=1)] | None = 30
    """Days for which rows that were replaced or removed stay readable as an older version; None: for ever."""

    @model_validator(mode="after")
    def _names_exist(self) -> "Table":
        names = self.names
        wanted = [*self.primary_key, *(r.column for r in self.references), *(d.column for d in self.drift)]
        if self.partition_by:
            wanted.append(self.partition_by)
        for name in wanted:
            if name not in names:
                raise ValueError(f"contract {self.key}: column '{name}' is used but not declared; declare it")
        if (self.volume or self.drift or self.is_timely) and not self.partition_by:
            raise ValueError(f"contract {self.key}: volume, drift and is_timely need days; set partition_by")
        if len(set(names)) != len(names):
            raise ValueError(f"contract {self.key}: a column is declared twice; remove one")
        return self

    @property
    def layer(self) -> str:
        """First part of the key."""
        return self.key.split(".")[0]

    @property
    def name(self) -> str:
        """Second part of the key."""
        return self.key.split(".")[1]

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in file order."""
        return tuple(c.name for c in self.columns)

    def arrow_schema(self) -> pa.Schema:
        """The Arrow schema that published data has exactly."""
        return pa.schema([pa.field(c.name, ARROW[c.type], nullable=True) for c in self.columns])

    def sql_types(self) -> dict[str, str]:
        """Column name -> DuckDB type, as column lineage and casts want it."""
        return {c.name: SQL[c.type] for c in self.columns}

    def conform(self, data: pa.Table) -> pa.Table:
        """Bring data into the contract's column order and types.

        Args:
            data: (n, c) with exactly the contract's columns, in any order.

        Returns:
            (n, c) with `arrow_schema()`.

        Raises:
            ValueError: if a column is missing or unknown, or a value does not fit its type.
        """
        odd = sorted(set(data.column_names) ^ set(self.names))
        if odd:
            raise ValueError(f"{self.key}: columns {odd} are missing or unknown; the contract names {list(self.names)}")
        try:
            return data.select(list(self.names)).cast(self.arrow_schema())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ValueError(f"{self.key}: a value does not fit the contract's types: {error}") from error
