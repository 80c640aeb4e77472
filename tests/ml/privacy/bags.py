"""Random bags, and what a step must be: gradients of one user at a time, clipped in a manual loop."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch

from ml.privacy.checkpoint import Parameters
from ml.privacy.gradients import WholeNumberDPOptimizer, per_user_module
from ml.privacy.heads import Heads, listwise_loss
from ml.privacy.training import RunDevice, TrainingConfig, train_listwise
from ml.ranking.bags import Bags

N_HEADS = 2
ZEROS_5 = np.zeros((N_HEADS, 5))


def make_bags(n_users: int, width: int = 7, n_features: int = 5, seed: int = 0, scale: float = 1.0) -> Bags:
    """Random bags; the second head ranks half of the candidates, the last user has no positive."""
    rng = np.random.default_rng(seed)
    features = (scale * rng.normal(size=(n_users, width, n_features))).astype(np.float32)
    candidate = np.ones((n_users, N_HEADS, width), dtype=np.bool_)
    candidate[:, 1, ::2] = False
    label = (rng.random(candidate.shape) < 0.3) & candidate
    label[-1] = False
    return Bags(features, candidate, label)


def one_step(**overrides: float) -> TrainingConfig:
    """A single step whose divisor differs from the number of users."""
    settings: dict[str, float] = {"steps": 1, "learning_rate": 1.0, "max_grad_norm": 0.3, "n_averaged": 1}
    return TrainingConfig.model_validate(settings | overrides | {"declared_users": 50})


def manual_gradients(bags: Bags, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n_users, n_heads, n_features) gradient of each user's loss, one user at a time, in plain numpy."""
    gradients = np.zeros((len(bags.features), *weights.shape))
    for u, x in enumerate(bags.features.astype(np.float64)):
        for h in range(N_HEADS):
            candidate, label = bags.candidate[u, h], bags.label[u, h]
            if label.any():
                score = np.exp(x @ weights[h])
                everything, right = score * candidate, score * label * (1 if bags.weight is None else bags.weight[u])
                gradients[u, h] = (everything / everything.sum() - right / right.sum()) @ x
    return gradients


def clipped(gradients: npt.NDArray[np.float64], bound: float) -> npt.NDArray[np.float64]:
    """Each user's gradient, scaled to norm `bound` at most over both heads."""
    norm = np.sqrt((gradients**2).sum(axis=(1, 2), keepdims=True))
    scaled: npt.NDArray[np.float64] = gradients * np.minimum(1.0, bound / norm.clip(min=1e-300))
    return scaled


def manual_step(bags: Bags, users: Iterable[int], start: npt.NDArray[np.float64], config: TrainingConfig) -> Parameters:
    """The parameters after one step over these users without noise: a plain model, one user at a time."""
    fresh = Heads(start, config.hidden_size)
    total = {name: torch.zeros_like(value) for name, value in fresh.named_parameters()}
    for user in users:
        model = Heads(start, config.hidden_size)
        parts = (torch.from_numpy(x[user : user + 1]) for x in (bags.features, bags.candidate, bags.label))
        features, candidate, label = parts
        torch.autograd.backward(listwise_loss(model(features), candidate, label).sum())
        gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
        norm = torch.cat([gradient.flatten() for gradient in gradients.values()]).norm()
        for name, gradient in gradients.items():
            total[name] += gradient * min(1.0, config.max_grad_norm / max(float(norm), 1e-30))
    divisor = config.declared_users * config.sample_rate
    return {
        name: (value.detach() - config.learning_rate * total[name] / divisor).double().numpy()
        for name, value in fresh.named_parameters()
    }


def gradient_units(bags: Bags, start: npt.NDArray[np.float64], hidden_size: int) -> npt.NDArray[np.int64]:
    """The whole-number sum of these users' clipped gradients, as the optimizer has it before noise."""
    model = per_user_module(Heads(start, hidden_size))
    optimizer = WholeNumberDPOptimizer(
        torch.optim.SGD(model.parameters(), lr=1.0), noise_multiplier=1.0, max_grad_norm=0.3, expected_batch_size=1
    )
    features, candidate, label = (torch.from_numpy(x) for x in (bags.features, bags.candidate, bags.label))
    weight = None if bags.weight is None else torch.from_numpy(bags.weight)
    torch.autograd.backward(listwise_loss(model(features), candidate, label, weight).sum())
    optimizer.clip_and_accumulate()
    return torch.cat([parameter.summed_grad.flatten() for parameter in optimizer.params]).numpy()


def check_full_step(hidden_size: int = 0, device: RunDevice = "cpu") -> None:
    """A full-batch step without noise is the manual loop over all users."""
    bags, start = make_bags(40, scale=2.0), np.random.default_rng(1).normal(size=(N_HEADS, 5))
    config = one_step(hidden_size=hidden_size)
    trained = train_listwise([bags], start, config, noise_multiplier=0, non_private=True, device=device)
    wanted = manual_step(bags, range(40), start, config)
    np.testing.assert_allclose(trained.weights, wanted["linear.weight"], atol=1e-6, err_msg="not the manual loop")
    if trained.hidden is not None:
        np.testing.assert_allclose(trained.hidden.weight, wanted["hidden.weight"], atol=1e-6)
        np.testing.assert_allclose(trained.hidden.bias, wanted["hidden.bias"], atol=1e-6)
        np.testing.assert_allclose(trained.hidden.output, wanted["output.weight"], atol=1e-6)
        assert np.abs(trained.hidden.output).max() > 1e-3


def training_residuals() -> npt.NDArray[np.float64]:
    """Standardised noise of 1,000 weights after four steps over users who teach nothing."""
    bags, start = make_bags(3, n_features=500), np.zeros((N_HEADS, 500))
    bags.label[:] = False
    weights = train_listwise([bags], start, one_step(steps=4), noise_multiplier=4.0).weights
    return weights.ravel() / (np.sqrt(4) * 4.0 * 0.3 / 50)
