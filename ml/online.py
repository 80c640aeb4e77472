"""Online learning, one user at a time: what a user's own days say against the released weights.

A user's weights for the next purchases are the released ones plus a correction. On a day on which the user takes
something, the released score with the correction learnt so far ranks what the user had before that day, and the head of
released popularity; the softmax loss of what was taken then moves the correction. Nothing else is read: a user's state
after a day is a function of the state before it, the user's events of that day and the releases. So it costs no budget,
no number of one user reaches another (class `per_user`), and however the days are batched, the result is one.

The learner is FTRL-Proximal with a rate for each coordinate, centred at the released weights: a user who teaches
nothing stays there. Discovery keeps the released weights: one user's first purchases are too few to learn from.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ml.ranking.features import FEATURES, N_OWN_FEATURES
from ml.ranking.index import ItemIndex
from ml.ranking.inputs import Float64, Floats, Int32, Int64, UserItemState
from ml.ranking.ranker import RankerWeights
from ml.replay import DayParts, OwnItems

_OWN: Final = tuple(range(N_OWN_FEATURES))
_POPULAR: Final = tuple(FEATURES.index(name) for name in ("popularity", "popularity_category_3", "popularity_line"))

COORDINATES: Final = (*_OWN, *_POPULAR)
"""Positions in `FEATURES` of the weights that are corrected: what the user did with the very item, and how popular it
is. They are what a replay of days can follow at the cost of the days; the others keep the released weights."""


class OnlineConfig(BaseModel):
    """Constants of the learner, as chosen on 2026-11-22 on made-up shops alone.

    `python benchmarks/online.py made-up --seeds 11`: of alpha .25, .5, 1 and 2 the largest gain in NDCG@20 over all
    shops that costs none of them more than .005; of warm days 0, 28 and 84 the largest gain.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    alpha: float = Field(default=1.0, gt=0)
    """Size of the steps: the rate of a coordinate is alpha / (beta + root of the sum of its squared gradients)."""
    beta: float = Field(default=1.0, gt=0)
    """Bounds the first steps."""
    reg: float = Field(default=0.0, ge=0)
    """Pull of every step toward the released weights, squared, beside the one that the rates bring."""
    n_head: int = Field(default=100, ge=0)
    """Items of the head of released popularity that a day's purchases are told from, beside the user's own."""
    warm_days: int = Field(default=28, ge=0)
    """Days before the end of the release's window from which on a user's events are learnt from."""


@dataclass(frozen=True, eq=False)
class Learnt:
    """Every user's state of the learner; each row depends on that user's rows and on releases alone."""

    z: Float64
    """(n_users, n_coordinates) sums of gradients, less what the rates of earlier steps took off."""
    n: Float64
    """(n_users, n_coordinates) sums of squared gradients, >= 0; 0 for who has taught nothing."""

    @classmethod
    def nothing(cls, n_users: int) -> "Learnt":
        """The state at a release: everybody stands at the released weights."""
        shape = (n_users, len(COORDINATES))
        return cls(np.zeros(shape), np.zeros(shape))

    def correction(self, config: OnlineConfig) -> Float64:
        """(n_users, n_coordinates) what is added to the released weights of `COORDINATES`."""
        return _closed_form(self.z, self.n, config)

    def spread(self, config: OnlineConfig) -> Float64:
        """(n_users, n_features) the correction over all `FEATURES`, 0 where none is learnt."""
        spread = np.zeros((len(self.z), len(FEATURES)))
        spread[:, COORDINATES] = self.correction(config)
        return spread


def learn(
    parts: DayParts,
    before: UserItemState,
    midnight: int,
    index: ItemIndex,
    released: RankerWeights,
    learnt: Learnt,
    since: int,
    config: OnlineConfig | None = None,
) -> Learnt:
    """Go through days in their order, and learn from each what its purchases say; users do not meet.

    Memory is proportional to the users' own items; time to the items that users had on the days on which they took
    something.

    Args:
        parts: all days of the replay, in their order.
        before: everybody's own items as of the midnight that the replay begins at.
        midnight: that midnight, in days since 1970.
        index: the item side of the releases that serve.
        released: weights that serve.
        learnt: state of the learner at the midnight `since`; its rows say how many users there are.
        since: first day that is learnt from, in days since 1970. Earlier ones are only gone through: so the same replay
            gives the same bits, however many of its days were learnt from before.
        config: constants of the learner.

    Returns:
        The state after the last day.

    Raises:
        ValueError: if a day lies before the midnight, or a row names a user without a state or an unknown item.

    Source: McMahan et al., "Ad Click Prediction: a View from the Trenches" (KDD 2013), Algorithm 1 with lambda_1 = 0,
    for the learner; the loss is the one that the released weights were trained with, see `ml.privacy.heads`.
    """
    config = config or OnlineConfig()
    if len(parts.day) == 0:
        return learnt
    z, n = learnt.z.copy(), learnt.n.copy()
    own = OwnItems(before, midnight, parts, index.n_items, len(z))
    teacher = _Teacher(own, parts, index, released, config)
    edges = np.flatnonzero(np.diff(parts.day, prepend=parts.day[0] - 1, append=parts.day[-1] + 1))
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        rows = slice(start, stop)
        users = np.unique(parts.user_index[rows][parts.is_taken[rows]])
        if len(users) and parts.day[start] >= since:
            gradient = teacher.gradient(rows, users, _closed_form(z[users], n[users], config))
            z[users], n[users] = _step(z[users], n[users], gradient, config)
        own.add(parts, rows)
    return Learnt(z, n)


def _closed_form(z: Float64, n: Float64, config: OnlineConfig) -> Float64:
    """The weights that minimise the linearised losses so far and their proximal terms."""
    found: Float64 = -z / ((config.beta + np.sqrt(n)) / config.alpha + config.reg)
    return found


def _step(z: Float64, n: Float64, gradient: Float64, config: OnlineConfig) -> tuple[Float64, Float64]:
    """Algorithm 1, lines 8 to 11."""
    more = n + gradient**2
    sigma = (np.sqrt(more) - np.sqrt(n)) / config.alpha
    return z + gradient - sigma * _closed_form(z, n, config), more


def _sums(at: Int64, values: Floats, n_users: int) -> Float64:
    """(n_users,) sums of each user's values, in their order."""
    return np.bincount(at, values, n_users).astype(np.float64)  # of no values it is whole numbers


class _Teacher:
    """What a day says about each user's correction.

    Sums run over one user's own cells in a fixed order and never through a matrix product, so that no bit of a user
    depends on who else took something on that day.
    """

    def __init__(
        self, own: OwnItems, parts: DayParts, index: ItemIndex, released: RankerWeights, config: OnlineConfig
    ) -> None:
        """Prepare the item side; the head has a last column that stands for all other items."""
        self._own, self._parts = own, parts
        self._weights = np.array(released.next_purchases)[list(COORDINATES)]
        self._popularity = index.popularity[own.item].astype(np.float64).T
        items = index.order[: config.n_head]
        self._head = index.popularity[items].astype(np.float64)
        self._column = np.full(index.n_items, len(items), dtype=np.int64)
        self._column[items] = np.arange(len(items))

    def gradient(self, rows: slice, users: Int32, correction: Float64) -> Float64:
        """Gradients of the losses of one day, as of the midnight that begins it.

        Args:
            rows: the day's rows.
            users: (m,) who took something, ascending.
            correction: (m, n_coordinates) theirs before that day.

        Returns:
            (m, n_coordinates), 0 for who took nothing that is ranked here.
        """
        parts, own, m = self._parts, self._own, len(users)
        taken = parts.is_taken[rows]
        place, at = own.of(users)
        columns = [*own.columns(place, int(parts.day[rows.start])), *self._popularity[:, place]]
        weights = (self._weights + correction).T
        score = np.zeros(len(place))
        for column, weight in zip(columns, weights, strict=True):
            score += column * weight[at]
        label = own.marked(place, own.place_of_part[rows][taken])
        popular = np.zeros((m, len(self._head) + 1))
        for column, weight in zip(self._head.T, weights[N_OWN_FEATURES:], strict=True):
            popular[:, :-1] += column * weight[:, None]
        popular[:, -1] = -np.inf
        popular[at, self._column[own.item[place]]] = -np.inf
        label_popular = np.zeros(popular.shape, dtype=np.bool_)
        label_popular[
            np.searchsorted(users, parts.user_index[rows][taken]), self._column[parts.item_index[rows][taken]]
        ] = True
        top = popular.max(axis=1, initial=-1e300)
        np.maximum.at(top, at, score)
        share, share_popular = np.exp(score - top[at]), np.exp(popular - top[:, None])
        total = _sums(at, share, m) + share_popular.sum(axis=1)
        found = _sums(at, share * label, m) + (share_popular * label_popular).sum(axis=1)
        ideal = np.divide(1.0, found, out=np.zeros(m), where=found > 0)
        teaches = (found > 0) / np.maximum(total, 1e-300)
        error = share * (teaches[at] - label * ideal[at])
        error_popular = share_popular * (teaches[:, None] - label_popular * ideal[:, None])
        gradient = np.stack([_sums(at, error * column, m) for column in columns], axis=1)
        gradient[:, N_OWN_FEATURES:] += (error_popular[:, :-1, None] * self._head).sum(axis=1)
        return gradient
