"""A release that is cut short, and a ledger that this version or clock does not fit: nothing is ever under-counted."""

import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from assets import arrays
from assets.release import declared_plan, ledger_key, open_ledger, plan_of, release
from data.contracts.model import POPULARITY, RANKER
from data.ledger import Ledger, LedgerError
from data.workspace import Workspace
from ml.privacy.accounting import compose, ledger_composer
from ml.privacy.events import gradient_event
from ml.privacy.training import TrainingConfig, train_listwise
from tests.assets.release.test_faults import spoil_data
from tests.ml.privacy.bags import N_HEADS, make_bags
from tests.support.released import Released, call


def ranker(shop: Workspace, *, scale: float) -> object:
    """The release of a ranker from users of a made-up size, through the shop's ledger."""

    def mechanism(planned):
        config = TrainingConfig(
            steps=planned.steps,
            learning_rate=2.0,
            max_grad_norm=planned.bound,
            declared_users=plan_of(shop).declared_users,
        )
        start = np.full((N_HEADS, 19), scale)
        ran = train_listwise(
            [make_bags(5, n_features=19, scale=scale)], start, config, noise_multiplier=planned.noise_multiplier
        )
        fields = ran.event.model_dump(exclude={"max_grad_norm"})
        return arrays.weights_table(ran.weights), gradient_event(bound=ran.event.max_grad_norm, **fields)

    return release(
        shop,
        RANKER,
        "ranker",
        is_published=False,
        run_id="r",
        code_version="1",
        inputs="the same",
        mechanism=mechanism,
    )


def test_a_gradient_that_is_not_finite_leaves_the_slot_spent_and_a_rerun_costs_nothing_more(shop: Workspace) -> None:
    with pytest.raises(FloatingPointError, match="gradient is not finite"):
        ranker(shop, scale=1e30)
    ledger, event = open_ledger(shop), plan_of(shop).events()["ranker"]
    [row] = ledger.rows()
    price = compose([event], plan_of(shop).delta).epsilon
    assert (row.state, row.slot) == ("reserved", "ranker") and ledger.spent().epsilon == pytest.approx(price)
    rows, notes = ranker(shop, scale=1.0)
    [row] = ledger.rows()
    assert row.state == "committed" and ledger.spent().epsilon == pytest.approx(price)
    assert rows.num_rows and notes["ledger_head"] == row.head


def test_a_clock_that_goes_backwards_is_told_and_counts_every_release(shop: Workspace) -> None:
    plan = declared_plan(shop)
    times = iter(datetime(2030, 1, 1, tzinfo=UTC) - timedelta(days=day) for day in range(3))
    ledger = Ledger.open(
        shop.ledger_store, ledger_key(shop), plan.document(), ledger_composer(plan.delta), clock=lambda: next(times)
    )
    for slot in ("popularity", "gram"):
        ledger.reserve(
            slot=slot, asset=f"model.{slot}", run_id="r", input_version="v", code_version="1", is_published=False
        )
    spent = open_ledger(shop).spent()
    events = plan.events()
    assert spent.epsilon == pytest.approx(compose([events["popularity"], events["gram"]], plan.delta).epsilon)
    code, out, err = call("ledger", "show")
    assert code == 0, err
    assert out.count("(!)") == 3 and "recorded by a clock that stood before an earlier row's" in out


def test_a_mechanism_that_this_version_does_not_know_stops_before_a_row_is_read(shop: Workspace) -> None:
    plan = declared_plan(shop)
    document = plan.document()
    later = {**document["plan"]["slots"][0], "mechanism": "laplace"}
    document["plan"] = {**document["plan"], "slots": [later, *document["plan"]["slots"][1:]]}
    Ledger.open(shop.ledger_store, ledger_key(shop), document, ledger_composer(plan.delta))
    said = r'mechanism of slot .popularity. is "discrete_gaussian", there "laplace".*use the version that knows these'
    with pytest.raises(LedgerError, match=said):
        open_ledger(shop)
    spoil_data(shop)
    assert re.search(said, Released(shop).failure)
    assert shop.lake.published(POPULARITY.key) is None
