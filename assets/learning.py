"""What is learnt across users, as functions of what is read: for the releases, and for their twin without noise."""

import hashlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from assets import arrays
from data.history import History, Phase

if TYPE_CHECKING:
    from ml.privacy.accounting import PrivacyPlan
    from ml.privacy.events import DiscreteGaussianEvent, GaussianEvent, GramGaussianEvent
    from ml.privacy.gram import GramRelease
    from ml.privacy.mechanisms import Release
    from ml.privacy.training import Trained
    from ml.ranking.bags import Bags
    from ml.ranking.inputs import Catalogue, Float64, Int32, ReleasedGram, ReleasedPopularity, UserItemState
    from ml.ranking.ranker import RankerWeights


def popularity(
    history: History, planned: "DiscreteGaussianEvent", *, n_windows: int, non_private: bool = False
) -> "Release":
    """Count who took what in the windows; a plan that fits no ranker counts both windows as one.

    Args:
        history: the shop's history.
        planned: what the plan allows.
        n_windows: 2, or 1.
        non_private: without noise.

    Returns:
        `values` (n_windows, n_items), oldest window first.
    """
    from ml.privacy.mechanisms import release_popularity

    numbered = [history.numbered(pairs) for pairs in history.popular()]
    window = np.repeat(np.arange(len(numbered)), [len(user) for user, _ in numbered])
    return release_popularity(
        np.concatenate([user for user, _ in numbered]),
        np.concatenate([item for _, item in numbered]),
        n_items=len(history.item_ids),
        planned=planned,
        window_index=np.minimum(window, n_windows - 1),
        n_windows=n_windows,
        cell_cap=1.0,
        non_private=non_private,
    )


def gram_phase(plan: "PrivacyPlan") -> Phase:
    """As of when the Gram matrix is counted: before the ranker's labels, or up to the last day where none is fitted."""
    from ml.privacy.plan import has_ranker

    return "fit" if has_ranker(plan) else "test"


def gram(
    state: "UserItemState",
    n_users: int,
    before: "ReleasedPopularity",
    planned: "GramGaussianEvent",
    plan: "PrivacyPlan",
    *,
    non_private: bool = False,
) -> "tuple[Int32, Float64, GramRelease]":
    """What the same users have, over the head of released popularity.

    Args:
        state: everybody's own items as of `gram_phase`.
        n_users: users, with or without items.
        before: released popularity up to that instant.
        planned: what the plan allows.
        plan: the whole plan.
        non_private: without noise.

    Returns:
        Catalogue positions of the head, the direction that users' rows were projected off, and the matrix.
    """
    from ml.privacy.gram import release_gram
    from ml.privacy.plan import head_size
    from ml.ranking.ease import head_of, head_rows

    head, direction = head_of(before, head_size(plan.declared_users, planned.mu))
    rows = head_rows(state.user_index, state.item_index, head, n_users=n_users, n_items=len(before.counts))
    return head, direction, release_gram(rows, planned=planned, mean_direction=direction, non_private=non_private)


def enters_training(user_ids: Iterable[object], rate: float) -> npt.NDArray[np.bool_]:
    """Who trains the ranker: everybody by a digest of the own id, whoever else there is.

    Args:
        user_ids: of everybody.
        rate: probability of entering, in (0, 1].

    Returns:
        One decision a user, in their order.
    """
    drawn = (hashlib.blake2b(f"{one}".encode(), digest_size=8, key=b"ranker").digest() for one in user_ids)
    return np.array([int.from_bytes(digest) < rate * 2**64 for digest in drawn], dtype=np.bool_)


def ranker(
    state: "UserItemState",
    labels: "tuple[Int32, Int32, Float64]",
    user_ids: Collection[object],
    catalogue: "Catalogue",
    before: "ReleasedPopularity",
    together: "ReleasedGram",
    planned: "GaussianEvent",
    plan: "PrivacyPlan",
    *,
    tell: Callable[[str], None],
    non_private: bool = False,
) -> "Trained":
    """Fit the heads to what users took after the instant of fitting.

    Args:
        state: everybody's own items as of that instant.
        labels: users and items taken after it, and how much each counts among the same user's.
        user_ids: of everybody, with or without items, in the order of their numbers.
        catalogue: the whole public catalogue.
        before: released popularity up to that instant.
        together: the released Gram matrix.
        planned: what the plan allows.
        plan: the whole plan.
        tell: receives lines of progress.
        non_private: without noise.

    Returns:
        The weights and what ran.
    """
    bags = ranker_bags(state, labels, user_ids, catalogue, before, together, planned, plan, tell=tell)
    tell(f"bags ready, {planned.steps} full-batch steps to go")
    return fit_ranker(bags, planned, plan, non_private=non_private)


def ranker_bags(
    state: "UserItemState",
    labels: "tuple[Int32, Int32, Float64]",
    user_ids: Collection[object],
    catalogue: "Catalogue",
    before: "ReleasedPopularity",
    together: "ReleasedGram",
    planned: "GaussianEvent",
    plan: "PrivacyPlan",
    *,
    tell: Callable[[str], None],
) -> "list[Bags]":
    """What the ranker is trained on: the bags of those who train, in the coordinates of `ml.ranking.coordinates`.

    Args:
        state: everybody's own items as of that instant.
        labels: users and items taken after it, with weights.
        user_ids: of everybody, in the order of their numbers.
        catalogue: the whole public catalogue.
        before: released popularity up to that instant.
        together: the released Gram matrix.
        planned: what the plan allows.
        plan: the whole plan.
        tell: receives lines of progress.
    """
    from ml.privacy.plan import ranker_users
    from ml.ranking.bags import training_bags
    from ml.ranking.coordinates import in_coordinates
    from ml.ranking.index import index_items
    from ml.ranking.inputs import CandidateConfig

    candidates, n_users = CandidateConfig(), len(user_ids)
    n_trained = ranker_users(plan.declared_users, planned.mu)
    if n_trained < plan.declared_users:
        enters = enters_training(user_ids, n_trained / plan.declared_users)
        state, labels, n_users = _only(enters, state, labels)
        tell(f"{n_users} users train")
    index = index_items(catalogue, before, together, candidates)
    bags = training_bags(state, index, *labels, n_users=n_users, config=candidates)
    for number, batch in enumerate(bags):  # one after the other: they are most of the memory
        bags[number] = in_coordinates(batch)
    return bags


def fit_ranker(
    bags: "list[Bags]", planned: "GaussianEvent", plan: "PrivacyPlan", *, non_private: bool = False
) -> "Trained":
    """Train on bags in coordinates; the weights are those of the features.

    Args:
        bags: of `ranker_bags`.
        planned: what the plan allows.
        plan: the whole plan.
        non_private: without noise.
    """
    from ml.privacy.plan import PlanConstants, ranker_users
    from ml.privacy.training import TrainingConfig, train_listwise
    from ml.ranking.coordinates import from_coordinates, to_coordinates
    from ml.ranking.ranker import PRIOR

    config = TrainingConfig(
        steps=planned.steps,
        learning_rate=PlanConstants().learning_rate,
        max_grad_norm=planned.bound,
        declared_users=ranker_users(plan.declared_users, planned.mu),
    )
    noise = 0.0 if non_private else planned.noise_multiplier
    start = to_coordinates(PRIOR.to_array())
    trained = train_listwise(bags, start, config, noise_multiplier=noise, non_private=non_private)
    return replace(trained, weights=from_coordinates(trained.weights))


def _only(
    enters: npt.NDArray[np.bool_], state: "UserItemState", labels: "tuple[Int32, Int32, Float64]"
) -> "tuple[UserItemState, tuple[Int32, Int32, Float64], int]":
    """Rows and labels of some users, numbered anew in the same order, and how many users these are."""
    number = (np.cumsum(enters) - 1).astype(np.int32)
    kept = enters[state.user_index]
    columns = {name: column[kept] for name, column in vars(state).items()}
    columns["user_index"] = number[columns["user_index"]]
    user, item, weight = labels
    taught = enters[user]
    return type(state)(**columns), (number[user[taught]], item[taught], weight[taught]), int(enters.sum())


def counted(
    history: History, plan: "PrivacyPlan", *, non_private: bool
) -> "tuple[ReleasedPopularity, ReleasedPopularity]":
    """Released popularity up to the instant of fitting and up to date, published nowhere.

    Args:
        history: the shop's history.
        plan: the whole plan.
        non_private: without noise.
    """
    from ml.privacy.plan import has_ranker
    from ml.ranking.inputs import ReleasedPopularity

    planned: Any = plan.events()["popularity"]
    found = popularity(history, planned, n_windows=2 if has_ranker(plan) else 1, non_private=non_private)
    noise_std = 0.0 if non_private else planned.noise_std
    return ReleasedPopularity(found.values[0], noise_std), ReleasedPopularity(found.values[-1], noise_std)


def together_of(
    state: "UserItemState", n_users: int, before: "ReleasedPopularity", plan: "PrivacyPlan", *, non_private: bool
) -> "ReleasedGram":
    """The released Gram matrix of a plan, published nowhere; none where the plan has none.

    Args:
        state: everybody's own items as of `gram_phase`.
        n_users: users, with or without items.
        before: released popularity up to that instant.
        plan: the whole plan.
        non_private: without noise.
    """
    from ml.ranking.inputs import ReleasedGram

    planned: Any = plan.events().get("gram")
    if planned is None:
        return ReleasedGram.none()
    head, direction, found = gram(state, n_users, before, planned, plan, non_private=non_private)
    return ReleasedGram(head, direction, found.values, found.noise_std)


def everything(
    history: History, catalogue: "Catalogue", plan: "PrivacyPlan", *, non_private: bool
) -> "tuple[ReleasedPopularity, ReleasedGram, RankerWeights]":
    """All releases of a plan, one after the other, published nowhere: a twin or a draw on a public benchmark.

    Args:
        history: the shop's history.
        catalogue: the whole public catalogue.
        plan: the whole plan.
        non_private: without noise.

    Returns:
        What `recommend` is given.
    """
    from ml.privacy.plan import has_ranker
    from ml.ranking.inputs import ReleasedGram
    from ml.ranking.ranker import PRIOR, RankerWeights

    before, latest = counted(history, plan, non_private=non_private)
    if set(plan.events()) == {"popularity"}:
        return latest, ReleasedGram.none(), PRIOR
    state = arrays.user_item_state(history, gram_phase(plan))
    together = together_of(state, len(history.user_ids), before, plan, non_private=non_private)
    if not has_ranker(plan):
        return latest, together, PRIOR
    trained = ranker(
        state,
        history.weighted(history.fit_labels()),
        history.user_ids,
        catalogue,
        before,
        together,
        cast("GaussianEvent", plan.events()["ranker"]),
        plan,
        tell=lambda line: None,
        non_private=non_private,
    )
    return latest, together, RankerWeights.from_array(trained.weights)
