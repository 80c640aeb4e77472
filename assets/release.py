"""How an asset releases: reserve in the ledger, run the mechanism, commit what ran and what came out, then publish.

A slot that the ledger refuses stops only that release: the last published one stays in use, and a check says so.
"""

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import ValidationError

from data.build import Outcome
from data.contracts.schema import Table
from data.fingerprint import digest
from data.history import Periods, periods
from data.lake import Lake
from data.ledger import Ledger, LedgerError, Row, canonical_json
from data.ledger.move import check_single
from data.ledger.rows import plan_differences
from data.ledger.sqlite import SqliteStore
from data.pseudonym import load_key
from data.shop.config import NO_POPULATION
from data.shop.errors import ShopError
from data.workspace import Workspace

if TYPE_CHECKING:
    from ml.privacy.accounting import PrivacyPlan

RELEASE_TABLES = ("model.popularity", "model.gram", "model.ranker")

LEDGER_KEY = "ledger.key"
"""File of the key that chains the ledgers of this installation."""

Mechanism = Callable[[Any], tuple[pa.Table, Any]]
"""Takes the planned event; returns the released rows and the event read back from what ran."""


def declared_plan(workspace: Workspace) -> "PrivacyPlan":
    """The plan that this version draws up for the shop's declared population and policy.

    Raises:
        ShopError: if the shop declares no population.
    """
    from ml.privacy.plan import default_plan

    shop = workspace.shop
    if shop.declared_users is None:
        raise ShopError(f"{shop.location}: {NO_POPULATION}")
    return default_plan(
        shop.privacy.epsilon,
        shop.delta(shop.declared_users),
        shop.declared_users,
        first_due=shop.evaluation.test_start if shop.is_timed else None,
        monthly=shop.privacy.monthly,
    )


def plan_of(workspace: Workspace) -> "PrivacyPlan":
    """The plan in force: row 0's once there is a ledger, whatever a later version would draw up for the same policy.

    Under another policy it is the declared one, which the ledger then refuses by what differs.

    Raises:
        ShopError: if the shop declares no population.
        LedgerError: if there is a ledger and it cannot be used.
    """
    from ml.privacy.accounting import PrivacyPlan

    declared, store = declared_plan(workspace), workspace.ledger_store
    if not store.is_founded():
        return declared
    founded = _in_todays_form(Ledger.founding_plan(store, ledger_key(workspace)) or {})
    policy, slots = plan_differences(founded, declared.model_dump(mode="json"))
    try:
        return PrivacyPlan.model_validate(founded) if slots and not policy else declared
    except ValidationError:  # of a version whose slots this one does not know: the ledger says so
        return declared


def due_periods(workspace: Workspace) -> Periods:
    """The periods of the latest release that the plan in force lets fall due.

    While the ledger cannot be used, those of the plan that this version would draw up: what is published for them stays
    in use, and anything else asks the ledger and fails there.

    Raises:
        ShopError: as `declared_plan`.
    """
    from ml.privacy.plan import due_days

    try:
        plan = plan_of(workspace)
    except LedgerError:
        plan = declared_plan(workspace)
    return periods(workspace, due_days(plan))


def open_ledger(workspace: Workspace) -> Ledger:
    """The shop's ledger, founded on the plan if there is none; every published release is held against it.

    Raises:
        LedgerError: see `Ledger.open`; or if its key is gone, or a second ledger lies beside it.
        KeyFault: if its key has a wrong form.
        ShopError: if the shop file names no place for it.
    """
    from ml.privacy.accounting import ledger_composer

    plan, store = plan_of(workspace), workspace.ledger_store
    key = ledger_key(workspace)
    check_single(SqliteStore(workspace.ledger_path), store, key)
    return Ledger.open(
        store,
        key,
        plan.document(),
        ledger_composer(plan.delta),
        artefacts=artefacts(workspace.lake),
        in_todays_form=_in_todays_form,
    )


def ledger_key(workspace: Workspace) -> bytes:
    """The key of the shop's ledger, made where there is no ledger yet.

    Raises:
        LedgerError: if there is a ledger, or was one, and the key is gone.
        KeyFault: if it has a wrong form.
    """
    path, store = workspace.settings.keys / LEDGER_KEY, workspace.ledger_store
    if not path.exists() and (
        store.is_founded() or SqliteStore(workspace.ledger_path).is_founded() or artefacts(workspace.lake)
    ):
        raise LedgerError(
            f"key {path} of ledger {store.place} is gone; restore it from its backup, or copy it from the machine that "
            "founded the ledger"
        )
    return load_key(path, {})


def _in_todays_form(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """A stored plan with the defaults of fields that slots were given later; as it is if it is no plan of today."""
    from ml.privacy.accounting import PrivacyPlan

    try:
        return PrivacyPlan.model_validate(stored).model_dump(mode="json")
    except ValidationError:
        return stored


def with_budget(workspace: Workspace, outcome: Outcome) -> Outcome:
    """An outcome with what the ledger says now as figures, and a warning where it cannot be asked.

    Args:
        workspace: the shop.
        outcome: of a release that is published.
    """
    try:
        spent = open_ledger(workspace).spent()
    except LedgerError as error:
        remark = f"the ledger cannot be asked ({error}); the last release stays in use"
        return outcome.model_copy(update={"warning": outcome.warning or remark})
    figures = {
        "epsilon_spent": spent.epsilon,
        "epsilon_spent_zcdp": spent.epsilon_zcdp,
        "epsilon_left": spent.epsilon_left,
        "slots_left": float(len(spent.free_slots)),
    }
    return outcome.model_copy(update={"figures": {**outcome.figures, **figures}})


def artefacts(lake: Lake) -> list[tuple[str, int, str]]:
    """(table, sequence, head) of every published release, read from its commit."""
    found = [(key, lake.published(key)) for key in RELEASE_TABLES]
    return [
        (key, int(one.notes["ledger_sequence"]), one.notes["ledger_head"])
        for key, one in found
        if one is not None and "ledger_head" in one.notes
    ]


def release(
    workspace: Workspace,
    contract: Table,
    slot: str,
    *,
    is_published: bool,
    run_id: str,
    code_version: str,
    inputs: str,
    mechanism: Mechanism,
) -> tuple[pa.Table, dict[str, str]]:
    """Run one planned release, or fetch it if the same was committed before.

    Args:
        workspace: the shop.
        contract: of the table that is published from it.
        slot: slot of the plan.
        is_published: whether the table that is published was made from this slot.
        run_id: the run that asks.
        code_version: of the releasing code.
        inputs: digest, by content, of exactly what the mechanism reads.
        mechanism: what runs.

    Returns:
        The released rows with their digest in column `release`, and notes for the commit.

    Raises:
        BudgetRefused: if the slot is spent on other inputs or not in the plan.
    """
    from ml.privacy.events import parse_event

    ledger = open_ledger(workspace)
    grant = ledger.reserve(
        slot=slot,
        asset=contract.key,
        run_id=run_id,
        input_version=inputs,
        code_version=code_version,
        is_published=is_published,
    )
    if not isinstance(grant, Row):
        rows, event = mechanism(parse_event(grant.event))
        grant = ledger.commit(grant, event.model_dump(mode="json"), _to_bytes(rows))
    content = ledger.released(grant)
    spent = ledger.spent()
    notes = {
        "slot": grant.slot,
        "ledger_sequence": str(grant.sequence),
        "ledger_head": grant.head,
        "epsilon_spent": f"{spent.epsilon:.6f}",
        "epsilon_spent_zcdp": f"{spent.epsilon_zcdp:.6f}",
        "epsilon_declared": f"{spent.epsilon_declared:g}",
        "delta": f"{spent.delta:g}",
        "event": canonical_json(grant.event),
        "unit": grant.unit,
        "code_version": grant.code_version,
    }
    rows = _from_bytes(content)
    named = pa.array([digest(content.hex())[:12]] * rows.num_rows, pa.string())
    return rows.append_column("release", named), notes


def _to_bytes(rows: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return sink.getvalue()


def _from_bytes(content: bytes) -> pa.Table:
    with pa.ipc.open_stream(io.BytesIO(content)) as reader:
        return reader.read_all()
