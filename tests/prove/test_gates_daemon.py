"""Every critical expectation through one running daemon: it alone fails, and nothing follows by automation.

The daemon loads `tests/support/corrupting.py`: the shop's definitions, and batches corrupted between maker and gate.
The first corruption of a table meets a delivered file, which the landing sensor launches and automation carries on;
the others are launched for that table and what reads it.
"""

import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from assets.table import asset_key
from data.contracts import TABLES
from data.contracts.schema import Table
from data.settings import REPOSITORY, Settings
from data.workspace import Workspace, open_workspace
from orchestration.definitions import build_defs
from tests.support.cases import CASE_FILE, Case
from tests.support.corruption import corruptible
from tests.support.daemons import INSTANCE, daemon, wait
from tests.support.evidence import commit_of, merged
from tests.support.runs import days, execute
from tests.support.shops import LIVELY_HEADER, add_cookies, add_flyers, customer, learn_online, lively_shop, write_lines

LATEST = 20
"""Runs that are looked at; a case causes fewer."""
RELEASES = ("model.popularity", "model.gram", "model.ranker")
"""Nothing that lands makes these again: a release has its slot in the plan, and no automation."""
LAST_DAY = date(2024, 2, 14)
MONTH_BEFORE = date(2024, 1, 31)
"""A day of the checkpoint."""
FED_BY = {
    "catalogue": ["core.items_quarantine", "core.items", "model.text_embeddings", "model.item_texts"],
    "members": ["core.users_quarantine", "core.users"],
    "logins": ["core.identities_quarantine", "core.identities"],
    "flyers": ["core.promotions_quarantine", "core.promotions"],
    "web": [],
    "tills": [
        *("core.identity_days", "core.corrections", "core.events_quarantine", "core.events", "features.daily"),
        *("out.unusual_events", "features.checkpoint", "features.state", "features.recency_frequency_monetary"),
        *("features.interest", "features.sessions", "features.price_sensitivity", "features.sequence"),
        *("profile.online", "profile.profiles", "out.recommendations", "out.evaluation"),
    ],
}
"""Source -> the tables that a file of it makes anew, inputs first; its raw table comes before them."""
ASKED = os.environ.get("PORTRAIT_GATES", "").split()
"""Tables to prove; all of them if none is named."""


def delivered(source: str, number: int, of_days: Collection[date]) -> tuple[str, list[str]]:
    """Header and lines of the file of a source in one delivery; a twentieth of them at most is a fault."""
    if source == "catalogue":
        return "sku,name,department,kind,sort,brand,price,stock", [
            f"new{number},Novelty {number},Dept 0,Kind 1,Sort 2,Brand 3,4.5,yes"
        ]
    if source == "members":
        return "customer,agrees,town", [f"Late{number:03d}Comer,yes,Town 1"]
    if source == "logins":
        return "customer,visitor,at,proved", [f"{customer(3)},Crumb{number:03d}Late,2024-01-20 08:30:00,yes"]
    if source == "web":
        return "id,visitor,sku,at", [f"late{number},Crumb002Vega,sku001,2024-01-20 08:00:00"]
    if source == "flyers":
        first = date(2024, 2, 1) + timedelta(days=number)
        lines = [f"sku{n:03d},1,{first},{first + timedelta(days=6)},front,A" for n in range(40)]
        return "sku,shop,first,last,stand,flyer", [*lines, f"sku999,1,{first},{first},front,0"]
    lines = [
        f"d{number}-{day}-{n},{customer(n % 10)},sku{n:03d},{'back' if n == 7 else 'buy'},1,2.5,0,"
        f"{day} 11:{n:02d}:00,d{number}-{day}-{n % 10},"
        for day in of_days
        for n in range(25)
    ]
    return LIVELY_HEADER, [*lines, f"f{number},,sku001,buy,-1,1.0,0,{LAST_DAY} 10:00:00,f,"]


def named(key: dg.AssetKey) -> str:
    """The contract key of an asset."""
    return ".".join(key.path)


class Shop:
    """A shop under its daemon, the case in force, and what the shared instance and the lake say."""

    def __init__(self, workspace: Workspace, instance: dg.DagsterInstance, case_file: Path) -> None:
        self.workspace, self.instance, self.case_file = workspace, instance, case_file
        self.n_cases = self.n_deliveries = 0
        graph = build_defs(workspace).resolve_asset_graph()
        keys = graph.materializable_asset_keys
        above = {key: graph.get_ancestor_asset_keys(key) for key in keys}
        made = {key: graph.get(key).execution_set_asset_keys for key in keys}
        self.following = {named(k): {named(x) for x in keys if x in made[k] or made[k] & above[x]} for k in keys}
        """Table -> itself, what is published with it, and all that is made from them."""
        read = {key: {child for one in made[key] for child in graph.get(one).child_keys & keys} for key in keys}
        self.nearest = {named(k): {named(x) for y in read[k] | {k} for x in made[y]} for k in keys}
        """Table -> itself, what is published with it, and what reads them."""
        # The cache of vectors is filled before, chunk by chunk.
        self.following["model.item_texts"].discard("model.text_embeddings")

    def commits(self, keys: Collection[str]) -> dict[str, list[str]]:
        """The commits of these tables; without a new one readers see what they saw."""
        logs = {key: Path(self.workspace.lake.uri(key)) / "_delta_log" for key in keys}
        return {key: sorted(os.listdir(log)) for key, log in logs.items()}

    def deliver(self, source: str, *of_days: date) -> None:
        """Land one file, as a shop's till does."""
        self.n_deliveries += 1
        header, lines = delivered(source, self.n_deliveries, of_days)
        beside = self.workspace.landing / "beside.csv"
        write_lines(beside, header, lines)
        path = self.workspace.landing / source / f"delivery{self.n_deliveries}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(beside, path)

    def runs(self, but: Collection[str] = ()) -> list[dg.DagsterRun]:
        """The latest runs."""
        return [run for run in self.instance.get_runs(limit=LATEST) if run.run_id not in but]

    def record(self, run: dg.DagsterRun) -> dg.RunRecord:
        """When it was created and ended."""
        found = self.instance.get_run_record_by_id(run.run_id)
        assert found is not None
        return found

    def ticked_since(self, instant: float) -> bool:
        """Whether automation looked, from beginning to end, after an instant; a tick that failed is an error."""
        for state in self.instance.all_instigator_state():
            if state.instigator_name == "automation":
                ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id, after=float(instant))
                assert not any(tick.is_failure for tick in ticks), [tick.error for tick in ticks]
                return any(tick.timestamp > instant and tick.is_completed for tick in ticks)
        return False

    def settled(self) -> bool:
        """Whether no run is left, and automation has looked since the last one and launched none."""
        records = self.instance.get_run_records(limit=LATEST)
        if not all(record.dagster_run.is_finished for record in records):
            return False
        if not self.ticked_since(max(record.end_time or 0 for record in records)):
            return False
        # A run that the tick launched may have come after the first look at the runs.
        now = self.instance.get_run_records(limit=1)
        return [record.storage_id for record in now] == [record.storage_id for record in records[:1]]

    def put(self, **case: object) -> None:
        """Put the next case in force."""
        self.n_cases += 1
        Case(number=self.n_cases, **case).write(self.case_file)

    def failed(self, runs: Collection[dg.DagsterRun]) -> list[tuple[str, str, object]]:
        """Checks that blocked, of these runs."""
        logs = [
            log
            for run in runs
            for log in self.instance.all_logs(run.run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        ]
        found = [log.get_dagster_event().asset_check_evaluation_data for log in logs]
        return [
            (".".join(one.asset_key.path), one.check_name, one.metadata["outcome"].value)
            for one in found
            if not one.passed and one.severity == dg.AssetCheckSeverity.ERROR
        ]

    def made(self, runs: Collection[dg.DagsterRun]) -> set[str]:
        """Tables that these runs materialised."""
        logs = [
            log for run in runs for log in self.instance.all_logs(run.run_id, dg.DagsterEventType.ASSET_MATERIALIZATION)
        ]
        return {".".join(log.get_dagster_event().asset_key.path) for log in logs}


def refused(shop: Shop, table: str, check: str, source: str | None) -> None:
    """Corrupt one batch under the daemon and hold everything that it must, and must not, have caused."""
    following = shop.following[table]
    before, known = shop.commits(following), {run.run_id for run in shop.runs()}
    launch = () if source else tuple(sorted(shop.nearest[table]))
    shop.put(table=table, check=check, launch=launch, tags=days(str(LAST_DAY)) if launch else {})
    if source:
        shop.deliver(source, *([MONTH_BEFORE] if table == "features.checkpoint" else []), LAST_DAY)
    wait(f"{table} {check}: a run fails", lambda: any(run.is_failure for run in shop.runs(known)))
    wait(f"{table} {check}: automation looks", shop.settled)
    new = shop.runs(known)
    assert set(shop.failed(new)) == {(table, check, "the data is bad")}
    assert not shop.made(new) & following, "something that follows was made"
    ended = min(shop.record(run).end_time for run in new if run.is_failure)
    late = [set(run.asset_selection or ()) for run in new if shop.record(run).create_timestamp.timestamp() > ended]
    # Where an input changed in the very run in which a table was refused, automation tries that table once more.
    again = [keys for keys in late if {asset_key(key) for key in following} & keys]
    assert len(again) <= bool(source) and all(asset_key(table) in keys for keys in again)
    assert shop.commits(following) == before, "readers see another version"


def critical(contract: Table) -> Iterator[str]:
    """The expectations of a contract that refuse a batch."""
    return (one.name for one in corruptible(contract) if one.severity == "critical")


def proved(shop: Shop, source: str) -> dict[str, list[str]]:
    """All tables that a source feeds, one corruption after the other; at last a good file goes all the way."""
    contracts = [shop.workspace.raw(source), *(TABLES[key] for key in FED_BY[source])]
    contracts = [contract for contract in contracts if not ASKED or contract.key in ASKED]
    if not contracts:
        return {}
    before, found = shop.commits([c.key for c in contracts]), {}
    for contract in contracts:
        checks = list(critical(contract))
        for number, check in enumerate(checks):
            refused(shop, contract.key, check, None if number else source)
            print(f"{time.monotonic():.0f} {contract.key} {check}", flush=True)
        found[contract.key] = checks
    shop.put()
    known = {run.run_id for run in shop.runs()}
    shop.deliver(source, MONTH_BEFORE, LAST_DAY)
    wait(f"a good file of {source} is landed", lambda: any(run.is_finished for run in shop.runs(known)))
    wait("automation carries it on", shop.settled)
    assert not shop.failed(shop.runs(known))
    now = shop.commits(before)
    assert not [key for key in now if now[key] == before[key]], "a good file did not heal it"
    return found


def write_evidence(found: Mapping[str, Sequence[str]], shop: Shop, commit: str, at: datetime) -> Path:
    """The dated page: what was proved in this run, and earlier that day."""
    command = " ".join([f'PORTRAIT_GATES="{" ".join(ASKED)}"'] * bool(ASKED) + ["make prove"])
    head = f"""\
# Gates under the running daemon, {at.date()}

File `tests/prove/test_gates_daemon.py`: one daemon over a small shop with cookies, promotions and online learning. Each
critical expectation of a table is broken in that one respect alone, after the guard, in a run that the daemon launched:
of a delivered file for the first of a table, of the table and what reads it for the others.

Each time: exactly that check failed, because `the data is bad`; no table that follows was made in any run; automation
looked once more after the last run had ended, from beginning to end, and launched nothing that follows without the
table itself (where an input had changed in the run that refused it, it tried the table once more, which failed alike);
the table and all that is made from it have no new commit, so that readers see the last good version. After the last
corruption of each source a good file went through all of its tables, and automation carried it on.

To save time the daemon's own process executed the runs, it looked every second and not every five, and the sensors that
have nothing to launch here (the quality page, tables of databases) were off; the launcher of the product and all of its
sensors run in `tests/orchestration/test_daemon.py`. Left out are `{"`, `".join(RELEASES)}`:
nothing that lands launches a release.
"""
    checks = sum(map(len, found.values()))
    figures = (
        f"{checks} expectations of {len(found)} tables; {shop.n_deliveries} files, {shop.instance.get_runs_count():,} "
        f"runs; {(datetime.now(UTC) - at).total_seconds():,.0f} s on a shared machine of two cores"
    )
    run = (f"{at:%H:%M:%S}", commit, f"`{command}`", figures)
    parts = {f"`{k}`": (", ".join(f"`{x}`" for x in one), "each alone; nothing followed") for k, one in found.items()}
    order = [f"`{one}`" for source in FED_BY for one in (shop.workspace.raw(source).key, *FED_BY[source])]
    path = REPOSITORY / "docs" / "evidence" / f"gates-daemon-{at.date()}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    columns = ("table", "expectations", "outcome", "run")
    path.write_text(merged(before, head, columns, parts, run, order), encoding="utf-8")
    return path


@pytest.mark.prove
def test_nothing_follows_any_corruption_under_the_running_daemon(tmp_path, monkeypatch):
    shop_file = lively_shop(tmp_path / "shop", seed=4, n_users=12, days=45)
    add_cookies(shop_file, [2, 5, 7, 11])
    add_flyers(shop_file)
    learn_online(shop_file)
    settings = Settings(shop_file=shop_file, var=tmp_path / "var", threads=1, memory_limit="1GB")
    for name, value in {
        "DAGSTER_HOME": settings.dagster_home,
        "PORTRAIT_KEY": "11" * 32,
        "PORTRAIT_SHOP": shop_file,
        "PORTRAIT_VAR": settings.var,
        "PORTRAIT_THREADS": 1,
        "PORTRAIT_TICK_SECONDS": 1,
        CASE_FILE: tmp_path / "case.json",
    }.items():
        monkeypatch.setenv(name, str(value))
    settings.dagster_home.mkdir(parents=True)
    (settings.dagster_home / "dagster.yaml").write_text(INSTANCE, encoding="utf-8")
    workspace, commit, at = open_workspace(settings), commit_of(REPOSITORY), datetime.now(UTC)
    found: dict[str, list[str]] = {}
    with dg.DagsterInstance.get() as instance:
        assert execute(build_defs(workspace), instance, "main", days("2024-01-01", str(LAST_DAY))).success
        shop = Shop(workspace, instance, tmp_path / "case.json")
        assert {key for keys in FED_BY.values() for key in keys} == set(TABLES) - set(RELEASES)
        with daemon(tmp_path / "log"):
            wait("the daemon looks", lambda: shop.ticked_since(0))
            for source in FED_BY:
                if now := proved(shop, source):
                    found |= now
                    print(write_evidence(found, shop, commit, at), flush=True)
