"""The ranker is learnt in coordinates of its own and comes back in the weights that lists are ranked by."""

import numpy as np
import pytest
from made_up import MadeUp

from assets import arrays, learning
from data.synth.plan import Plan
from ml.privacy.plan import default_plan
from ml.ranking.inputs import Float64, ReleasedGram, ReleasedPopularity
from ml.ranking.ranker import PRIOR

USERS = 300


@pytest.fixture(scope="module")
def shop() -> MadeUp:
    return MadeUp(Plan(n_users=USERS, n_items=200, n_days=90, seed=3, shape="utc_csv"))


def weights(shop: MadeUp, n_labels: int | None) -> Float64:
    """(2, n_features) learnt without noise from the first labels; all of them for None."""
    user, item = shop.fit_labels()
    counts = np.bincount(item, minlength=200).astype(np.float64)
    plan = default_plan(8.0, 1e-6, 10_000)
    trained = learning.ranker(
        arrays.as_state(shop.state("fit")),
        (user[:n_labels], item[:n_labels], np.ones(len(user[:n_labels]))),
        shop.user_ids,
        shop.catalogue(),
        ReleasedPopularity(counts, 0.0),
        ReleasedGram.none(),
        plan.events()["ranker"],
        plan.model_copy(update={"declared_users": USERS}),
        tell=lambda line: None,
        non_private=True,
    )
    return trained.weights


def test_without_labels_the_prior_comes_back(shop: MadeUp) -> None:
    np.testing.assert_allclose(weights(shop, 0), PRIOR.to_array(), atol=1e-4)


def test_labels_move_the_weights_of_both_tasks(shop: MadeUp) -> None:
    moved = np.abs(weights(shop, None) - PRIOR.to_array()).max(axis=1)
    assert (moved > 0.05).all() and (moved < 10).all()
