"""A hundred planted users push one product of a made-up shop: what they gain, and that it is within the bound."""

import math
import resource
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from crowd import N_TOGETHER, K, measure

from data.settings import REPOSITORY
from data.shop.draft import draft
from data.synth.plan import Plan
from data.synth.write import write_shop
from data.workspace import Workspace
from orchestration.definitions import build_defs
from tests.support.runs import days, execute
from tests.support.shops import workspace_of

N_PLANTED, EPSILON, DRAWS = 100, 4.0, 1
PLAN = Plan(n_users=2_500, n_items=1_000, n_days=120, seed=7, shape="utc_csv")
RELEASES = ("popularity", "gram", "ranker")


def made_up(folder: Path) -> Workspace:
    """The shop, drafted as `portrait init` does, and run up to its features and texts."""
    write_shop(PLAN, folder / "shop")
    shop_file = folder / "shop.yaml"
    text = draft(folder / "shop" / "data", shop_file, PLAN.n_users)
    shop_file.write_text(text.replace("public_benchmark: false", "public_benchmark: true"), encoding="utf-8")
    workspace = workspace_of(shop_file, folder / "var")
    defs = build_defs(workspace)
    keys = [
        key
        for key in defs.resolve_asset_graph().materializable_asset_keys
        if key.path[0] in ("raw", "core", "features") or (key.path[0] == "model" and key.path[1] not in RELEASES)
    ]
    first, last = PLAN.start, datetime.fromtimestamp(PLAN.start_second + (PLAN.n_days - 1) * 86_400, UTC).date()
    with dg.DagsterInstance.ephemeral() as instance:
        assert execute(defs, instance, "main", days(str(first), str(last)), only=keys).success
    return workspace


def write_evidence(found: list[dict[str, Any]]) -> Path:
    """The dated table."""
    used, today = resource.getrusage(resource.RUSAGE_SELF), datetime.now(UTC).date()
    bound, noise = found[0]["bound"], found[0]["noise_std"]
    head = f"""\
# A crowd pushes one product, {today}

`make prove`, file `tests/prove/test_crowd.py`: a made-up shop of {PLAN.n_users:,} users, {PLAN.n_items:,} products and
{PLAN.n_days} days (seed {PLAN.seed}), epsilon {EPSILON:g}, and {N_PLANTED} planted users who push one product, the one
in the middle by buyers. `alone`: each buys it on every day; `with_head`: each buys it and the {N_TOGETHER} most bought
products on every day. Lists are ranked by score alone. {used.ru_utime + used.ru_stime:.0f} CPU seconds.

One user moves the released popularity by at most C = {bound / N_PLANTED:g} in L2, so that {N_PLANTED} users move the
weight of one product by at most {bound:g}, however much they buy; `added` is by how much they did, in the window where
it is more, without noise (its standard deviation is {noise:g}). The twin has the same bounds and no noise. Epsilon says
nothing useful about a crowd: it is the guarantee of one user, and mu of {N_PLANTED} is {N_PLANTED} times as large.

| strategy | model | place in popularity | others with it in {K} discoveries | median place | added | bound |
|---|---|---:|---:|---:|---:|---:|
"""
    lines = [
        f"| {f['strategy']} | {f['model']} | {f['place_in_popularity']:,} of {f['n_items']:,} "
        f"| {f['share_of_others_with_it']:.1%} | {f['median_place']:.0f} | {f['added_to_its_weight']:g} "
        f"| {f['bound']:g} |\n"
        for f in found
    ]
    path = REPOSITORY / "docs" / "evidence" / f"crowd-{today}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + "".join(lines), encoding="utf-8")
    return path


@pytest.mark.prove
def test_a_crowd_moves_a_product_by_no_more_than_its_bound(tmp_path):
    found = list(measure(made_up(tmp_path), N_PLANTED, EPSILON, DRAWS))
    assert [(f["strategy"], f["model"]) for f in found] == [
        (strategy, model) for strategy in ("none", "alone", "with_head") for model in ("twin", *["private"] * DRAWS)
    ]
    added = {f["strategy"]: f["added_to_its_weight"] for f in found}
    assert added["none"] == 0 and max(added.values()) <= found[0]["bound"]
    # Each is clipped over both windows and all that he takes: 1 / sqrt(cells) of the bound falls on one cell.
    for strategy, cells in (("alone", 2), ("with_head", 2 * (N_TOGETHER + 1))):
        assert added[strategy] == pytest.approx(N_PLANTED / math.sqrt(cells), rel=1e-3)
    twin = {f["strategy"]: f for f in found if f["model"] == "twin"}
    assert twin["alone"]["place_in_popularity"] < twin["none"]["place_in_popularity"], "the attack does nothing"
    print(write_evidence(found))
