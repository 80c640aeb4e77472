"""What a shop.yaml may say: frozen models with the rules that hold inside one field or between fields.

One source is declared in `source`; reading the file and wording its faults is `load`; what the declaration means for
a row is `mapping`.
"""

import datetime as dt
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from data.contracts.schema import Frozen
from data.pseudonym import DEFAULT_KIND
from data.shop.origin import database_fault
from data.shop.source import ID_COLUMNS, Source
from data.shop.timing import Zone

_SWITCH = {True: "on", False: "off"}  # YAML 1.1 reads the words on and off as booleans


class Calendar(Frozen):
    """The days that exist as partitions, in UTC."""

    start: dt.date
    """First day; earlier events are quarantined."""
    end: dt.date | None = None
    """Last day; null: up to today."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.end and self.end < self.start:
            raise ValueError(f"end {self.end} lies before start {self.start}; swap them")
        return self


class Privacy(Frozen):
    """What others may learn from one user's data."""

    mode: Annotated[
        Literal["on", "off"], BeforeValidator(lambda v: _SWITCH.get(v, v) if isinstance(v, bool) else v)
    ] = "on"
    """off exists for public benchmarks; a shop's own data also needs `allow_off_on_own_data`."""
    epsilon: Annotated[float, Field(gt=0, le=20)] = 4.0
    """Total for the lifetime of the ledger, user level, add or remove one user."""
    monthly: Annotated[int, Field(ge=0, le=60)] | None = None
    """Releases after the first, a month apart each, all under the one epsilon; null: twelve where the declared
    population carries them, else none. They begin at `evaluation.test_start`, and there are none without it."""
    delta: Annotated[float, Field(gt=0, lt=1)] | None = None
    """null: 1 / (100 N), N the declared or released number of users."""
    allow_off_on_own_data: bool = False
    """The explicit switch for mode off on data that is no public benchmark; printed on every output."""
    ledger: str | None = None
    """URL of a PostgreSQL database for the ledger; `${NAME}` is replaced, and no password stands here. null: an SQLite
    file on this machine."""

    @model_validator(mode="after")
    def _ledger_without_secret(self) -> Self:
        if self.ledger is not None and (fault := database_fault(self.ledger)):
            raise ValueError(f"ledger: {fault}")
        return self


class Evaluation(Frozen):
    """Which days the recommendations are measured on."""

    test_start: dt.date | None = None
    """First test day; null takes the last `test_days` of the calendar."""
    test_days: Annotated[int, Field(ge=1)] = 28
    """Length of the test window, days."""
    holdout_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Without timestamps: the share of each user's events that is held out."""
    holdout_seed: int = 0
    """Without timestamps: seed of that choice."""


class Gates(Frozen):
    """What happens when a batch is unlike the shop's own past: `warn` shows it, `block` also refuses the batch."""

    volume: Literal["warn", "block"] = "warn"
    """Rows of a day against the same weekday of the weeks before."""
    arrival: Literal["warn", "block"] = "warn"
    """Age of the newest event against the longest usual wait; judged where the calendar has no end."""
    drift: Literal["warn", "block"] = "warn"
    """Distribution of key columns against the weeks before."""

    @property
    def blocking(self) -> frozenset[str]:
        """Names of those that block."""
        return frozenset(name for name, action in self.model_dump().items() if action == "block")


class Identity(Frozen):
    """How several identifiers of one person are joined; the edges come from sources of kind `identities`."""

    kinds: Annotated[tuple[str, ...], Field(min_length=1)] = (DEFAULT_KIND,)
    """Kinds of identifier, the best known first: it stands for the person, and two of it are two people."""
    max_identifiers: Annotated[int, Field(ge=2)] = 20
    """Most identifiers that one person may have; what is joined to more is no person, and stays apart."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.kinds)) < len(self.kinds):
            raise ValueError("kinds: a kind stands twice; remove one")
        return self


NO_POPULATION = (
    "declared_users is missing; declare the publicly known size of the user base, rounded as you like: "
    "the privacy plan is drawn up for it before data is read."
)


class Shop(Frozen):
    """Everything that Portrait must know about one shop."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
    """Lower-case name; part of paths and tables."""
    description: str = ""
    """Where the data comes from, in its owners' words; printed in reports."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    """ISO 4217 code of values and prices."""
    timezone: Zone = "UTC"
    """Zone of times that carry no offset."""
    public_benchmark: bool = False
    """True only for data that anyone may download; allows non-private twins beside it."""
    declared_users: Annotated[int, Field(ge=1)] | None = None
    """Publicly known size of the user base; null: one charged `shape` release finds it."""
    max_lag_days: Annotated[int, Field(ge=0)] | None = None
    """Oldest that the newest event may be, in days before today (or the calendar's end); null: any age passes."""
    catalogue_public: bool = False
    """Codes, texts and list prices of the items are public; never counts or paid prices."""
    calendar: Calendar | None = None
    """Needed as soon as one source has a time."""
    online_learning: bool = False
    """Whether each user's own days correct the released weights that rank that user's next purchases."""
    landing: str | None = None
    """Folder where new files arrive; null: `landing/` beside the shop's lake."""
    privacy: Privacy = Privacy()
    """The privacy policy."""
    evaluation: Evaluation = Evaluation()
    """The evaluation window."""
    gates: Gates = Gates()
    """Which comparisons with the shop's past block a batch; none does by default."""
    identity: Identity = Identity()
    """One person, several ids."""
    sources: Annotated[dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], Source], Field(min_length=1)]
    """Source name -> declaration."""

    _location: Path = PrivateAttr(default=Path("shop.yaml"))

    @property
    def location(self) -> Path:
        """The YAML file itself; relative paths start at its folder."""
        return self._location

    @property
    def is_timed(self) -> bool:
        """Whether any event carries a timestamp; without one, evaluation holds out per user."""
        return any(source.time for source in self.sources.values() if source.kind == "events")

    @property
    def has_identities(self) -> bool:
        """Whether any source joins identifiers; without one, every identifier is a person."""
        return any(source.kind == "identities" for source in self.sources.values())

    @property
    def has_promotions(self) -> bool:
        """Whether any source says what was promoted where and when."""
        return any(source.kind == "promotions" for source in self.sources.values())

    def delta(self, n_users: int) -> float:
        """Return the delta of the plan.

        Args:
            n_users: Declared or released number of users, at least 1.

        Returns:
            The declared delta, else 1 / (100 N).

        Raises:
            ValueError: The declared delta exceeds 1 / (100 N).
        """
        bound = 1 / (100 * n_users)
        if self.privacy.delta is not None and self.privacy.delta > bound:
            raise ValueError(
                f"privacy.delta: {self.privacy.delta:g} exceeds 1 / (100 N) = {bound:g} for {n_users} users; "
                "lower it or leave it out"
            )
        return self.privacy.delta or bound

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not any(source.kind == "events" for source in self.sources.values()):
            raise ValueError("sources: none has kind events; Portrait needs at least one")
        if self.is_timed and self.calendar is None:
            raise ValueError("calendar: missing; sources with a time need `calendar: {start: YYYY-MM-DD}`")
        if self.online_learning and not self.is_timed:
            raise ValueError("online_learning: needs events with a time; switch it off, or name the column of the time")
        for name, source in self.sources.items():
            for column in ID_COLUMNS:
                kind = source.columns[column].identifier if column in source.columns else self.identity.kinds[0]
                if kind not in self.identity.kinds:
                    place = f"sources.{name}.columns.{column}.identifier"
                    raise ValueError(f"{place}: '{kind}' is no kind of this shop; list it under identity.kinds")
        privacy = self.privacy
        if self.declared_users is not None:
            self.delta(self.declared_users)
        if privacy.mode == "off" and not (self.public_benchmark or privacy.allow_off_on_own_data):
            raise ValueError("privacy.mode: off is for public benchmarks; set it on, or allow_off_on_own_data: true")
        start = self.evaluation.test_start
        if start and self.calendar:
            end = self.calendar.end or dt.date.max
            if not self.calendar.start < start <= end:
                raise ValueError(f"evaluation.test_start: {start} lies outside the calendar; move it inside")
        return self
