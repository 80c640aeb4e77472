"""Proof by bad data: real rows, corrupted after the guard in one respect, fail exactly that expectation."""

import dagster as dg
import numpy as np
import pytest

from assets import embeddings
from data.contracts import TABLES
from data.contracts.model import TEXT_EMBEDDINGS
from data.contracts.raw import raw_table
from data.contracts.schema import Table
from data.expectations import expectation_names
from data.gate import Made, Refused, gate
from orchestration.definitions import build_defs
from tests.support.corruption import corruptible, corruptions, drawn
from tests.support.runs import days, execute
from tests.support.shops import add_cookies, add_flyers, lively_shop, workspace_of

LEARNT = ("model", "out")
"""Layers whose real rows take releases; theirs are drawn so that they keep the contract."""

ALSO_DRAWN = ("profile.online",)
"""Tables of other layers that take releases."""

CONTRACTS = {
    **TABLES,
    **{
        raw_table(n, kind).key: raw_table(n, kind)
        for n, kind in (("tills", "events"), ("catalogue", "items"), ("members", "users"), ("flyers", "promotions"))
    },
}
CRITICAL = [
    pytest.param(key, one, id=f"{key}-{one.name}")
    for key, contract in CONTRACTS.items()
    for one in corruptible(contract)
    if one.severity == "critical"
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A shop in which every table up to the profiles has rows, and some of each kind were set aside."""
    folder = tmp_path_factory.mktemp("gates")
    shop_file = lively_shop(folder / "shop", 4, 12, 45)
    add_cookies(shop_file, [2, 5, 7, 11])
    add_flyers(shop_file)
    found = workspace_of(shop_file, folder / "var")
    defs = build_defs(found)
    keys = [k for k in defs.resolve_asset_graph().materializable_asset_keys if k.path[0] not in LEARNT]
    with dg.DagsterInstance.ephemeral() as instance:
        assert execute(defs, instance, "main", days("2024-01-01", "2024-02-14"), only=keys).success
    return found


@pytest.fixture(scope="module")
def batches(workspace):
    """Rows of every table, as they passed their gate."""
    found = {}
    with workspace.engine.session() as session:
        for key, contract in CONTRACTS.items():
            session.attach(contract, workspace.lake)
            is_real = contract.layer not in LEARNT and key not in ALSO_DRAWN
            found[key] = contract.conform(session.query(f"select * from {key}")) if is_real else drawn(contract)
            assert found[key].num_rows, f"{key} has no rows to corrupt"
    return found


def verdicts(workspace, contract: Table, made: Made):
    """What the gate says, whether it lets the batch through or not."""
    with workspace.engine.session() as session:
        session.attach(TABLES["core.items"], workspace.lake)
        try:
            return gate(workspace, contract, made, session)
        except Refused as refused:
            return refused.verdicts


@pytest.mark.parametrize("key", CONTRACTS)
def test_good_rows_meet_every_expectation(workspace, batches, key):
    found = verdicts(workspace, CONTRACTS[key], Made(data=batches[key]))
    assert [v.check for v in found] == list(expectation_names(CONTRACTS[key]))
    assert [v.check for v in found if not v.passed] == []


@pytest.mark.parametrize(("key", "one"), CRITICAL)
def test_one_corruption_fails_exactly_its_expectation(workspace, batches, key, one):
    for corrupt in corruptions(CONTRACTS[key], one):
        found = verdicts(workspace, CONTRACTS[key], corrupt(Made(data=batches[key])))
        failed = {v.check: v for v in found if not v.passed}
        assert list(failed) == [one.name]
        assert failed[one.name].broke is None, "the data is bad; the check itself ran"
        assert failed[one.name].blocks


def test_vectors_that_break_their_contract_never_reach_the_cache(workspace):
    vectors = np.zeros((2, 384), dtype=np.float32)
    with pytest.raises(Refused, match="text_hash_not_null"):
        embeddings._append(workspace, ["0" * 64, None], vectors)
    assert workspace.lake.published(TEXT_EMBEDDINGS.key) is None
