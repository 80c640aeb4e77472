"""Gradient training: clipping and noise against a manual loop, and what is read back for the ledger."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from ml.privacy.gradients import SENSITIVITY
from ml.privacy.heads import listwise_loss
from ml.privacy.training import RunDevice, TrainingConfig, train_listwise
from ml.ranking.bags import Bags, bags_of_users
from tests.ml.privacy.bags import (
    N_HEADS,
    ZEROS_5,
    check_full_step,
    clipped,
    gradient_units,
    make_bags,
    manual_gradients,
    one_step,
)

NEEDS_CUDA = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device on this machine"),
]
DEVICES = ["auto", "cpu", pytest.param("cuda", marks=NEEDS_CUDA)]


@pytest.mark.parametrize("device", DEVICES)
def test_the_step_is_the_sum_of_manually_clipped_gradients_over_the_declared_population(device: RunDevice) -> None:
    bags, start = make_bags(40), np.random.default_rng(1).normal(size=(N_HEADS, 5))
    trained = train_listwise([bags], start, one_step(), noise_multiplier=0, non_private=True, device=device)
    gradients = manual_gradients(bags, start)
    assert (np.sqrt((gradients**2).sum(axis=(1, 2))) > 0.3).mean() > 0.3  # clipping has something to do
    expected = start - clipped(gradients, 0.3).sum(axis=0) / 50
    np.testing.assert_allclose(trained.weights, expected, atol=1e-6)
    assert np.abs(expected - (start - gradients.sum(axis=0) / 50)).max() > 1e-2


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("hidden_size", [0, 6])
def test_with_a_hidden_layer_too_the_step_is_the_manual_loops(hidden_size: int, device: RunDevice) -> None:
    check_full_step(hidden_size, device)


def test_cuda_without_a_device_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="there is no CUDA device; ask for auto or cpu"):
        train_listwise([make_bags(3)], ZEROS_5, one_step(), noise_multiplier=1.0, device="cuda")


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("hidden_size", [0, 4])
def test_leaving_a_user_out_moves_the_sum_by_that_users_clipped_gradient(hidden_size: int) -> None:
    bags, start = make_bags(30, scale=2.0), np.full((N_HEADS, 5), 0.1)

    def units(users: list[int]) -> npt.NDArray[np.int64]:
        return gradient_units(bags_of_users([bags], users), start, hidden_size)

    everybody = units(list(range(30)))
    for left_out in range(30):
        without, alone = units([user for user in range(30) if user != left_out]), units([left_out])
        # Not a unit here; float32 may round with the company a user is in, on other processors, so a few are allowed.
        assert np.linalg.norm(everybody - without - alone) <= 8
        assert int((alone.astype(object) ** 2).sum()) <= SENSITIVITY**2
        assert alone.any() == bags.label[left_out].any()
    manual = clipped(manual_gradients(bags, start), 0.3).sum(axis=0).ravel() * SENSITIVITY / 0.3
    if hidden_size == 0:
        np.testing.assert_allclose(everybody, manual, atol=30 * 4)


def test_a_huge_gradient_moves_the_weights_by_the_clip_norm_at_most() -> None:
    bags = make_bags(2, scale=1e6)
    bags.label[0, 0, 0] = True  # the only user with a positive
    trained = train_listwise([bags], ZEROS_5, one_step(max_grad_norm=0.01), noise_multiplier=0, non_private=True)
    moved = float(np.linalg.norm(trained.weights)) * 50
    assert 0.0099 < moved <= 0.01 + 1e-7


def test_batches_and_padding_change_nothing() -> None:
    bags, config = make_bags(30), one_step(steps=5)
    whole = train_listwise([bags], ZEROS_5, config, noise_multiplier=0, non_private=True)
    parts = []
    for start, stop, extra in ((0, 4, 3), (4, 20, 0), (20, 30, 9)):
        wide = ((0, 0), (0, 0), (0, extra))
        parts.append(
            Bags(
                np.pad(bags.features[start:stop], ((0, 0), (0, extra), (0, 0)), constant_values=3.0),
                np.pad(bags.candidate[start:stop], wide),
                np.pad(bags.label[start:stop], wide, constant_values=True),
            )
        )
    split = train_listwise(parts, ZEROS_5, config, noise_multiplier=0, non_private=True)
    np.testing.assert_allclose(split.weights, whole.weights, atol=1e-6)
    assert split.event == whole.event
    assert whole.event.steps == 5


def test_noise_has_the_claimed_standard_deviation_and_differs_between_runs() -> None:
    n_features, noise_multiplier = 1000, 7.0
    silent = Bags(
        np.ones((3, 2, n_features), dtype=np.float32),
        np.ones((3, N_HEADS, 2), dtype=np.bool_),
        np.zeros((3, N_HEADS, 2), dtype=np.bool_),
    )
    start = np.zeros((N_HEADS, n_features))
    runs = [train_listwise([silent], start, one_step(), noise_multiplier=noise_multiplier).weights for _ in range(2)]
    n = start.size
    for weights in runs:
        assert abs(weights.std() / (noise_multiplier * 0.3 / 50) - 1) < 3 / np.sqrt(2 * n)
        assert abs(weights.mean()) < 4 * weights.std() / np.sqrt(n)
    assert abs(np.corrcoef(runs[0].ravel(), runs[1].ravel())[0, 1]) < 4 / np.sqrt(n)


def test_every_step_draws_its_own_noise() -> None:
    silent = make_bags(3, n_features=500)
    silent.label[:] = False
    start = np.zeros((N_HEADS, 500))
    weights = train_listwise([silent], start, one_step(steps=16), noise_multiplier=4.0).weights
    claimed = np.sqrt(16) * 4.0 * 0.3 / 50
    assert abs(weights.std() / claimed - 1) < 3 / np.sqrt(2 * weights.size)


def test_the_event_is_what_ran() -> None:
    trained = train_listwise([make_bags(5)], ZEROS_5, one_step(steps=3), noise_multiplier=2.5)
    assert trained.event.model_dump() == {
        "noise_multiplier": 2.5,
        "steps": 3,
        "sample_rate": 1.0,
        "max_grad_norm": 0.3,
        "randomness": "opendp",
    }


def test_weights_are_the_mean_of_the_last_iterates() -> None:
    bags = make_bags(20)
    ends = [
        train_listwise([bags], ZEROS_5, one_step(steps=steps), noise_multiplier=0, non_private=True).weights
        for steps in (2, 3)
    ]
    mean = train_listwise([bags], ZEROS_5, one_step(steps=3, n_averaged=2), noise_multiplier=0, non_private=True)
    np.testing.assert_allclose(mean.weights, (ends[0] + ends[1]) / 2, atol=1e-7)


def test_users_without_positives_teach_nothing_and_break_nothing() -> None:
    bags = make_bags(4)
    bags.label[:] = False
    trained = train_listwise([bags], ZEROS_5, one_step(steps=4), noise_multiplier=0, non_private=True)
    assert np.array_equal(trained.weights, ZEROS_5)
    nobody = Bags(bags.features[:0], bags.candidate[:0], bags.label[:0])
    assert np.isfinite(train_listwise([nobody], ZEROS_5, one_step(), noise_multiplier=1.0).weights).all()


def test_training_lowers_the_loss() -> None:
    bags = make_bags(200, seed=3)
    bags.label[:, 0] = bags.features[:, :, 2] > 1.0

    def loss(weights: npt.NDArray[np.float64]) -> float:
        scores = torch.from_numpy(np.einsum("ukf,hf->uhk", bags.features, weights).astype(np.float32))
        return float(listwise_loss(scores, torch.from_numpy(bags.candidate), torch.from_numpy(bags.label)).mean())

    config = TrainingConfig(steps=30, learning_rate=5.0, max_grad_norm=0.5, declared_users=200)
    trained = train_listwise([bags], ZEROS_5, config, noise_multiplier=0, non_private=True)
    assert loss(trained.weights) < 0.5 * loss(ZEROS_5)
    assert int(np.argmax(trained.weights[0])) == 2


@pytest.mark.parametrize(
    ("noise", "non_private"), [(0.0, False), (1.0, True), (-1.0, False), (np.inf, False), (np.nan, False)]
)
def test_noise_must_agree_with_the_mode(noise: float, non_private: bool) -> None:
    with pytest.raises(ValueError, match="noise_multiplier"):
        train_listwise([make_bags(3)], ZEROS_5, one_step(), noise_multiplier=noise, non_private=non_private)


def test_nan_features_and_wrong_shapes_are_refused_in_one_sentence() -> None:
    bags = make_bags(3)
    features = bags.features.copy()
    features[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        Bags(features, bags.candidate, bags.label)
    with pytest.raises(ValueError, match="expected"):
        Bags(bags.features, bags.candidate[:, :, 1:], bags.label)
    with pytest.raises(ValueError, match="5 features"):
        train_listwise([bags], np.zeros((N_HEADS, 4)), one_step(), noise_multiplier=1.0)
    with pytest.raises(ValueError, match="no batch"):
        train_listwise([], ZEROS_5, one_step(), noise_multiplier=1.0)


def test_a_gradient_that_overflows_is_an_error_not_a_release() -> None:
    bags = make_bags(3, scale=1e30)
    start = np.full((N_HEADS, 5), 1e30)
    for rate in (1.0, 0.9):
        with pytest.raises(FloatingPointError, match="not finite"):
            train_listwise([bags], start, one_step(sample_rate=rate, steps=20), noise_multiplier=1.0)


def test_units_are_many_enough_for_truncation_to_vanish() -> None:
    assert SENSITIVITY >= 2**10
