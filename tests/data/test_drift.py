"""The comparisons with the past on known numbers: what they find, what they leave unjudged, and that they only warn."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from data.contracts.core import EVENTS
from data.contracts.schema import DriftRule, VolumeRule
from data.drift import comparisons, drift, histograms, stability_index, volume
from data.expectations import COMPARISONS, expectations
from data.gate import Made, Refused, gate
from data.shop.config import Gates
from tests.support.shops import YAML, workspace_of, write_shop

MONDAY = date(2024, 1, 1)
DAYS = [MONDAY + timedelta(days=i) for i in range(70)]
OPEN = YAML.replace(", end: 2024-03-31", "")


def events(days, n=60, value=1.5, **sizes):
    """`n` purchases a day, or as many as are said for a day by its position from the end."""
    rows = []
    for back, day in enumerate(reversed(days)):
        for i in range(sizes.get(f"d{back}", n)):
            rows.append((f"e{i}", f"u_{i:032x}", "purchase", day, 1.0, value if back else sizes.get("last", value)))
    ids, users, kinds, on, quantity, worth = map(list, zip(*rows, strict=True))
    given = {"event_id": ids, "user_id": users, "event_type": kinds, "day": on, "quantity": quantity, "value": worth}
    same = {"discount": 0.0, "source": "tills", "input_version": "v", "cancelled_quantity": 0.0, "is_imputed": False}
    given |= {name: [one] * len(rows) for name, one in same.items()}
    table = pa.table({k: pa.array(v, EVENTS.arrow_schema().field(k).type) for k, v in given.items()})
    for name in set(EVENTS.names) - set(given):
        table = table.append_column(name, pa.nulls(len(rows), EVENTS.arrow_schema().field(name).type))
    return EVENTS.conform(table)


def judge(tmp_path, batch, yaml=OPEN, lag_days=0.0):
    workspace = workspace_of(write_shop(tmp_path / "shop", yaml=yaml), tmp_path / "var")
    with workspace.engine.session() as session:
        from data.contracts.core import ITEMS

        session.attach(ITEMS, workspace.lake)
        return {v.check: v for v in gate(workspace, EVENTS, Made(data=batch, lag_days=lag_days), session)}


def test_the_index_is_the_published_formula_and_zero_for_equal_shares():
    assert stability_index([300, 500, 200], [300, 500, 200]) == 0
    p, q = np.array([300.5, 500.5, 200.5]) / 1001.5, np.array([100.5, 600.5, 300.5]) / 1001.5
    assert stability_index([300, 500, 200], [100, 600, 300]) == pytest.approx(float(((q - p) * np.log(q / p)).sum()))
    assert np.isfinite(stability_index([10, 0], [0, 10]))


@pytest.mark.parametrize(("rows", "outside"), [(60, 0), (21, 0), (19, 1), (179, 0), (181, 1)])
def test_a_day_is_held_against_the_median_of_its_weekday(rows, outside):
    history = {day: 60 if day.weekday() != 6 else 5 for day in DAYS[:-7]} | {DAYS[-7]: rows}
    found = volume(VolumeRule(), history, [DAYS[-7]])
    assert (found.value, found.seen["days_judged"]) == (outside, 1)


def test_days_without_history_and_days_with_few_rows_are_said_to_be_unjudged():
    young = volume(VolumeRule(), dict.fromkeys(DAYS[:21], 60), DAYS[:21])
    assert (young.value, young.seen) == (
        0,
        {"days_judged": 0, "days_not_judged": 21, "not_judged": "not enough history"},
    )
    assert volume(VolumeRule(), dict.fromkeys(DAYS, 29), DAYS).seen["days_judged"] == 0


def test_drift_needs_rows_and_history_and_finds_what_moved():
    rule = DriftRule(column="x", edges=(1.0, 2.0))
    before = {day: np.array([100, 100, 0]) for day in DAYS[:-1]}
    same = drift(rule, before | {DAYS[-1]: np.array([105, 95, 0])}, [DAYS[-1]])
    moved = drift(rule, before | {DAYS[-1]: np.array([10, 190, 0])}, [DAYS[-1]])
    small = drift(rule, before | {DAYS[-1]: np.array([0, 0, 199])}, [DAYS[-1]])
    assert (same.value, moved.value, small.value) == (0, 1, 0)
    assert small.seen["not_judged"] == "not enough history" and moved.seen["largest_index"] > rule.limit


@pytest.mark.parametrize("unit", ["number", "category"])
def test_rows_are_counted_by_day_and_bin_in_a_fixed_order_of_bins(unit):
    day = [DAYS[2], DAYS[0], DAYS[0], DAYS[2], DAYS[2], DAYS[2], DAYS[0]]
    if unit == "number":  # x <= 1 < x <= 2 < x, none
        rule, values = DriftRule(column="x", edges=(1.0, 2.0)), [float("nan"), 1.0, 1.1, 2.0, None, 0.0, 7.0]
        expected = {DAYS[0]: [1, 1, 1, 0], DAYS[2]: [1, 1, 1, 1]}
    else:  # a, b, c, none
        rule, values = DriftRule(column="x"), ["c", "b", "b", "a", None, "c", "a"]
        expected = {DAYS[0]: [1, 2, 0, 0], DAYS[2]: [1, 0, 2, 1]}
    rows = pa.table({"day": pa.array(day, pa.date32()), "x": values})
    for order in (range(7), reversed(range(7))):
        assert {d: n.tolist() for d, n in histograms(rows.take(list(order)), rule).items()} == expected
    assert {d: n.tolist() for d, n in histograms(rows, None).items()} == {DAYS[0]: [3], DAYS[2]: [4]}
    assert histograms(rows.slice(0, 0), rule) == {}


def test_published_weeks_and_the_weeks_of_a_batch_are_one_past(tmp_path):
    """The last week after publishing the others is judged as in a batch of all."""
    workspace = workspace_of(write_shop(tmp_path / "shop", yaml=OPEN), tmp_path / "var")
    early, late = events(DAYS[:-7], n=200), events(DAYS[-7:], n=250, last=5000.0)
    workspace.lake.publish(EVENTS, early, fingerprint="f", days=DAYS[:-7])

    def judged(batch, lake):
        with workspace.engine.session() as session:
            found = comparisons(EVENTS, batch, session, lake, today=DAYS[-1] + timedelta(days=1), lag_days=None)
        return {m.name: (m.value, m.seen.get("first_days"), m.seen.get("largest_index")) for m in found}

    apart = judged(late, workspace.lake)
    at_once = judged(pa.concat_tables([early, late]), workspace_of(tmp_path / "shop/shop.yaml", tmp_path / "w").lake)
    assert apart["value_drift"][0] == 1 and apart["value_drift"] == at_once["value_drift"]
    assert apart["volume"] == at_once["volume"] == (0, None, None)


PAST = {
    "volume": lambda: (events(DAYS, d0=1), 0.0),
    "value_drift": lambda: (events(DAYS, n=200, last=5000.0), 0.0),
    "arrival": lambda: (events(DAYS), 3.0),
}


@pytest.mark.parametrize("check", PAST)
def test_a_day_unlike_the_past_warns_in_exactly_its_respect_and_blocks_only_where_the_shop_says_so(tmp_path, check):
    batch, lag = PAST[check]()
    found = judge(tmp_path, batch, lag_days=lag)
    assert [v.check for v in found.values() if not v.passed] == [check]
    assert found[check].severity == "warning" and not found[check].blocks and found[check].broke is None
    kind = check.split("_")[-1]
    with pytest.raises(Refused, match=check):
        judge(tmp_path, batch, OPEN + f"gates: {{{kind}: block}}\n", lag)


def test_a_year_at_once_is_judged_by_day_and_like_its_usual_days_passes(tmp_path):
    found = judge(tmp_path, events(DAYS, n=200), lag_days=2.0)
    assert all(v.passed for v in found.values())
    assert found["volume"].observed["days_judged"] == 70 - 28
    assert found["place_drift"].observed["days_judged"] == 70 - 14


def test_comparisons_warn_unless_the_shop_lets_them_block():
    assert {one.severity for one in expectations(EVENTS) if one.kind in COMPARISONS} == {"warning"}
    blocking = Gates(volume="block", drift="block").blocking
    found = {one.kind: one.severity for one in expectations(EVENTS, blocking)}
    assert (found["volume"], found["drift"], found["arrival"]) == ("critical", "critical", "warning")
