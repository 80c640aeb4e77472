"""With and without one user, releases held fixed: nothing of anybody else changes by a bit.

This is what makes the class `per_user` true: everything up to recommendations, run for real on two data sets that
differ by all rows of one user. The ledger refuses to learn anew from the second, so that the releases are the first's.
"""

import shutil

import pytest

from data.pseudonym import key_of, load_key, pseudonymise
from tests.support.shops import (
    N_ITEMS,
    add_cookies,
    cookies_of,
    customer,
    learn_online,
    lively_shop,
    remove_customer,
    workspace_of,
)
from tests.support.stability import check_others, copy_releases, run

N_USERS = 135  # more than one chunk of users is ranked
CONFLICTING, SOLE = 2, 7


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The shop with everybody: one user shares ids of events with others, one alone buys an item, and buys most.

    Both have cookies with views from before they logged in, like some others, of whom two share a tablet.
    """
    folder = tmp_path_factory.mktemp("whole")
    shop_file = learn_online(lively_shop(folder / "shop", 4, N_USERS, 45))
    add_cookies(shop_file, [CONFLICTING, SOLE, 11, 12, 20, 21])
    with (folder / "shop" / "catalogue.csv").open("a", encoding="utf-8") as file:
        file.write("only,Zither,Dept 0,Kind 0,Sort 77,Brand 77,9.5,yes\n")
    at, three = "2024-01-20 10:00:00", [(n, who) for n in range(9) for who in (1, 2, 3)]
    lines = [f"same{n},{customer(who)},sku{n:03d},buy,{who},{who}.0,0,{at},s{who}," for n, who in three]
    lines += [f"like{n},{customer(who)},sku{n:03d},buy,1,1.0,0,{at},s," for n, who in three]
    lines += [
        f"most{n},{customer(SOLE)},sku{n:03d},buy,1,1.0,0,2024-01-{1 + n % 28:02d} 11:00:00,m{n},"
        for n in range(N_ITEMS)
    ]
    lines += [
        f"sole{n},{customer(SOLE)},only,buy,1,9.5,0,2024-01-{day:02d} 12:00:00,o{n},"
        for n, day in enumerate((3, 12, 25))
    ]
    with (folder / "shop" / "tills.csv").open("a", encoding="utf-8") as file:
        file.write("\n".join([*lines, ""]))
    workspace = workspace_of(shop_file, folder / "var")
    failed = run(workspace).failed
    assert not failed, failed
    return folder, workspace


@pytest.mark.slow
@pytest.mark.parametrize("number", [CONFLICTING, SOLE], ids=["ids of others", "an item of their own"])
def test_without_one_user_nobody_else_s_rows_change_by_a_bit(whole, tmp_path, number):
    folder, before = whole
    key = load_key(before.settings.keys / "pseudonym.key")
    ids = pseudonymise([customer(number)], key) + pseudonymise(cookies_of(number), key_of("cookie", key))
    shutil.copytree(folder / "shop", tmp_path / "shop")
    assert remove_customer(tmp_path / "shop", customer(number), *cookies_of(number)) > 30
    copy_releases(folder, tmp_path)
    after = workspace_of(tmp_path / "shop" / "shop.yaml", tmp_path / "var")
    failed = run(after).failed
    assert not failed, failed
    removed = check_others(before, after, ids)
    assert all(removed.values()), removed
    assert {"core.events", "core.users", "core.identities", "profile.profiles", "profile.online"} <= set(removed)
    assert "out.recommendations" in removed
