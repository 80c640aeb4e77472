"""A user without events: every mechanism has a defined answer, and the answer is that he adds nothing."""

import math

import numpy as np
from scipy import sparse

from ml.privacy.contingency import release_table
from ml.privacy.events import GaussianEvent
from ml.privacy.exponential import quantile_scores, vote_scores
from ml.privacy.gram import gram_of_units
from ml.privacy.kmeans import cluster_contributions
from ml.privacy.mechanisms import release_popularity
from ml.privacy.shape import release_shape
from ml.privacy.training import train_listwise
from ml.ranking.bags import Bags
from tests.ml.privacy.bags import ZEROS_5, make_bags, one_step
from tests.ml.privacy.cases import CLAIM, ONE_USER
from tests.ml.privacy.checks import S

USERS, ITEMS = np.array([0, 0, 2, 5]), np.array([1, 2, 1, 0])  # users 1, 3 and 4 are known, and did nothing
NOBODY = np.array([], dtype=np.int64)


def test_sums_and_tables_hold_the_others_alone_and_nobody_is_zero() -> None:
    options = {"planned": CLAIM, "non_private": True}
    found = release_popularity(USERS, ITEMS, n_items=4, **options).values
    np.testing.assert_allclose(found, [[1, 2, 1, 0]], atol=4 * 3 / S)
    assert not release_popularity(NOBODY, NOBODY, n_items=4, **options).values.any()
    assert not release_table(NOBODY, NOBODY, NOBODY, shape=(2, 2), **options).values.any()


def test_choices_count_those_who_have_a_value() -> None:
    ladder = np.array([0.0, 1.0])
    scores = quantile_scores(USERS, ITEMS.astype(float), candidates=ladder, alpha=0.5, sensitivity=S)
    assert scores.tolist() == [-S, 0]  # values 1.5, 1 and 0: two above 0 and none below; one above 1 and one below
    assert vote_scores(USERS, ITEMS, n_candidates=3, bound=1.0, sensitivity=S).tolist() == [S, 2 * S, S]


def test_the_population_counts_those_with_a_row() -> None:
    assert release_shape(USERS, planned=ONE_USER, non_private=True).population.users == 3


def test_an_empty_row_adds_no_product() -> None:
    rows = sparse.csr_array(np.array([[1.0, 2.0], [0.0, 0.0], [0.0, 3.0]]))
    found = gram_of_units(rows[[0, 2]], sensitivity=2**12)
    np.testing.assert_array_equal(gram_of_units(rows, sensitivity=2**12), found)


def test_a_point_at_the_origin_counts_in_its_cluster_and_adds_no_vector() -> None:
    planned = GaussianEvent(steps=1, noise_multiplier=1.0, bound=math.sqrt(2), randomness="opendp")
    found = cluster_contributions(np.zeros((1, 2)), np.array([[1.0, 0.0], [0.1, 0.0]]), bound=planned.bound)
    assert np.flatnonzero(found.total()).tolist() == [5]


def test_a_bag_without_positives_moves_no_weight() -> None:
    bags = make_bags(6)
    bags.label[2:] = False
    few = Bags(bags.features[:2], bags.candidate[:2], bags.label[:2])
    options = {"noise_multiplier": 0, "non_private": True}
    everybody = train_listwise([bags], ZEROS_5, one_step(steps=3), **options)
    others = train_listwise([few], ZEROS_5, one_step(steps=3), **options)
    np.testing.assert_array_equal(everybody.weights, others.weights)
