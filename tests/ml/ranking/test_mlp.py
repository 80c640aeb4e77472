"""The hidden layer scored by numpy is the one that torch trained, and a row's score depends on that row alone."""

import numpy as np
import torch

from ml.privacy.heads import Heads
from ml.privacy.training import TrainingConfig, train_listwise
from ml.ranking.bags import Bags
from ml.ranking.mlp import HiddenLayer


def quadratic_bags(n_users: int) -> Bags:
    """Users who buy what is extreme in a feature, either way: nothing that linear heads can rank."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(n_users, 12, 3)).astype(np.float32)
    label = np.abs(features[:, None, :, 1]) > 1.5
    return Bags(features, np.ones_like(label), label)


def test_scores_are_torchs() -> None:
    rng = np.random.default_rng(1)
    heads = Heads(np.zeros((2, 5)), 4)
    hidden = HiddenLayer(rng.normal(size=(4, 5)), rng.normal(size=4), rng.normal(size=(2, 4)))
    with torch.no_grad():
        assert heads.hidden is not None and heads.output is not None
        heads.hidden.weight.copy_(torch.from_numpy(hidden.weight))
        heads.hidden.bias.copy_(torch.from_numpy(hidden.bias))
        heads.output.weight.copy_(torch.from_numpy(hidden.output))
    features = rng.normal(size=(7, 9, 5)).astype(np.float32)
    found = hidden.scores(features)
    np.testing.assert_allclose(found.transpose(0, 2, 1), heads(torch.from_numpy(features)).detach().numpy(), atol=1e-5)
    for user in range(7):
        assert np.array_equal(hidden.scores(features[user]), found[user])


def test_a_hidden_layer_starts_at_the_linear_prior_and_learns_what_that_cannot() -> None:
    bags, prior = quadratic_bags(150), np.array([[0.3, 0.0, -0.2]])
    features = torch.from_numpy(bags.features)
    np.testing.assert_array_equal(Heads(prior, 8)(features).detach(), Heads(prior)(features).detach())

    def hits(hidden_size: int) -> float:
        """Share of users whose best candidate is right."""
        config = TrainingConfig(
            steps=25, learning_rate=15.0, max_grad_norm=2.0, n_averaged=1, declared_users=150, hidden_size=hidden_size
        )
        trained = train_listwise([bags], prior, config, noise_multiplier=0, non_private=True)
        scores = bags.features @ trained.weights[0]
        if trained.hidden is not None:
            scores = scores + trained.hidden.scores(bags.features)[..., 0]
        return float(np.take_along_axis(bags.label[:, 0], scores.argmax(axis=1)[:, None], axis=1).mean())

    linear, hidden = hits(0), hits(16)
    assert hidden > linear + 0.15, (linear, hidden)
