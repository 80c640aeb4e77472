"""Properties of the whole graph that privacy and lineage rest on."""

import dagster as dg
import pytest

from data.contracts import TABLES, identity, promotions
from data.contracts.profile import ONLINE
from orchestration.definitions import build_defs
from tests.support.shops import workspace_of, write_shop

MAY_READ = {
    "public": {"public"},
    "per_user": {"public", "per_user", "release"},
    "release": {"public", "per_user", "release"},
    "internal": {"public", "per_user", "release", "internal"},
}


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graph")
    return build_defs(workspace_of(write_shop(folder / "shop"), folder / "var")).resolve_asset_graph()


def test_no_asset_reads_a_class_that_its_own_may_not(graph):
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        mine = node.tags["portrait/class"]
        for parent in node.parent_keys:
            theirs = graph.get(parent).tags["portrait/class"]
            assert theirs in MAY_READ[mine], f"{key.path} ({mine}) reads {parent.path} ({theirs})"


def test_only_release_assets_learn_and_each_has_its_ledger_slot(graph):
    from ml.privacy.plan import default_plan

    released = {
        ".".join(k.path) for k in graph.get_all_asset_keys() if graph.get(k).tags["portrait/class"] == "release"
    }
    assert released == {"model.popularity", "model.gram", "model.ranker"}
    assert len(default_plan(4, 4e-6, 2469).slots) == len(released)


def test_lineage_goes_from_landed_files_to_recommendations(graph):
    key = dg.AssetKey(["out", "recommendations"])
    above = {parent for parent in graph.get(key).parent_keys}
    seen = set()
    while above:
        one = above.pop()
        seen.add(one)
        above |= set(graph.get(one).parent_keys) - seen
    assert {
        ("source", "tills"),
        ("raw", "tills"),
        ("core", "events"),
        ("features", "daily"),
        ("profile", "profiles"),
    } <= {tuple(k.path) for k in seen}


def test_every_expectation_of_a_contract_is_a_check_of_its_asset(graph):
    from data.expectations import expectation_names

    for key, contract in TABLES.items():
        if contract in (*identity.TABLES, *promotions.TABLES, ONLINE):
            continue  # this shop joins no identifiers, promotes nothing and does not learn online
        checks = {c.name for c in graph.get_check_keys_for_assets({dg.AssetKey(key.split("."))})}
        assert set(expectation_names(contract)) <= checks, key
