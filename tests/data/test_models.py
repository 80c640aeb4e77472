"""Every SQL model stays in the portable subset, and every column of a modelled table has a traced origin."""

from pathlib import Path

import pytest

import data
from data.features import daily_model
from data.macros import MACROS
from data.models import model
from data.portable import lint

MODELS = sorted(f"{p.parent.name}/{p.stem}" for p in (Path(data.__file__).parent / "sql").rglob("*.sql"))
JUDGED = {
    "rows": "landed.events",
    "event_types": "'purchase'",
    "calendar_start": "2017-01-01",
    "no_day": "1970-01-01",
}
PARAMETERS = {
    "core/events_judged": JUDGED,
    "core/events_checked": {"judged": model("core/events_judged", **JUDGED)},
    "core/rows_quarantine": {"checked": "items_checked", "user_id": "c.user_id", "row_id": "c.item_id"},
}


def test_there_are_models_and_macros():
    assert len(MODELS) > 10 and MACROS


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_portable(name):
    assert lint(model(name, **PARAMETERS.get(name, {}))) == []


def test_the_daily_sums_are_portable():
    assert lint(daily_model()) == []


def test_the_lint_would_notice():
    assert lint("select round(x, 2) as y from core.items")
