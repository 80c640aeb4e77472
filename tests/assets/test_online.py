"""Online learning in the main job: a new day goes on from the table, a change in a learnt day starts over."""

from datetime import date, timedelta

import pytest

from assets import arrays, online
from data.contracts.profile import ONLINE
from data.features import as_of
from data.history import History, periods
from data.workspace import Workspace
from ml.online import COORDINATES, Learnt, OnlineConfig
from ml.ranking.features import FEATURES
from ml.ranking.index import index_items
from ml.ranking.inputs import CandidateConfig, ReleasedGram
from tests.support.runs import rows
from tests.support.shops import (
    LIVELY_HEADER,
    LIVELY_START,
    customer,
    learn_online,
    lively_shop,
    workspace_of,
    write_lines,
)
from tests.support.stability import run

DAYS = 45
WINDOW_END = LIVELY_START + timedelta(days=DAYS - DAYS // 5)


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Workspace:
    folder = tmp_path_factory.mktemp("online")
    workspace = workspace_of(learn_online(lively_shop(folder / "shop", 6, 20, DAYS)), folder / "var")
    assert not run(workspace).failed
    return workspace


def learnt_from(workspace: Workspace) -> date:
    return date.fromisoformat(workspace.lake.published(ONLINE.key).notes["learnt_from"])


def learnt_at_once(workspace: Workspace) -> list[tuple[str, str, float, float]]:
    """What a replay says that learns from all days anew."""
    with workspace.engine.session() as session:
        history = History(workspace, session, periods(workspace))
        popularity, catalogue = arrays.released(workspace, session), arrays.catalogue(workspace, session)
        index = index_items(catalogue, popularity, ReleasedGram.none(), CandidateConfig())
        start, nothing = online.starts_at(history), Learnt.nothing(len(history.user_ids))
        weights = arrays.weights(workspace, session)
        found = online.follow(history, index, weights, nothing, start, start, as_of(workspace))
    names = [FEATURES[n] for n in COORDINATES]
    cells = [
        (user, names[c], found.z[u, c], found.n[u, c])
        for u, user in enumerate(history.user_ids.to_pylist())
        for c in range(len(names))
        if found.n[u].any()
    ]
    return sorted(cells)


def held(workspace: Workspace) -> list[tuple[str, str, float, float]]:
    return sorted((r["user_id"], r["feature"], r["gradients"], r["squares"]) for r in rows(workspace, ONLINE.key))


def buy(workspace: Workspace, name: str, day: date) -> None:
    """Two customers buy what they have, and something else."""
    found = [
        f"{name}{who}{n},{customer(who)},sku{n:03d},buy,1,3.0,0,{day} 12:0{n}:00,{name}{who},"
        for who in (1, 2)
        for n in range(9)
    ]
    write_lines(workspace.landing / "tills" / f"{name}.csv", LIVELY_HEADER, found)
    assert not run(workspace).failed


def test_a_new_day_goes_on_and_a_late_one_starts_over_and_both_equal_one_replay_to_the_bit(shop: Workspace) -> None:
    start = WINDOW_END - timedelta(days=OnlineConfig().warm_days)
    before, until = held(shop), as_of(shop).date()
    assert learnt_from(shop) == start and before and before == learnt_at_once(shop)
    assert any(r["correction"] for r in rows(shop, ONLINE.key))

    buy(shop, "next", until)
    assert learnt_from(shop) == until and held(shop) == learnt_at_once(shop)
    changed = {new[0] for new, old in zip(held(shop), before, strict=True) if new != old}
    assert len(changed) == 2

    buy(shop, "late", until - timedelta(days=4))
    assert learnt_from(shop) == start and held(shop) == learnt_at_once(shop)


def test_lists_are_ranked_with_the_corrections_of_their_users(shop: Workspace) -> None:
    with shop.engine.session() as session:
        history = History(shop, session, periods(shop))
        added = online.corrections(history)
    found = {(r["user_id"], r["feature"]): r["correction"] for r in rows(shop, ONLINE.key)}
    assert added.shape == (len(history.user_ids), len(FEATURES)) and found
    for u, user in enumerate(history.user_ids.to_pylist()):
        assert [found.get((user, name), 0.0) for name in FEATURES] == added[u].tolist()
    with_them = rows(shop, "out.recommendations")
    shop_file = shop.shop.location
    shop_file.write_text(shop_file.read_text().replace("online_learning: true", "online_learning: false"))
    without = workspace_of(shop_file, shop.settings.var)
    assert not run(without).failed
    plain = rows(without, "out.recommendations")

    def scores(listed: list[dict], task: str) -> list[tuple]:
        return [(r["user_id"], r["place"], r["item_id"], r["score"]) for r in listed if r["task"] == task]

    assert scores(with_them, "discovery") == scores(plain, "discovery")
    assert scores(with_them, "next_purchases") != scores(plain, "next_purchases")
