"""Missing and unusual values through the real assets: what the shop file chooses happens, and the row says so."""

import pytest

from data.shop.errors import ShopError
from data.shop.load import parse_shop
from tests.assets.test_returns import run
from tests.support.runs import days, land, rows
from tests.support.shops import YAML, workspace_of, write_shop

PLAIN = "quantity: qty, value: paid, session_id: basket"
MANY = [f"g{i},bob,d,buy,1,0.5,2024-01-13 10:00:{i:02d},z{i}" for i in range(40)]


def shop_with(columns: str) -> str:
    return YAML.replace(PLAIN, columns)


def made(tmp_path, columns, lines):
    workspace = workspace_of(write_shop(tmp_path / "shop", [*lines, *MANY], shop_with(columns)), tmp_path / "var")
    run(workspace, days("2024-01-01", "2024-01-14"))
    return workspace


def seen(workspace, *names):
    return {
        r["event_id"]: tuple(r[name] for name in names)
        for r in rows(workspace, "core.events")
        if not r["event_id"].startswith("g")
    }


LINES = [
    "1,ann,a,buy,2,1.0,2024-01-02 10:00:00,x1",
    "2,ann,a,buy,two,1.0,2024-01-04 10:00:00,x2",
    "3,ann,a,buy,6,1.0,2024-01-10 10:00:00,x3",
    "4,ann,a,buy,,-4,2024-01-12 10:00:00,",
    "5,bob,b,buy,-3,1.0,2024-01-12 10:00:00,x5",
    "6,bob,c,look,,,2024-01-12 10:00:00,",
]
CHOSEN = (
    "quantity: {column: qty, missing: {constant: 9}, unparsable: interpolate, out_of_range: winsorise}, "
    "value: {column: paid, out_of_range: {constant: 5}}, session_id: {column: basket, missing: {constant: none}}"
)


def test_each_policy_by_hand(tmp_path):
    workspace = made(tmp_path, CHOSEN, LINES)
    assert seen(workspace, "quantity", "value", "session_id", "is_imputed", "imputed_columns") == {
        "1": (2.0, 1.0, "x1", False, None),
        "2": (3.0, 1.0, "x2", True, "quantity"),  # 2 of the 8 days from 2 to 6 units
        "3": (6.0, 1.0, "x3", False, None),
        "4": (9.0, 5.0, "none", True, "session_id,quantity,value"),
        "5": (0.0, 1.0, "x5", True, "quantity"),
        "6": (1.0, 0.0, "none", True, "session_id"),
    }
    assert rows(workspace, "core.events_quarantine") == []


def test_by_default_a_missing_quantity_is_one_and_the_rest_is_set_aside(tmp_path):
    workspace = made(tmp_path, PLAIN, [*LINES[:1], "7,ann,a,buy,,1.0,2024-01-02 10:00:00,x1", LINES[1]])
    assert seen(workspace, "quantity", "imputed_columns") == {"1": (2.0, None), "7": (1.0, "quantity")}
    assert [r["reason"] for r in rows(workspace, "core.events_quarantine")] == ["unparsable_quantity"]


def test_interpolation_reads_other_days_whenever_they_land_and_falls_back_where_there_is_nothing(tmp_path):
    good = [
        f"good{i},bob,d,buy,1,0.5,2024-01-04 11:00:{i:02d},y{i}" for i in range(40)
    ]  # the day's share of faults is low
    workspace = made(tmp_path, CHOSEN, [LINES[1], "8,bob,a,buy,?,1.0,2024-01-04 10:00:00,x8", *good])
    assert seen(workspace, "quantity") == {}
    aside = {r["row_id"]: r["reason"] for r in rows(workspace, "core.events_quarantine")}
    assert aside == {"2": "unparsable_quantity", "8": "unparsable_quantity"}
    land(workspace, "first.csv", [LINES[0]])
    run(workspace, days("2024-01-02"))
    assert seen(workspace, "quantity") == {"1": (2.0,), "2": (2.0,)}
    land(workspace, "last.csv", [LINES[2]])
    run(workspace, days("2024-01-10"))
    assert seen(workspace, "quantity") == {"1": (2.0,), "2": (3.0,), "3": (6.0,)}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("quantity: {column: qty, missing: median}", "'median' is learnt across users"),
        ("quantity: {column: qty, missing: group_mean}", "see ARCHITECTURE.md"),
        ("quantity: {column: qty, missing: null}", "'null' is not offered here; use one of constant, reject"),
        ("quantity: {column: qty, missing: winsorise}", "'winsorise' is not offered here"),
        ("quantity: {column: qty, missing: guess}", "'guess' is no policy; use one of reject"),
        ("quantity: {column: qty, out_of_range: {constant: -1}}", "give a number from 0 to 1e"),
        ("session_id: {column: basket, unparsable: reject}", "'reject' is not offered here; remove it"),
    ],
)
def test_what_is_not_offered_is_one_sentence_with_its_line(tmp_path, columns, said):
    with pytest.raises(ShopError) as fault:
        parse_shop(shop_with(columns), tmp_path / "shop.yaml")
    assert said in str(fault.value) and ", line " in str(fault.value) and "\n" not in str(fault.value)
