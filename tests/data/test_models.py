"""Every SQL model stays in the portable subset, and every column of a modelled table has a traced origin."""

from datetime import datetime
from pathlib import Path

import pytest

import data
from data.core import landed_columns
from data.facet_sql import daily_sql, state_sql
from data.features import daily_model
from data.macros import MACROS
from data.models import model
from data.policies import number_rules, text_rules
from data.portable import lint, to_spark
from data.shop.columns import Column
from data.shop.load import load_shop

MODELS = sorted(f"{p.parent.name}/{p.stem}" for p in (Path(data.__file__).parent / "sql").rglob("*.sql"))
TRANSACTIONS = load_shop(Path(data.__file__).parents[1] / "examples" / "complete_journey" / "shop.yaml")
CHOSEN = {
    "quantity": Column.model_validate({"column": "quantity", "unparsable": "interpolate", "out_of_range": "winsorise"}),
    "place": Column.model_validate({"column": "store_id", "missing": {"constant": "nowhere"}}),
}
SOURCE = TRANSACTIONS.sources["transactions"]
FILLED = TRANSACTIONS.model_copy(
    update={"sources": {"transactions": SOURCE.model_copy(update={"columns": SOURCE.columns | CHOSEN})}}
)
RULES = {"numbers": number_rules(FILLED, "r"), "texts": text_rules(FILLED, "r")}
JUDGED = {
    "rows": "landed.events",
    "event_types": "'purchase'",
    "calendar_start": "2017-01-01",
    "no_day": "1970-01-01",
    **RULES,
}
SETTLED = {"judged": model("core/events_judged", **JUDGED), "imputed": "core.corrections", **RULES}
PARAMETERS = {
    "core/events_judged": JUDGED,
    "core/events_touched": RULES,
    "core/events_imputed": RULES,
    "core/events_settled": SETTLED,
    "core/events_checked": {"settled": model("core/events_settled", **SETTLED), "filled": ["place"], **RULES},
    "core/events_resolved": {"landed": "select * from raw.tills", "columns": tuple(landed_columns("events"))},
    "core/users_checked": {"is_resolved": False, "asking": ["members"]},
    "features/promotions": {"instant": "2017-11-01 00:00:00", "everywhere": "*"},
    "core/rows_quarantine": {"checked": "items_checked", "user_id": "c.user_id", "row_id": "c.item_id"},
}

FACETS = {
    "features/daily": daily_sql(),
    "features/state": state_sql(datetime(2024, 3, 1), checkpoint="held", checkpoint_at=datetime(2024, 2, 1)),
}


def test_there_are_models_and_macros():
    assert len(MODELS) > 10 and MACROS


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_portable(name):
    sql = FACETS[name] if name in FACETS else model(name, **PARAMETERS.get(name, {}))
    assert lint(sql) == []
    assert to_spark(sql)


def test_the_customers_of_a_shop_that_joins_identifiers_are_portable():
    assert lint(model("core/users_checked", is_resolved=True, asking=[])) == []


def test_the_daily_sums_are_portable():
    assert lint(daily_model()) == []


def test_the_lint_would_notice():
    assert lint("select round(x, 2) as y from core.items")
