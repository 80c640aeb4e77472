"""One person, several ids: cookies and log-ins on a small shop, from landed files to profiles."""

import random
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from data.contracts import TABLES, identity
from data.contracts.raw import raw_table
from data.expectations import expectation_names
from data.people import profile_of, pseudonyms
from data.pseudonym import key_of, load_key, pseudonymise
from data.workspace import Workspace
from orchestration.definitions import build_defs
from orchestration.summary import contracts_of
from tests.support.runs import days
from tests.support.runs import rows as rows_of
from tests.support.shops import GOOD, YAML, workspace_of, write_lines, write_shop

WEB_HEADER, EDGE_HEADER = "id,visitor,customer,sku,what,at", "customer,visitor,at,proved,undone"
WEB_YAML = (
    YAML.replace("end: 2024-03-31", "end: 2024-01-12")
    .replace("{test_start: 2024-03-01, test_days: 28}", "{test_start: 2024-01-09, test_days: 3}")
    .replace("sources:\n", "identity: {kinds: [user, cookie], max_identifiers: 5}\nsources:\n")
    .replace("{user_id: customer, attributes: [town]}", "{user_id: customer, consent: agrees, attributes: [town]}")
    + """\
  web:
    kind: events
    path: web.csv
    event_type: {column: what, values: {look: view}}
    time: at
    columns: {event_id: id, user_id: customer, other_id: {column: visitor, identifier: cookie}, item_id: sku}
  visitors:
    kind: users
    path: visitors.csv
    columns: {user_id: {column: visitor, identifier: cookie}, consent: agrees}
  logins:
    kind: identities
    path: logins.csv
    time: at
    columns:
      user_id: customer
      other_id: {column: visitor, identifier: cookie}
      is_authenticated: proved
      is_revoked: undone
"""
)
WEB = (
    "w1,v1,,a,look,2024-01-02 09:00:00",
    "w2,v1,,c,look,2024-01-05 09:00:00",
    "w3,v1,ann,d,look,2024-01-05 09:10:00",
    "w4,v2,,b,look,2024-01-06 09:00:00",
    "w5,v3,,b,look,2024-01-07 09:00:00",
    "w6,,,b,look,2024-01-07 09:30:00",
)
ANN = "ann,v1,2024-01-05 09:05:00,yes,"
MADE = ("core.events", "core.events_quarantine", "core.users", "features.daily", "features.state", "profile.profiles")


PROFILES = ("features", "profile")


class Line:
    """A shop with cookies, run from raw tables to profiles."""

    def __init__(self, folder: Path, edges=(), web=WEB, visitors=(), members=("ann,yes,Ulm", "bob,yes,Bonn")) -> None:
        shop_file = write_shop(folder / "shop", GOOD, WEB_YAML)
        self.landing = folder / "shop" / "landing"
        write_lines(folder / "shop" / "members.csv", "customer,agrees,town", members)
        write_lines(folder / "shop" / "web.csv", WEB_HEADER, web)
        write_lines(folder / "shop" / "visitors.csv", "visitor,agrees", visitors)
        write_lines(folder / "shop" / "logins.csv", EDGE_HEADER, edges)
        self.workspace: Workspace = workspace_of(shop_file, folder / "var")
        self.key = load_key(self.workspace.settings.keys / "pseudonym.key")

    def run(self, *further: str) -> dg.ExecuteInProcessResult:
        job = build_defs(self.workspace).resolve_implicit_global_asset_job_def()
        layers = ("raw", "core", *further)
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        return job.execute_in_process(
            quiet,
            instance=dg.DagsterInstance.ephemeral(),
            tags=days("2024-01-01", "2024-01-12"),
            asset_selection=[k for k in job.asset_layer.executable_asset_keys if k.path[0] in layers],
            raise_on_error=False,
        )

    def land(self, source: str, name: str, header: str, *lines: str) -> None:
        write_lines(self.landing / source / name, header, lines)

    def rows(self, key: str) -> list[dict]:
        return rows_of(self.workspace, key)

    def made(self) -> dict[str, list[dict]]:
        return {key: self.rows(key) for key in MADE}

    def user(self, name: str) -> str:
        return pseudonymise([name], self.key)[0]

    def cookie(self, name: str) -> str:
        return pseudonymise([name], key_of("cookie", self.key))[0]

    def person_of(self, event_id: str) -> str | None:
        [found] = [row["user_id"] for row in self.rows("core.events") if row["event_id"] == event_id]
        return found

    def reasons(self) -> list[str]:
        return sorted(row["reason"] for row in self.rows("core.identities_quarantine"))


BAD = {
    "missing_identifier": "ann,,2024-01-05 09:05:00,yes,",
    "unparsable_authenticated": "ann,v2,2024-01-05 09:05:00,perhaps,",
    "unparsable_revoked": "ann,v2,2024-01-05 09:05:00,yes,perhaps",
    "unparsable_time": "ann,v2,yesterday,yes,",
    "missing_time": "ann,v2,,yes,",
    "unreadable_line": "too,few",
}


@pytest.fixture(scope="module")
def busy(tmp_path_factory) -> tuple[Line, dg.ExecuteInProcessResult]:
    """A shop with every kind of edge, run to profiles: ann and bob with cookies and a tablet, cat with too many."""
    at = "2024-01-05 10:00:00"
    edges = [ANN, f"bob,v2,{at},yes,", f"ann,t1,{at},yes,", f"bob,t1,{at},yes,", f"v5,v5,{at},yes,"]
    edges += [f"cat,x{n},{at},yes," for n in range(5)]
    edges += [f"ann,v3,{at},no,", f"cat,v3,{at},,", f",v3,{at},no,"]
    edges += [f"bob,v2,2024-01-05 11:{n // 60:02d}:{n % 60:02d},yes," for n in range(200)]
    web = [*WEB, "w7,t1,,a,look,2024-01-05 12:00:00", "w8,v5,,a,look,2024-01-05 12:00:00"]
    members = ("ann,yes,Ulm", "bob,yes,Bonn", "cat,yes,Ulm")
    line = Line(tmp_path_factory.mktemp("busy"), [*edges, *BAD.values()], web, ("v1,yes", "v2,no"), members)
    return line, line.run(*PROFILES)


def test_only_authenticated_edges_join(busy):
    line, result = busy
    assert result.success
    assert [line.person_of(e) for e in ("w1", "w4", "w5")] == [line.user("ann"), line.user("bob"), line.cookie("v3")]
    assert line.person_of("w6") is None
    pairs = {("ann", "v1"), ("bob", "v2"), ("v5", "v5")}
    expected = {(line.user(u), "user", line.user(u), 2) for u, _ in pairs}
    expected |= {(line.cookie(c), "cookie", line.user(u), 2) for u, c in pairs}
    assert {tuple(row.values()) for row in line.rows("core.identities")} == expected


def test_every_edge_that_joins_nobody_is_set_aside_with_its_reason(busy):
    line, _ = busy
    refused = ["component_too_large"] * 5 + ["not_authenticated"] * 3 + ["two_people"] * 2
    assert line.reasons() == sorted([*refused, *BAD])
    aside = line.rows("core.identities_quarantine")
    garbage = sorted((row["line"], row["reason"]) for row in aside if row["reason"] in BAD)
    assert garbage == [(214 + n, reason) for n, reason in enumerate(BAD)]
    assert {row["user_id"] for row in aside if row["reason"] == "two_people"} == {line.user("ann"), line.user("bob")}
    assert {row["other_id"] for row in aside if row["reason"] == "two_people"} == {line.cookie("t1")}


def test_two_people_on_one_tablet_stay_apart(busy):
    line, _ = busy
    assert line.person_of("w7") == line.cookie("t1")


def test_too_many_identifiers_are_told(busy):
    _, result = busy
    [warned] = [c for c in result.get_asset_check_evaluations() if c.check_name == "none_too_large" and not c.passed]
    assert warned.severity is dg.AssetCheckSeverity.WARN and warned.description.startswith("5 edges join more")


def test_equal_texts_of_two_kinds_are_two_pseudonyms(busy):
    line, _ = busy
    assert line.person_of("w8") == line.user("v5") != line.cookie("v5")


def test_the_profile_of_a_cookie_is_the_profile_of_the_person(busy):
    line, _ = busy
    found = pseudonyms(line.workspace, "v1", is_pseudonym=False)
    assert found == [line.user("v1"), line.user("ann")]  # a customer v1 would come first; there is none
    assert profile_of(line.workspace, found)["user_id"] == line.user("ann")
    assert pseudonyms(line.workspace, line.cookie("v1"), is_pseudonym=True) == [line.user("ann")]
    unmerged = pseudonyms(line.workspace, "v3", is_pseudonym=False)
    assert profile_of(line.workspace, unmerged)["user_id"] == line.cookie("v3")


def test_customer_rows_of_one_person_become_one_and_one_refusal_refuses(busy):
    line, _ = busy
    consents = {row["user_id"]: row["consent"] for row in line.rows("core.users")}
    assert consents == {line.user("ann"): True, line.user("bob"): False, line.user("cat"): True}
    towns = {row["user_id"]: row["attributes"] for row in line.rows("core.users")}
    assert "Bonn" in towns[line.user("bob")] and "Ulm" in towns[line.user("ann")]
    assert [row["reason"] for row in line.rows("core.users_quarantine")] == ["superseded"] * 2
    assert line.user("bob") not in {row["user_id"] for row in line.rows("profile.profiles")}


def test_raw_ids_stand_nowhere(busy):
    line, _ = busy
    tables = [*TABLES.values(), *(raw_table(n, s.kind) for n, s in line.workspace.shop.sources.items())]
    with line.workspace.engine.session() as session:
        for table in tables:
            session.attach(table, line.workspace.lake)
            found: pa.Table = session.query(f"select * from {table.key}")
            values = {str(value) for row in found.to_pylist() for value in row.values()}
            assert not values & {"ann", "bob", "cat", "v1", "v2", "v3", "t1", "v5"}, table.key


@pytest.mark.slow
def test_history_attaches_with_the_edge_and_comes_apart_with_its_revocation(tmp_path):
    line = Line(tmp_path)
    ann, v1, v2 = (make(name) for make, name in ((line.user, "ann"), (line.cookie, "v1"), (line.cookie, "v2")))

    def versions(key):
        return line.workspace.lake.day_versions(key)

    assert line.run(*PROFILES).success
    assert [line.person_of(e) for e in ("w1", "w2", "w3", "w4", "w6")] == [v1, v1, ann, v2, None]
    never, before, daily = line.made(), versions("core.events"), versions("features.daily")

    line.land("logins", "new.csv", EDGE_HEADER, ANN, "bob,v9,2024-01-05 09:05:00,yes,")
    line.run(*PROFILES)
    merged = line.made()
    assert [line.person_of(e) for e in ("w1", "w2", "w3", "w4", "w6")] == [ann, ann, ann, v2, None]
    alone, together = (
        {row["user_id"]: row["n_events"] for row in tables["profile.profiles"]} for tables in (never, merged)
    )
    assert together == {**{u: n for u, n in alone.items() if u != v1}, ann: alone[ann] + alone[v1]}
    changed = sorted(str(day) for day in before if versions("core.events")[day] != before[day])
    assert changed == ["2024-01-02", "2024-01-05"]  # v1 looked on these; v9 was never seen
    assert sorted(str(day) for day in daily if versions("features.daily")[day] != daily[day]) == changed
    assert {str(day) for day in versions("core.identity_days")} == set(changed)
    again = {m.asset_key.to_user_string(): m.metadata["reused"].value for m in materializations(line.run(*PROFILES))}
    made = {key for key, is_reused in again.items() if not is_reused}
    assert len(again) > 20 and made <= {"raw/logins", "raw/visitors"}  # a file without rows is looked at again

    line.land("logins", "undo.csv", EDGE_HEADER, "ann,v1,2024-02-01 00:00:00,,yes")
    line.run(*PROFILES)
    assert line.made() == never != merged
    assert line.rows("core.identity_days") == []

    # The latest row about a pair decides: a later log-in joins them again.
    line.land("logins", "again.csv", EDGE_HEADER, "ann,v1,2024-02-02 00:00:00,yes,no")
    line.run(*PROFILES)
    assert line.made() == merged


def materializations(result: dg.ExecuteInProcessResult) -> list[dg.AssetMaterialization]:
    return [e.step_materialization_data.materialization for e in result.all_events if e.is_step_materialization]


@pytest.mark.slow
def test_order_of_arrival_changes_nothing_and_a_file_of_garbage_is_refused(tmp_path):
    edges = [
        ANN,
        "ann,v2,2024-01-06 10:00:00,yes,",
        "ann,v2,2024-01-08 10:00:00,,yes",
        "bob,v3,2024-01-07 00:00:00,yes,",
    ]
    whole = Line(tmp_path / "whole", edges=edges)
    whole.run()
    keys = ("core.events", "core.users", "core.identities", "core.identity_days")
    expected = {key: whole.rows(key) for key in keys}
    line = Line(tmp_path / "parts", web=())
    path = line.workspace.settings.keys / "pseudonym.key"
    path.write_bytes((whole.workspace.settings.keys / "pseudonym.key").read_bytes())
    parts = [("web", WEB_HEADER, text) for text in WEB] + [("logins", EDGE_HEADER, text) for text in edges]
    random.Random(5).shuffle(parts)
    for n, (source, header, text) in enumerate(parts):
        line.land(source, f"part{n}.csv", header, text)
        if n in (4, len(parts) - 1):
            line.run()
    assert {key: line.rows(key) for key in keys} == expected

    line.land("logins", "bad.csv", EDGE_HEADER, *(f"ann,v{n},never,yes," for n in range(9)))
    refused = line.run()
    said = [str(event.event_specific_data.error) for event in refused.all_events if event.is_step_failure]
    assert not refused.success and "unparsable_time" in said[0] and line.rows("core.identities") == expected[keys[2]]


def test_a_shop_s_own_pseudonyms_pass_as_they_are(tmp_path):
    yaml = WEB_YAML
    for source in ("tills", "members", "web", "visitors", "logins"):
        yaml = yaml.replace(f"  {source}:\n", f"  {source}:\n    id_form: pseudonymised\n")
    ids = {name: f"u_{n:032x}" for n, name in enumerate(("ann", "bob", "v1", "v2", "v3"))}
    line = Line(tmp_path, edges=[ANN])
    folder = tmp_path / "shop"
    (folder / "shop.yaml").write_text(yaml)
    for path in folder.glob("*.csv"):
        cells = [[ids.get(cell, cell) for cell in text.split(",")] for text in path.read_text().splitlines()]
        path.write_text("\n".join([*map(",".join, cells), ""]))
    line.workspace = workspace_of(folder / "shop.yaml", tmp_path / "var")
    line.run()
    assert line.person_of("w1") == ids["ann"] and line.person_of("w4") == ids["v2"]
    assert pseudonyms(line.workspace, ids["v1"], is_pseudonym=False) == [ids["ann"]]


def test_a_shop_without_edges_has_no_table_of_identities(tmp_path):
    workspace = workspace_of(write_shop(tmp_path / "shop"), tmp_path / "var")
    graph = build_defs(workspace).resolve_asset_graph()
    keys = {".".join(key.path) for key in graph.get_all_asset_keys()}
    assert not keys & {table.key for table in identity.TABLES}


def test_the_graph_of_a_shop_with_edges_keeps_classes_checks_and_lineage(tmp_path):
    line = Line(tmp_path)
    graph = build_defs(line.workspace).resolve_asset_graph()
    keys = {".".join(key.path) for key in graph.get_all_asset_keys()}
    assert {table.key for table in contracts_of(line.workspace)} <= keys
    for table in identity.TABLES:
        key = dg.AssetKey(table.key.split("."))
        checks = {check.name for check in graph.get_check_keys_for_assets({key})}
        assert set(expectation_names(table)) <= checks
        assert {graph.get(parent).tags["portrait/class"] for parent in graph.get(key).parent_keys} == {"per_user"}
    parents = {".".join(key.path) for key in graph.get(dg.AssetKey(["core", "events"])).parent_keys}
    assert "core.identity_days" in parents and "core.identities" not in parents


def units_of_ann(line: Line) -> dict[str, tuple[str, float, float]]:
    """Event -> its type, units that stand and units cancelled, of the till purchases of ann and the returns."""
    found = [row for row in line.rows("core.events") if row["event_id"] in ("1", "2", "r1", "r2")]
    return {row["event_id"]: (row["event_type"], row["quantity"], row["cancelled_quantity"]) for row in found}


@pytest.mark.slow
def test_a_return_under_another_id_of_the_same_person_takes_back_the_purchase(tmp_path):
    line = Line(tmp_path)
    text = line.workspace.shop.location.read_text(encoding="utf-8")
    text = text.replace("values: {look: view}}", "values: {look: view, back: return}}")
    text = text.replace("identifier: cookie}, item_id: sku}", "identifier: cookie}, item_id: sku, quantity: qty}")
    line.workspace.shop.location.write_text(text, encoding="utf-8")
    line.workspace = workspace_of(line.workspace.shop.location, line.workspace.settings.var)
    header = f"{WEB_HEADER},qty"
    line.land(
        "web", "returns.csv", header, "r1,v1,,a,back,2024-01-08 09:00:00,1", "r2,v2,,b,back,2024-01-08 09:00:00,1"
    )
    write_lines(line.landing.parent / "web.csv", header, [f"{row}," for row in WEB])

    assert line.run().success
    of_others = {"2": ("purchase", 1.0, 0.0), "r2": ("return", 1.0, 0.0)}
    strangers = {"1": ("purchase", 2.0, 0.0), "r1": ("return", 1.0, 0.0), **of_others}
    assert units_of_ann(line) == strangers
    line.land("logins", "joined.csv", EDGE_HEADER, ANN)
    assert line.run().success
    assert units_of_ann(line) == {"1": ("purchase", 1.0, 1.0), "r1": ("return", 0.0, 1.0), **of_others}
