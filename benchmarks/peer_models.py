"""Recommenders without privacy, written from their papers: everybody's exact rows in, scores of every item out.

Beside Portrait they only serve comparison: nothing here is bounded, noisy or published. A peer is a function of
`Purchases` and its parameters that returns `Scores`; `listed` makes lists of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import linalg, sparse

Scores = Callable[[slice], npt.NDArray[Any]]
"""Scores of some users: rows of (n_users, n_items), higher is better."""


@dataclass(frozen=True, eq=False)
class Purchases:
    """What a peer learns from: exact rows of the days before an instant, over the items that it may list."""

    baskets: Any
    """(n_baskets, n_items) sparse, 1 where an item is in a basket."""
    basket_user: npt.NDArray[np.int64]
    """(n_baskets,) ascending; a user's baskets stand in order of time."""
    basket_age: npt.NDArray[np.float64]
    """(n_baskets,) days from the basket to the instant."""
    n_days: Any
    """(n_users, n_items) sparse, days with a purchase; its cells are what the users have."""
    popularity: npt.NDArray[np.float64]
    """(n_items,) buyers in the last 56 days, counted once in each half."""

    @property
    def binary(self) -> Any:
        """(n_users, n_items) sparse, 1 where a user has an item."""
        found = self.n_days.copy()
        found.data = np.ones_like(found.data)
        return found

    def of(self, items: npt.NDArray[np.int64]) -> "Purchases":
        """The same, over some items only."""
        baskets, n_days = (sparse.csr_array(matrix[:, items]) for matrix in (self.baskets, self.n_days))
        return replace(self, baskets=baskets, n_days=n_days, popularity=self.popularity[items])

    def summed(self, weight: npt.NDArray[np.float64]) -> Any:
        """(n_users, n_items) sparse: of each user's baskets that hold an item, the weights summed."""
        n_users, n_baskets = self.n_days.shape[0], len(self.basket_user)
        spread = sparse.csr_array((weight, (self.basket_user, np.arange(n_baskets))), shape=(n_users, n_baskets))
        return sparse.csr_array(spread @ self.baskets)

    def rows(self, tau_days: float | None) -> Any:
        """(n_users, n_items) sparse: 1 where a user has an item; or baskets decayed by exp(-age / tau_days)."""
        return self.binary if tau_days is None else self.summed(np.exp(-self.basket_age / tau_days))


def listed(scores: Scores, known: Purchases, *, fresh_only: bool, k: int = 20, chunk: int = 256) -> Any:
    """The k best items of every user, best first; who has nothing gets the most popular.

    Args:
        scores: of every user.
        known: what the users have.
        fresh_only: leave out what a user has.
        k: length of a list.
        chunk: users whose scores are held at once.

    Returns:
        (n_users, k) int64 columns of `known`.
    """
    n_users = known.n_days.shape[0]
    lists = np.empty((n_users, k), dtype=np.int64)
    for start in range(0, n_users, chunk):
        rows = slice(start, min(start + chunk, n_users))
        found = scores(rows).astype(np.float64)
        own = known.n_days[rows].tocoo()
        found[np.diff(known.n_days[rows].indptr) == 0] = known.popularity
        if fresh_only:
            found[own.coords] = -np.inf
        best = np.argpartition(-found, k - 1, axis=1)[:, :k]
        order = np.lexsort((best, -np.take_along_axis(found, best, axis=1)), axis=1)
        lists[rows] = np.take_along_axis(best, order, axis=1)
    return lists


def popularity(known: Purchases) -> Scores:
    """The same for everybody: buyers in the last 56 days."""
    return lambda rows: np.broadcast_to(known.popularity, (rows.stop - rows.start, len(known.popularity)))


def frequency(known: Purchases, tau_days: float) -> Scores:
    """How many baskets of a user hold an item, decayed by exp(-age / tau_days); ties by popularity."""
    counts, tie = known.rows(tau_days), 1e-9 * known.popularity
    return lambda rows: counts[rows].toarray() + tie


def tifu_weights(n_baskets: int, n_groups: int, r_b: float, r_g: float) -> npt.NDArray[np.float64]:
    """What each of a user's baskets, oldest first, counts in the user's vector.

    The baskets are cut into groups of equal size; where that does not come out even, the later ones hold one more. Who
    has fewer baskets than groups has a group a basket.

    >>> [round(float(w), 4) for w in tifu_weights(4, 2, 0.5, 0.1)]
    [0.0125, 0.025, 0.125, 0.25]
    >>> [round(float(w), 4) for w in tifu_weights(3, 2, 0.5, 0.1)]
    [0.05, 0.125, 0.25]

    Source: Hu, He, Gao, Zhang (SIGIR 2020), section 4.2: the weighted mean within groups, then of groups.
    """
    n_groups = min(n_groups, n_baskets)
    sizes = np.full(n_groups, n_baskets // n_groups)
    sizes[n_groups - n_baskets % n_groups :] += 1
    within = [r_b ** np.arange(size - 1.0, -1, -1) / size for size in sizes]
    across = r_g ** np.arange(n_groups - 1.0, -1, -1) / n_groups
    return np.concatenate([group * weight for group, weight in zip(within, across, strict=True)])


def tifu_vectors(known: Purchases, n_groups: int, r_b: float, r_g: float) -> Any:
    """(n_users, n_items) sparse vectors of TIFU-KNN, see `tifu_weights`."""
    counts = np.unique(known.basket_user, return_counts=True)[1]
    return known.summed(np.concatenate([tifu_weights(n, n_groups, r_b, r_g) for n in counts]))


def tifu_knn(known: Purchases, n_groups: int, r_b: float, r_g: float, k: int, alpha: float) -> Scores:
    """TIFU-KNN: alpha parts of the own vector, 1 - alpha of the mean of the k nearest others by Euclidean distance.

    Source: Hu, He, Gao, Zhang, "Modeling Personalized Item Frequency Information for Next-basket Recommendation" (SIGIR
    2020), section 4.
    """
    vectors = tifu_vectors(known, n_groups, r_b, r_g)
    products = (vectors @ vectors.T).toarray()
    squares = np.diagonal(products)
    distance = squares[:, None] + squares - 2 * products
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :k]
    n_users = len(nearest)
    cells = np.repeat(np.arange(n_users), nearest.shape[1]), nearest.ravel()
    mean = sparse.csr_array((np.full(nearest.size, 1 / nearest.shape[1]), cells), shape=(n_users, n_users))
    return lambda rows: alpha * vectors[rows].toarray() + (1 - alpha) * (mean[rows] @ vectors).toarray()


def up_cf(known: Purchases, recency: int, alpha: float, q: float) -> Scores:
    """UP-CF: users' shares of their last baskets that hold an item, summed over users by similarity to the power q.

    Args:
        known: what is known.
        recency: last baskets of a user that count.
        alpha: in [0, 1], how asymmetric the cosine of two users' items is; 1/2 is the plain cosine.
        q: at least 1, how much nearer users count more.

    Source: Faggioli, Polato, Aiolli, "Recency Aware Collaborative Filtering for Next Basket Recommendation" (UMAP
    2020), section 4.
    """
    counts = np.bincount(known.basket_user)
    left = np.cumsum(counts)[known.basket_user] - np.arange(len(known.basket_user))
    weight = np.where(left <= recency, 1 / np.minimum(counts, recency)[known.basket_user], 0.0)
    shares = known.summed(weight).astype(np.float32)
    shares.eliminate_zeros()
    binary = known.binary.astype(np.float64)
    size = np.maximum(binary.sum(axis=1), 1)
    similarity = ((binary @ binary.T).toarray() / (size[:, None] ** alpha * size ** (1 - alpha))) ** q
    similarity = similarity.astype(np.float32)
    return lambda rows: (shares.T @ similarity[rows].T).T


def ease(known: Purchases, ridge: float, tau_days: float | None = None) -> Scores:
    """EASE in the users' space: as exact as the inverse over items, and small where there are fewer users than items.

    With K = X X' + ridge I, the inverse over items is P = (I - X' K^-1 X) / ridge and X P = K^-1 X, so that X B is
    X - K^-1 X scaled by the diagonal of P.

    Args:
        known: what is known.
        ridge: of the closed form.
        tau_days: see `Purchases.rows`.

    Source: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (WWW 2019), section 3.1.
    """
    x = known.rows(tau_days)
    inner = (x @ x.T).toarray() + ridge * np.eye(x.shape[0])
    inverse = linalg.cho_solve(linalg.cho_factor(inner), np.eye(x.shape[0]))
    columns = sparse.csc_array(x)
    blocks = [slice(j, min(j + 4096, x.shape[1])) for j in range(0, x.shape[1], 4096)]
    solved = np.concatenate([(columns[:, block].T @ inverse).T for block in blocks], axis=1)
    leverage = np.concatenate([columns[:, block].multiply(solved[:, block]).sum(axis=0) for block in blocks])
    scale = ridge / (1 - leverage)
    return lambda rows: x[rows].toarray() - solved[rows] * scale


def item_knn(known: Purchases, k: int, shrink: float) -> Scores:
    """Every item that a user has votes for the k nearest to it, itself among them, by cosine.

    Args:
        known: what is known.
        k: neighbours of an item.
        shrink: added to the product of norms: cosines of rare items count less.
    """
    binary = sparse.csc_array(known.binary.astype(np.float32))
    norm = np.sqrt(binary.sum(axis=0))
    n_items, parts = binary.shape[1], []
    for start in range(0, n_items, 1024):
        block = slice(start, min(start + 1024, n_items))
        cosine = (binary[:, block].T @ binary).toarray() / (norm[block, None] * norm + shrink + 1e-9)
        best = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
        cells = np.repeat(np.arange(len(best)), k), best.ravel()
        parts.append(sparse.csr_array((np.take_along_axis(cosine, best, axis=1).ravel(), cells), shape=cosine.shape))
    neighbours = sparse.csc_array(sparse.vstack(parts))
    x = known.binary.astype(np.float32)
    return lambda rows: (x[rows] @ neighbours).toarray()


def als(known: Purchases, factors: int, regularization: float, weighting: str, threads: int = 2) -> Scores:
    """Weighted matrix factorisation of the optional package `implicit`, 15 iterations, seed 0.

    Args:
        known: what is known.
        factors: size of the factors.
        regularization: of both sides.
        weighting: `binary`, `decayed` (150 days), or `bm25` (of days with a purchase).
        threads: of the package.

    Raises:
        ImportError: if the package is not installed.

    Source: Hu, Koren, Volinsky, "Collaborative Filtering for Implicit Feedback Datasets" (ICDM 2008).
    """
    from implicit.als import AlternatingLeastSquares
    from implicit.nearest_neighbours import bm25_weight

    weighted = {
        "binary": lambda: known.binary,
        "decayed": lambda: known.rows(150.0),
        "bm25": lambda: bm25_weight(sparse.csr_matrix(known.n_days).T, K1=100, B=0.8).T,
    }[weighting]()
    model = AlternatingLeastSquares(
        factors=factors, regularization=regularization, iterations=15, random_state=0, num_threads=threads
    )
    model.fit(sparse.csr_matrix(weighted, dtype=np.float32), show_progress=False)
    return lambda rows: model.user_factors[rows] @ model.item_factors.T
