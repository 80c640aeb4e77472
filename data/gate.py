"""The gate that every batch passes before it is published: its facts are gathered, proved, and a refusal is worded."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pyarrow as pa

from data.contracts import TABLES
from data.contracts.schema import Frozen, Table
from data.drift import comparisons
from data.engine import Session
from data.lake import Published
from data.quality import batch_measures, prove
from data.row_file import RowFile, Rows
from data.verdicts import GateFailed, Verdict, failures
from data.workspace import Workspace


class Made(Frozen):
    """What a maker hands to the gate."""

    model_config = {**Frozen.model_config, "arbitrary_types_allowed": True}

    data: Rows
    """(n, c) rows to publish; in a file only of tables that are proved by counts."""
    quarantined: int = 0
    """Rows set aside for a fault while making it."""
    kept: int | None = None
    """Rows read that had no fault, where they are not the rows of the table; None: they are."""
    notes: Mapping[str, str] = {}
    """Facts for the commit."""
    lag_days: float = 0
    """Days from the newest row that the table would have to the end of the calendar, or to today."""
    max_lag_days: float | None = None
    """What the shop allows; None: anything."""
    remark: str = ""
    """What a refusal adds to its sentence, for example the counts by reason."""


class Refused(GateFailed):
    """A batch failed its gate; carries the contract's key and the verdicts."""

    def __init__(self, key: str, message: str, verdicts: Sequence[Verdict]) -> None:
        """Keep the verdicts beside the sentence."""
        super().__init__(message)
        self.key = key
        self.verdicts = tuple(verdicts)


def gate(workspace: Workspace, contract: Table, made: Made, session: Session, *, is_last: bool = True) -> list[Verdict]:
    """Prove a batch.

    Args:
        workspace: the shop.
        contract: of the batch.
        made: the batch and what is known of its making.
        session: with the tables that the contract refers to.
        is_last: no later days of this run follow; its newest row is then held against the clock.

    Returns:
        One verdict per expectation; those that did not pass only warn.

    Raises:
        Refused: if a critical expectation is not met, or could not be checked.
    """
    batch = _conformed(contract, made.data)
    measures = batch_measures(
        contract,
        rows=batch.num_rows,
        orphans=_orphans(contract, batch, session),
        quarantined=made.quarantined,
        kept=made.kept,
        lag_days=made.lag_days if is_last else 0,
        max_lag_days=made.max_lag_days,
    )
    calendar = workspace.shop.calendar
    is_open = is_last and calendar is not None and calendar.end is None
    lag, today = made.lag_days if is_open else None, datetime.now(UTC).date()
    measures += comparisons(contract, batch, session, workspace.lake, today=today, lag_days=lag)
    verdicts = prove(contract, batch, measures, session, workspace.shop.gates.blocking)
    said = failures(contract, verdicts)
    if said:
        raise Refused(contract.key, f"{said}{made.remark}", verdicts)
    return verdicts


def _conformed(contract: Table, data: Rows) -> Rows:
    """The batch in the contract's types; as it is where that cannot be, for the expectation `schema` to name it."""
    if isinstance(data, RowFile):
        return data
    try:
        return contract.conform(data)
    except ValueError:
        return data


def _orphans(contract: Table, batch: pa.Table, session: Session) -> dict[str, int]:
    """Rows per referring column whose target is missing; of a column that is missing itself, nothing."""
    orphans = {}
    for reference in contract.references:
        if reference.column not in batch.column_names:
            continue
        values, counts = batch.column(reference.column).value_counts().flatten()
        session.register("values_under_proof", pa.table({"value": values, "n": counts}))
        target = TABLES[reference.table]
        sql = (
            "select coalesce(sum(n), 0) as n from values_under_proof v where v.value is not null and not exists "
            f"(select 1 from {target.key} t where t.{reference.target} = v.value)"
        )
        orphans[reference.column] = int(session.query(sql).column("n")[0].as_py())
    return orphans


def packed(verdicts: Sequence[Verdict]) -> str:
    """Verdicts as a note of the commit that they let through."""
    return json.dumps([v.model_dump() for v in verdicts])


def published_verdicts(published: Published) -> tuple[Verdict, ...]:
    """What the gate found when this version was proved."""
    return tuple(Verdict.model_validate(v) for v in json.loads(published.notes.get("verdicts", "[]")))
