"""Planted oddities must be found, each by the feature that was bent; the report is seeded and complete."""

import numpy as np
import pytest

from ml import outliers
from ml.outliers import EVENT_FEATURES, OutlierConfig, find_apart


@pytest.fixture(scope="module")
def shop() -> tuple[np.ndarray, dict[int, str]]:
    """3,000 ordinary events by day with four planted ones: row -> the feature that was bent."""
    rng = np.random.default_rng(7)
    quantity = 1.0 + rng.poisson(0.7, 3000)
    value = quantity * rng.lognormal(1.0, 0.4, 3000)
    hour = np.clip(rng.normal(15, 2, 3000), 0, 24)
    quantity[10], value[10] = 90_000.0, 200.0
    quantity[20], value[20] = 1.0, 900.0
    hour[30] = 1.0
    hour[40] = np.nan
    planted = {10: "log1p_quantity", 20: "unit_price", 30: "hour", 40: "hour"}
    return outliers.event_features(quantity, value, hour), planted


def test_planted_events_are_among_the_first_with_their_feature(shop: tuple[np.ndarray, dict[int, str]]) -> None:
    features, planted = shop
    report = outliers.find(features, EVENT_FEATURES, OutlierConfig(sample_size=3000, top=8), seed=0)
    assert planted.items() <= {unusual.row: unusual.feature for unusual in report.top}.items()
    usual = outliers.find(features, EVENT_FEATURES, OutlierConfig(top=8), seed=0)
    assert {10, 20} <= {unusual.row for unusual in usual.top}
    night = next(unusual for unusual in report.top if unusual.row == 30)
    assert (night.value, night.median) == (1.0, np.median(features[:, 3]))


def test_scores_are_ordered_and_seeded(shop: tuple[np.ndarray, dict[int, str]]) -> None:
    features, _ = shop
    report = outliers.find(features, EVENT_FEATURES, OutlierConfig(top=50), seed=3)
    assert report.scores.shape == (3000,)
    assert 0 < report.scores.min() <= np.median(report.scores) < 0.5 < report.scores.max() < 1
    assert [unusual.score for unusual in report.top] == np.sort(report.scores)[::-1][:50].tolist()
    again = outliers.find(features, EVENT_FEATURES, OutlierConfig(top=50), seed=3)
    np.testing.assert_array_equal(again.scores, report.scores)
    assert again.top == report.top
    other = outliers.find(features, EVENT_FEATURES, OutlierConfig(top=50), seed=4)
    assert not np.array_equal(other.scores, report.scores)


def test_event_features_by_hand() -> None:
    found = outliers.event_features(np.asarray([2.0, 0.0]), np.asarray([5.0, 3.0]), np.asarray([7.5, np.nan]))
    np.testing.assert_allclose(found, [[np.log(3), np.log(6), 2.5, 7.5], [0.0, np.log(4), 3.0, outliers.NO_HOUR]])


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_few_rows_give_a_defined_answer(rows: int) -> None:
    report = outliers.find(np.ones((rows, 2)), ("a", "b"), OutlierConfig(), seed=0)
    assert report.scores.shape == (rows,)
    assert [unusual.row for unusual in report.top] == list(range(rows))


def test_errors_name_the_column_and_the_remedy() -> None:
    with pytest.raises(ValueError, match="Feature b has a value that is not finite"):
        outliers.find(np.asarray([[1.0, np.nan]]), ("a", "b"), OutlierConfig(), seed=0)
    with pytest.raises(ValueError, match="one name a column"):
        outliers.find(np.ones((3, 2)), ("a",), OutlierConfig(), seed=0)


def test_dbscan_names_what_lies_apart_of_every_cluster_and_by_which_feature() -> None:
    draw = np.random.default_rng(5)
    rows = draw.normal(0, 1, (400, 2))
    rows[::2] += 20
    rows[17, 1] = 90
    found = find_apart(rows, ("a", "b"), OutlierConfig(), seed=1)
    assert (found[0].row, found[0].feature, found[0].value) == (17, "b", 90.0)
    assert found == find_apart(rows, ("a", "b"), OutlierConfig(), seed=1)
    assert find_apart(np.zeros((50, 2)), ("a", "b"), OutlierConfig(), seed=1) == ()
    assert find_apart(np.empty((0, 2)), ("a", "b"), OutlierConfig(), seed=1) == ()
