"""From a contract to an asset: key, group, tags, schema, checks; and from an outcome to what Dagster records.

Every asset of Portrait is declared through `table_asset`, so that each carries its privacy class, its checks and
its lineage, and each reports in the same way.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg

from data import refusals
from data.alerts import alert
from data.build import Outcome, Refused
from data.contracts.schema import Table
from data.expectations import expectation_names, expectations
from data.fingerprint import digest
from data.lake import STANDING
from data.portable import column_lineage
from data.quality_report import QUALITY_PAGE
from data.verdicts import Verdict, said_of
from data.workspace import Workspace

OWNERS = ["team:portrait"]

IS_CURRENT = "is_current"
"""Check of a release: it warns while the ledger refuses a newer one and the last stays in use."""

FILES_READABLE = "files_readable"
"""Check of a raw table: it warns while a landed file cannot be read."""

TURN = "turn"
"""Resource that every op takes as an argument: while a run has it, no other run works on the shop."""

_BOOKKEEPING = ("verdicts", "pull", STANDING)
"""Notes of a commit that are for programs."""

Lineage = Mapping[str, Iterable[tuple[str, str]]]
Body = Callable[[dg.AssetExecutionContext, Workspace], Mapping[str, Outcome]]


class Withheld(Exception):
    """Nothing may be published, and nothing older stands in for it: the asset fails, its check shows it in amber."""


def asset_key(key: str) -> dg.AssetKey:
    """`layer.name` as an asset key `[layer, name]`."""
    return dg.AssetKey(key.split("."))


def lineage_of(
    sql: str, schemas: Mapping[str, Mapping[str, str]], spread: Mapping[str, Sequence[str]] | None = None
) -> Lineage:
    """Column lineage of a model, read off its SQL.

    Args:
        sql: the rendered model.
        schemas: for each `layer.name` read, its columns and their types.
        spread: name in the SQL -> the contract keys that stand behind it (a union of raw tables).

    Returns:
        Output column -> (contract key, column) pairs.
    """
    found = column_lineage(sql, schemas)
    behind = spread or {}
    return {
        column: [(real, name) for key, name in sources for real in behind.get(key, [key])]
        for column, sources in found.items()
    }


def table_asset(
    contracts: Sequence[Table],
    *,
    deps: Sequence[str],
    kinds: set[str],
    code_version: str,
    body: Body,
    lineage: Mapping[str, Lineage] | None = None,
    partitions: dg.PartitionsDefinition | None = None,
    pool: str | None = None,
    automation: dg.AutomationCondition | None = None,
    warning: str | None = None,
    block: Collection[str] = (),
) -> dg.AssetsDefinition:
    """Declare the asset (or assets) that one body publishes.

    Args:
        contracts: of the tables that the body publishes.
        deps: contract keys or external keys that it reads.
        kinds: what it is made with, shown as icons.
        code_version: changes when the code does.
        body: refreshes the tables; returns the outcome of each.
        lineage: contract key -> column lineage.
        partitions: for tables partitioned by day.
        pool: limits how many run at once.
        automation: when the daemon makes it again.
        warning: name of a further check, which warns with `Outcome.warning` and blocks nothing.
        block: comparisons with the past that block in this shop.

    Returns:
        The assets definition, with one check per expectation of each contract.
    """

    @dg.multi_asset(
        name=contracts[-1].key.replace(".", "__"),
        specs=[_spec(c, deps, kinds, code_version, partitions, automation) for c in contracts],
        check_specs=_check_specs(contracts, warning, block),
        can_subset=False,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=pool,
    )
    def _made(
        context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace], turn: dg.ResourceParam[object]
    ) -> Iterator[Any]:
        days = [date.fromisoformat(key) for key in context.partition_keys] if partitions else []
        try:
            outcomes = body(context, workspace)
        except Refused as refused:
            yield from _refusal(contracts, refused)
            _tell(context, workspace, refused, days)
            raise dg.Failure(str(refused), allow_retries=False) from refused
        except Withheld as withheld:
            yield from (_warned(contract, warning, str(withheld)) for contract in contracts if warning)
            raise dg.Failure(str(withheld), allow_retries=False) from withheld
        for contract in contracts:
            refusals.clear(workspace, contract.key, days)
            outcome = outcomes[contract.key]
            context.log.info(_said(contract, outcome))
            yield _result(contract, outcome, (lineage or {}).get(contract.key), workspace.reports / QUALITY_PAGE)
            if warning:
                yield _warned(contract, warning, outcome.warning)

    return _made


def _spec(
    contract: Table,
    deps: Sequence[str],
    kinds: set[str],
    code_version: str,
    partitions: dg.PartitionsDefinition | None,
    automation: dg.AutomationCondition | None,
) -> dg.AssetSpec:
    """What the graph says of one table."""
    return dg.AssetSpec(
        asset_key(contract.key),
        deps=[asset_key(d) for d in deps],
        description=contract.doc,
        group_name=contract.layer,
        owners=OWNERS,
        kinds=kinds,
        code_version=digest(code_version, contract.model_dump())[:12],
        tags={"portrait/class": contract.privacy},
        metadata={"dagster/column_schema": _schema(contract)},
        automation_condition=automation,
        partitions_def=partitions,
    )


def _check_specs(contracts: Sequence[Table], warning: str | None, block: Collection[str]) -> list[dg.AssetCheckSpec]:
    """One check per expectation of each contract, and the further check that only warns."""
    checks = [
        dg.AssetCheckSpec(
            one.name, asset=asset_key(contract.key), blocking=one.severity == "critical", description=one.meaning
        )
        for contract in contracts
        for one in expectations(contract, block)
    ]
    if warning:
        checks += [dg.AssetCheckSpec(warning, asset=asset_key(contract.key)) for contract in contracts]
    return checks


def _refusal(contracts: Sequence[Table], refused: Refused) -> Iterator[dg.AssetCheckResult]:
    """Check results of the table whose batch was refused."""
    for contract in contracts:
        if refused.key == contract.key:
            known = set(expectation_names(contract))
            yield from _checks(contract, [v for v in refused.verdicts if v.check in known])


def _warned(contract: Table, name: str, remark: str) -> dg.AssetCheckResult:
    """Result of the check that only warns: passed if there is nothing to remark."""
    return dg.AssetCheckResult(
        passed=not remark,
        asset_key=asset_key(contract.key),
        check_name=name,
        severity=dg.AssetCheckSeverity.WARN,
        description=remark or None,
    )


def _tell(context: dg.AssetExecutionContext, workspace: Workspace, refused: Refused, days: Sequence[date]) -> None:
    """Say that a gate refused a batch, where people look: the log, the quality page, the webhook; once a run."""
    context.log.error(str(refused))
    refusal = refusals.refusal_of(refused, context.run.run_id, days)
    refusals.keep(workspace, refusal)
    alert(workspace.settings, workspace.shop.name, refusal, context.log.warning)


def _schema(contract: Table) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                c.name,
                c.type,
                description=c.doc,
                constraints=dg.TableColumnConstraints(
                    nullable=not c.required, unique=contract.primary_key == (c.name,)
                ),
                tags={"sensitivity": c.sensitivity},
            )
            for c in contract.columns
        ]
    )


def _checks(contract: Table, verdicts: Iterable[Verdict]) -> Iterator[dg.AssetCheckResult]:
    for verdict in verdicts:
        yield dg.AssetCheckResult(
            passed=verdict.passed,
            asset_key=asset_key(contract.key),
            check_name=verdict.check,
            severity=dg.AssetCheckSeverity.ERROR if verdict.severity == "critical" else dg.AssetCheckSeverity.WARN,
            description=said_of(contract, verdict) if not verdict.passed or "not_judged" in verdict.observed else None,
            metadata={
                **verdict.observed,
                "outcome": "passed" if verdict.passed else "the check broke" if verdict.broke else "the data is bad",
                **({"broke": verdict.broke} if verdict.broke else {}),
            },
        )


def _said(contract: Table, outcome: Outcome) -> str:
    rows = f"{outcome.published.rows:,} rows, version {outcome.published.version}"
    if outcome.is_reused:
        return f"{contract.key}: up to date, nothing made ({rows})"
    days = f", {outcome.days} days rewritten" if outcome.days is not None else ""
    return f"{contract.key}: published ({rows}{days})"


def _result(contract: Table, outcome: Outcome, lineage: Lineage | None, report: Path) -> dg.MaterializeResult:
    published = outcome.published
    metadata: dict[str, Any] = {
        "dagster/row_count": published.rows,
        "table_version": published.version,
        "reused": outcome.is_reused,
        "checks_passed": sum(v.passed for v in outcome.verdicts),
        "checks_warning": sum(not v.passed for v in outcome.verdicts),
        **{key: _number(value) for key, value in published.notes.items() if key not in _BOOKKEEPING},
        **outcome.figures,
    }
    if contract.layer == "core":
        metadata["quality_report"] = dg.MetadataValue.path(str(report))
    if lineage:
        metadata["dagster/column_lineage"] = dg.TableColumnLineage(
            {
                column: [dg.TableColumnDep(asset_key(key), name) for key, name in sources]
                for column, sources in lineage.items()
                if sources
            }
        )
    return dg.MaterializeResult(
        asset_key=asset_key(contract.key),
        metadata=metadata,
        data_version=dg.DataVersion(published.content),
        check_results=list(_checks(contract, outcome.verdicts)),
    )


def _number(text: str) -> float | str:
    """Numbers become time series in the UI."""
    try:
        return float(text)
    except ValueError:
        return text
