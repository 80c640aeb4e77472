"""Poisson training: the sampler is one, a step is the manual loop over whom it drew, and empty batches are noise."""

import numpy as np
import pytest
from torch.utils.data import DataLoader, Sampler

from ml.privacy import training
from ml.privacy.events import PoissonGaussianEvent, gradient_event
from ml.privacy.sampling import PoissonSampler
from ml.privacy.training import train_listwise
from ml.ranking.bags import Bags, bags_of_users
from tests.ml.privacy.bags import N_HEADS, ZEROS_5, make_bags, manual_step, one_step
from tests.ml.privacy.checks import check_residuals, check_sampler


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The users of every batch that trainings draw from here on."""
    drawn: list[list[int]] = []
    honest = PoissonSampler.__iter__

    def iterate(self: PoissonSampler):
        for users in honest(self):
            drawn.append(users)
            yield users

    monkeypatch.setattr(PoissonSampler, "__iter__", iterate)
    return drawn


def silent(n_users: int, n_features: int = 500) -> Bags:
    """Users who teach nothing."""
    bags = make_bags(n_users, n_features=n_features)
    bags.label[:] = False
    return bags


def test_a_users_inclusions_are_binomial_and_batch_sizes_differ() -> None:
    check_sampler(PoissonSampler)


class Partitioned(Sampler[list[int]]):
    """What a data loader does: everybody once an epoch, in shuffled batches of one size."""

    def __init__(self, n_users: int, sample_rate: float, steps: int) -> None:
        self.loader = DataLoader(range(n_users), batch_size=round(n_users * sample_rate), shuffle=True)
        self.steps = steps

    def __iter__(self):
        for _ in range(0, self.steps, len(self.loader)):
            yield from (batch.tolist() for batch in self.loader)


class Resized(PoissonSampler):
    """Everybody as likely, but a batch is always as large as expected."""

    def __iter__(self):
        rng, size = np.random.default_rng(), round(self.n_users * self.sample_rate)
        for _ in range(self.steps):
            yield rng.choice(self.n_users, size, replace=False).tolist()


class Repeated(PoissonSampler):
    """A seed of its own in every step, and the same one."""

    def __iter__(self):
        for _ in range(self.steps):
            yield np.flatnonzero(np.random.default_rng(0).random(self.n_users) < self.sample_rate).tolist()


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [(Partitioned, "not Binomial"), (Resized, "batch sizes spread"), (Repeated, "not Binomial")],
)
def test_fixed_batches_fail_the_sampler_check(fault: type, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_sampler(fault)


@pytest.mark.parametrize("hidden_size", [0, 6])
def test_a_step_is_the_manual_loop_over_the_drawn_users_and_the_plans_divisor(
    hidden_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = recorded(monkeypatch)
    bags, start = make_bags(60, scale=2.0), np.random.default_rng(1).normal(size=(N_HEADS, 5))
    config = one_step(sample_rate=0.4, hidden_size=hidden_size, physical_users=7)
    cut = [bags_of_users([bags], range(20)), bags_of_users([bags], range(20, 60))]
    trained = train_listwise(cut, start, config, noise_multiplier=0, non_private=True)
    wanted = manual_step(bags, drawn[0], start, config)
    np.testing.assert_allclose(trained.weights, wanted["linear.weight"], atol=1e-6)
    if trained.hidden is not None:
        np.testing.assert_allclose(trained.hidden.output, wanted["output.weight"], atol=1e-6)
        np.testing.assert_allclose(trained.hidden.weight, wanted["hidden.weight"], atol=1e-6)
    assert 7 < len(drawn[0]) < 60


def test_batches_are_drawn_for_every_step_and_held_a_few_users_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, held = recorded(monkeypatch), []
    real = training._accumulate
    monkeypatch.setattr(
        training, "_accumulate", lambda model, bags, where: held.append(len(bags.features)) or real(model, bags, where)
    )
    config = one_step(sample_rate=0.3, steps=12, physical_users=16)
    trained = train_listwise([make_bags(200)], ZEROS_5, config, noise_multiplier=1.0)
    assert trained.event.steps == len(drawn) == 12
    assert max(held) <= 16 and sum(held) == sum(map(len, drawn))
    assert len({len(users) for users in drawn}) > 3


@pytest.mark.parametrize("hidden_size", [0, 3])
def test_an_empty_batch_is_a_step_of_noise_alone(hidden_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = recorded(monkeypatch)
    config = one_step(sample_rate=1e-9, steps=4, hidden_size=hidden_size)
    trained = train_listwise([make_bags(5)], ZEROS_5, config, noise_multiplier=2.0)
    assert drawn == [[]] * 4
    assert trained.event.steps == 4 and np.all(trained.weights != 0) and np.isfinite(trained.weights).all()
    nobody = bags_of_users([make_bags(5)], [])
    assert train_listwise([nobody], ZEROS_5, config, noise_multiplier=2.0).event == trained.event


def test_noise_is_of_the_plans_size_whoever_is_drawn() -> None:
    config = one_step(sample_rate=0.02, steps=4)
    bags = silent(30, n_features=2000)

    def residuals() -> np.ndarray:
        weights = train_listwise([bags], np.zeros((N_HEADS, 2000)), config, noise_multiplier=3.0).weights
        return weights.ravel() / (np.sqrt(4) * 3.0 * 0.3 / (50 * 0.02))

    check_residuals(residuals)


def test_the_event_is_the_samplers_and_the_optimizers() -> None:
    config = one_step(sample_rate=0.25, steps=3)
    ran = train_listwise([make_bags(9)], ZEROS_5, config, noise_multiplier=2.5).event
    assert ran.model_dump() == {
        "noise_multiplier": 2.5,
        "steps": 3,
        "sample_rate": 0.25,
        "max_grad_norm": 0.3,
        "randomness": "opendp",
    }
    event = gradient_event(bound=ran.max_grad_norm, **ran.model_dump(exclude={"max_grad_norm"}))
    assert event == PoissonGaussianEvent(
        sample_rate=0.25, steps=3, noise_multiplier=2.5, bound=0.3, randomness="opendp"
    )
    twin = train_listwise([make_bags(9)], ZEROS_5, config, noise_multiplier=0, non_private=True).event
    assert gradient_event(bound=0.3, **twin.model_dump(exclude={"max_grad_norm"})).kind == "none"


def test_a_large_model_draws_from_the_operating_systems_generator_and_says_so() -> None:
    n_features, config = 60_000, one_step(max_grad_norm=0.3)
    bags = silent(2, n_features=n_features)
    start = np.zeros((N_HEADS, n_features))

    def residuals() -> np.ndarray:
        trained = train_listwise([bags], start, config, noise_multiplier=5.0)
        assert trained.event.randomness == "os_seeded, not cryptographic"
        return trained.weights.ravel() / (5.0 * 0.3 / 50)

    check_residuals(residuals)


def test_a_sampler_of_rate_one_takes_everybody_and_bad_rates_are_refused() -> None:
    assert list(PoissonSampler(3, 1.0, 2)) == [[0, 1, 2]] * 2
    assert list(PoissonSampler(0, 0.5, 2)) == [[], []]
    assert len(PoissonSampler(3, 0.5, 7)) == 7
    for arguments in ((3, 0.0, 1), (3, 1.1, 1), (-1, 0.5, 1), (3, 0.5, -1)):
        with pytest.raises(ValueError, match="cannot sample"):
            PoissonSampler(*arguments)


def test_bags_of_some_users_are_theirs() -> None:
    narrow, wide = make_bags(4, width=3, seed=1), make_bags(5, width=6, seed=2)
    found = bags_of_users([narrow, wide], [6, 1, 3])
    assert found.features.shape == (3, 6, 5)
    np.testing.assert_array_equal(found.features[:2, :3], narrow.features[[1, 3]])
    np.testing.assert_array_equal(found.features[2], wide.features[2])
    np.testing.assert_array_equal(found.candidate[2], wide.candidate[2])
    assert not found.candidate[:2, :, 3:].any() and not found.label[:2, :, 3:].any()
    assert bags_of_users([narrow, wide], []).features.shape == (0, 1, 5)
