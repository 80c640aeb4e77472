"""Behaviour heads: linear heads over one user's own history that say what the user will do in the next 28 days.

`buys`: whether the user buys anything, and anything new; a logistic head. `department`: where the purchases, and the
new ones, will be; a softmax head over departments. Both are trained by `train_listwise`: a bag of two candidates of
which one has features 0 is a logistic regression, a bag of departments a softmax one. They start at what is free: the
user's own rate and own shares, with public weights that fit made-up shops of seeds 11 and 12 best.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from made_up import MadeUp
from scipy.special import logsumexp
from scipy.stats import rankdata

from data.history import WINDOW_DAYS
from data.synth.events import DAY_S
from data.synth.plan import EVENT_TYPES
from ml.privacy.accounting import PrivacyPlan, Slot
from ml.privacy.training import TrainingConfig, train_listwise
from ml.ranking.bags import Bags

Floats = npt.NDArray[np.floating[Any]]
WINDOWS = (7, 28, 90)
KINDS = ("view", "cart", "purchase")
SCALE = 4.0
"""Logs and odds are divided by it."""
BUYS = ((6.2, -2.1, 1.9), (0.0, 2.4, -1.0))
"""What is free: weights of the odds by the user's own rate of purchases and of new products, and a constant."""
DEPARTMENTS = ((5.6, -3.7, 2.7), (-0.1, 0.3, 0.3))
"""The same of the log shares of own purchases, of new products, and of released popularity."""
TARGETS = ("any", "new")
"""Any purchase, or one of a product that the user had nothing to do with before."""


@dataclass(frozen=True)
class BehaviourConfig:
    """Constants, chosen on made-up shops of seeds 11 and 12."""

    steps: int = 128
    learning_rate: float = 1.0
    """At most."""
    drift: float = 0.3
    """What noise alone may move a weight by until the end: lowers the learning rate where users x mu is small."""
    max_grad_norm: float = 2.5
    share: float = 0.15
    """Part of mu^2 for one head: as much as the ranker has."""
    prior_count: float = 1.0
    """Purchases that the rate and the shares of a user without history stand for."""
    prior_days: float = 28.0
    """Days in which they would have been made."""


@dataclass(frozen=True)
class History:
    """What is known of users on a day, and what they did in the next 28 days; arrays run over users first."""

    totals: Floats
    """(n, windows x kinds) log counts of events in the last days, over 3; and recency of each kind."""
    purchases: Floats
    """(n, 2) purchases in all, and first purchases of a product."""
    shares: Floats
    """(n, 2, departments) the same by department."""
    recent: Floats
    """(n, departments, windows x kinds) log counts by department, over 3."""
    taken: npt.NDArray[np.bool_]
    """(n, 2, departments) whether the user bought there afterwards: anything, and anything new."""


def history(shop: MadeUp, day: int) -> History:
    """Read it from the events of a shop."""
    n_users, department = shop.plan.n_users, shop.catalogue().codes[0].astype(np.int64)
    n = int(department.max()) + 1
    sql = f"select user_index, item_index, second, kind from events where second < {(day + WINDOW_DAYS) * DAY_S}"
    found = shop.db.execute(sql + " order by second, user_index, item_index, kind").fetchnumpy()
    user, item, kind = found["user_index"].astype(np.int64), found["item_index"].astype(np.int64), found["kind"]
    age = day - found["second"] / DAY_S
    cell, past = user * n + department[item], age > 0
    buys = kind == EVENT_TYPES.index("purchase")

    def by_cell(chosen: npt.NDArray[np.bool_]) -> Floats:
        return np.bincount(cell[chosen], minlength=n_users * n).reshape(n_users, n).astype(np.float64)

    of_kind = {name: past & (kind == EVENT_TYPES.index(name)) for name in KINDS}
    counts = np.stack([by_cell(of_kind[name] & (age <= w)) for w in WINDOWS for name in KINDS], axis=-1)
    recency = np.full((n_users, len(KINDS)), float(day))
    for column, name in enumerate(KINDS):
        np.minimum.at(recency[:, column], user[of_kind[name]], age[of_kind[name]])
    pair = user * shop.plan.n_items + item
    is_new = ~np.isin(pair, pair[past]) & ~past
    first = np.zeros(len(pair), bool)
    bought = np.flatnonzero(buys & past)
    first[bought[np.unique(pair[bought], return_index=True)[1]]] = True
    shares = np.stack([by_cell(buys & past), by_cell(first)], axis=1)
    return History(
        totals=np.concatenate([np.log1p(counts.sum(axis=1)), np.log1p(recency)], axis=1) / 3,
        purchases=shares.sum(axis=2),
        shares=shares,
        recent=np.log1p(counts) / 3,
        taken=np.stack([by_cell(buys & ~past), by_cell(buys & is_new)], axis=1) > 0,
    )


def buys_bags(known: History, day: int, config: BehaviourConfig) -> tuple[Bags, Floats]:
    """Two candidates, of which the second is to buy; and where training starts, (2, n_features)."""
    rate = (known.purchases + config.prior_count) / (day + config.prior_days)
    odds = np.log(np.expm1(rate * WINDOW_DAYS)).clip(-SCALE, SCALE)  # of at least one, where they are Poisson
    columns = np.concatenate([odds / SCALE, np.ones((len(odds), 1)), known.totals], axis=1)
    features = np.stack([np.zeros_like(columns), columns], axis=1).astype(np.float32)
    bought = known.taken.any(axis=2)
    label = np.stack([~bought, bought], axis=2)
    return Bags(features, np.ones_like(label), label), _start(BUYS, columns.shape[1])


def department_bags(known: History, popularity: Floats, config: BehaviourConfig) -> tuple[Bags, Floats]:
    """All departments; features are the log shares of own purchases, released popularity and counts."""
    prior = popularity / popularity.sum()
    shares = known.shares + config.prior_count * prior
    logs = np.log(shares / shares.sum(axis=2, keepdims=True))
    spread = np.broadcast_to(np.log(prior)[:, None], (len(logs), len(prior), 1))
    columns = np.concatenate([logs.transpose(0, 2, 1) / SCALE, spread / SCALE, known.recent], axis=2)
    features = columns.astype(np.float32)
    return Bags(features, np.ones_like(known.taken), known.taken), _start(DEPARTMENTS, features.shape[2])


def _start(weights: tuple[tuple[float, ...], ...], n_features: int) -> Floats:
    """(2, n_features) public weights of the first features."""
    return np.pad(np.array(weights), ((0, 0), (0, n_features - len(weights[0]))))


def one_label(bags: Bags) -> Bags:
    """One of each user's positives, drawn: the mean over positives of a softmax's log loss, in expectation."""
    drawn = np.where(bags.label, np.random.default_rng(0).random(bags.label.shape), 0.0)
    label = bags.label & (drawn == drawn.max(axis=2, keepdims=True))
    return Bags(bags.features, bags.candidate, label)


def scores(bags: Bags, weights: Floats) -> Floats:
    """(n, 2, width) log shares."""
    raw = np.einsum("nwf,hf->nhw", bags.features, weights)
    return np.asarray(raw - logsumexp(raw, axis=2, keepdims=True))


def figures_of_buys(bags: Bags, weights: Floats) -> dict[str, float]:
    """Base rate, area under the curve and log loss of both targets."""
    found = {}
    for head, target in enumerate(TARGETS):
        log_share, label = scores(bags, weights)[:, head], bags.label[:, head]
        place, bought = rankdata(log_share[:, 1] - log_share[:, 0]), label[:, 1]
        n_bought = int(bought.sum())
        auc = (place[bought].sum() - n_bought * (n_bought + 1) / 2) / max(n_bought * (len(bought) - n_bought), 1)
        found |= {f"{target}_base": bought.mean(), f"{target}_auc": auc, f"{target}_log_loss": -log_share[label].mean()}
    return found


def figures_of_departments(bags: Bags, weights: Floats) -> dict[str, float]:
    """Log loss of the departments of both targets, and how often the first one is right."""
    found = {}
    for head, target in enumerate(TARGETS):
        log_share, label = scores(bags, weights)[:, head], bags.label[:, head]
        kept = label.any(axis=1)
        log_share, label = log_share[kept], label[kept]
        loss = -(log_share * label).sum(axis=1) / label.sum(axis=1)
        hit = label[np.arange(len(label)), log_share.argmax(axis=1)]
        found |= {f"{target}_log_loss": loss.mean(), f"{target}_first": hit.mean()}
    return found


def trained_head(
    bags: Bags, start: Floats, epsilon: float | None, n_users: int, config: BehaviourConfig
) -> npt.NDArray[np.float64]:
    """(2, n_features) weights after full-batch steps with the head's share of the budget; `None`: without noise."""
    slot: Any = {"mechanism": "gaussian", "share": config.share, "bound": config.max_grad_norm, "steps": config.steps}
    plan = PrivacyPlan(
        epsilon=epsilon or 1, delta=1 / (100 * n_users), declared_users=n_users, slots=(Slot(name="head", **slot),)
    )
    event: Any = plan.events()["head"]
    quiet = config.drift * n_users * event.mu / (config.steps * config.max_grad_norm)
    training = TrainingConfig(
        steps=config.steps,
        learning_rate=config.learning_rate if epsilon is None else min(config.learning_rate, quiet),
        max_grad_norm=config.max_grad_norm,
        n_averaged=max(1, config.steps // 2),
        declared_users=n_users,
    )
    noise = 0.0 if epsilon is None else event.noise_multiplier
    bags = one_label(bags)
    batches = [
        Bags(bags.features[at], bags.candidate[at], bags.label[at])
        for at in (slice(first, first + 4096) for first in range(0, n_users, 4096))
    ]
    return train_listwise(batches, start, training, noise_multiplier=noise, non_private=epsilon is None).weights
