"""Gradient training with user-level differential privacy, through Opacus: one sample is one user's bounded bag.

Full batch: every step is one Gaussian mechanism over all users, so T steps cost mu = sqrt(T) / noise_multiplier.
Poisson: every step is one over a sample that each user enters with the plan's probability, and the divisor is the
plan's too. Clipped gradients are whole numbers (`ml.privacy.gradients`). There is no seed, and none to store.
Neither a loss nor a gradient norm nor the size of a batch leaves this module.
"""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from opacus import GradSampleModule
from opacus.accountants import RDPAccountant
from opacus.utils.batch_memory_manager import BatchMemoryManager
from pydantic import BaseModel, ConfigDict, Field
from torch.utils.data import DataLoader

from ml.privacy.checkpoint import Checkpoint, Parameters, Resumable, fingerprint_of
from ml.privacy.gradients import GradientRandomness, WholeNumberDPOptimizer, per_user_module
from ml.privacy.heads import Heads, listwise_loss
from ml.privacy.processes import Processes
from ml.privacy.sampling import PoissonSampler
from ml.ranking.bags import Bags, bags_of_users
from ml.ranking.mlp import HiddenLayer


class TrainingConfig(BaseModel):
    """Constants of the plan for one training."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(ge=1)
    """Steps T."""
    learning_rate: float = Field(gt=0)
    """Step size on the mean gradient, plain gradient descent."""
    max_grad_norm: float = Field(gt=0)
    """Clip norm C of one user's gradient over all heads together."""
    n_averaged: int = Field(default=8, ge=1)
    """The weights are the mean of the last so many iterates: post-processing that evens out noise."""
    declared_users: int = Field(ge=1)
    """What a sum is divided by, times the sample rate: the declared population, never the exact one."""
    sample_rate: float = Field(default=1.0, gt=0, le=1)
    """Probability q of a user entering a step; 1 is full batch."""
    hidden_size: int = Field(default=0, ge=0)
    """Units of a hidden layer beside the linear heads; 0 is the linear ranker."""
    physical_users: int = Field(default=256, ge=1)
    """Poisson only: users whose gradients are held at once. Bounds the memory and changes nothing else."""


RunDevice = Literal["auto", "cpu", "cuda"]
"""Where to train; `auto` takes CUDA when there is a device."""


class TrainedEvent(BaseModel):
    """What ran, read back from optimizer, sampler and accountant afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    noise_multiplier: float
    """Noise standard deviation of one sum over the clip norm; 0 for a twin that is only clipped."""
    steps: int
    """Noisy sums taken."""
    sample_rate: float
    """Probability of a user entering a step; 1.0 is full batch."""
    max_grad_norm: float
    """Clip norm of one user's gradient."""
    randomness: GradientRandomness = "opendp"
    """Source of the noise."""


@dataclass(frozen=True, eq=False)
class Trained:
    """Trained weights and the event that made them."""

    weights: npt.NDArray[np.float64]
    """(n_heads, n_features) of the linear heads."""
    event: TrainedEvent
    """What ran, for the ledger."""
    hidden: HiddenLayer | None = None
    """The hidden layer, if the configuration has one."""


def train_listwise(
    bags: Sequence[Bags],
    initial: npt.NDArray[np.float64],
    config: TrainingConfig,
    *,
    noise_multiplier: float,
    non_private: bool = False,
    device: RunDevice = "auto",
    resumable: Resumable | None = None,
    processes: Processes | None = None,
) -> Trained:
    """Train listwise heads by gradient descent on clipped, noised sums over users.

    Args:
        bags: all users, each in exactly one bag of exactly one batch; batches bound the memory and change nothing else.
            With several processes this one's users, each in exactly one process; none of them as bags of no user.
        initial: (n_heads, n_features) prior weights, public constants.
        config: constants of the plan.
        noise_multiplier: noise of one step over the clip norm, from the plan's event; 0 only with `non_private`.
        non_private: train without noise, clipped and sampled as otherwise: the twin on a public benchmark.
        device: where to run.
        resumable: keep checkpoints, and go on from one. With several processes all go on from the same, and the first
            keeps them.
        processes: train together with others; None: alone.

    Returns:
        Weights and the event read back from optimizer, sampler and accountant. Without users, or in an empty Poisson
        batch, a step is noise alone, as private as any other.

    Raises:
        ValueError: if the noise multiplier contradicts `non_private`, shapes differ from `initial`, CUDA is asked for
            and absent, a checkpoint does not fit, or several processes were given different trainings or too small a
            declared population.
        FloatingPointError: if a gradient is not finite; nothing is returned, so nothing can be committed.

    Source: Abadi et al. (CCS 2016), Algorithm 1, with users as the unit.
    """
    _check_arguments(bags, initial, noise_multiplier, non_private)
    where = _device(device)
    heads = Heads(initial, config.hidden_size)
    model = per_user_module(heads.to(where))
    optimizer = WholeNumberDPOptimizer(
        torch.optim.SGD(model.parameters(), lr=config.learning_rate),
        noise_multiplier=noise_multiplier,
        max_grad_norm=config.max_grad_norm,
        expected_batch_size=config.declared_users * config.sample_rate,
        loss_reduction="mean",
        processes=processes,
    )
    fingerprint = _fingerprint(initial, config, noise_multiplier, non_private, resumable)
    if processes is not None:
        saved = None if resumable is None else resumable.saved
        processes.check(f"{fingerprint} {hashlib.sha256(saved or b'').hexdigest()}", config.declared_users)
        if resumable is not None and not processes.is_first:
            resumable = replace(resumable, save=lambda content: None)
    walk = _Walk(heads, config, fingerprint, resumable)
    sampler = PoissonSampler(sum(len(batch.features) for batch in bags), config.sample_rate, config.steps - walk.steps)
    optimizer.attach_step_hook(walk.accountant.get_optimizer_hook_fn(sample_rate=sampler.sample_rate))
    with warnings.catch_warnings():  # features are data: that they carry no gradient is no news
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        for batch in _physical_batches(bags, sampler, optimizer, config):
            _accumulate(model, batch, where)
            optimizer.step()
            optimizer.zero_grad()
            walk.follow()
    return Trained(walk.mean["linear.weight"], walk.read_back(optimizer), walk.hidden_layer())


class _Walk:
    """Where the training is: steps taken, as the accountant saw them, and the mean of the last iterates."""

    def __init__(self, heads: Heads, config: TrainingConfig, fingerprint: str, resumable: Resumable | None) -> None:
        """Start at the beginning, or at a checkpoint."""
        self._heads, self._config, self._fingerprint, self._resumable = heads, config, fingerprint, resumable
        self.accountant = RDPAccountant()
        self.mean: Parameters = {name: np.zeros(value.shape) for name, value in heads.named_parameters()}
        if resumable is not None and resumable.saved is not None:
            saved = Checkpoint.from_bytes(resumable.saved, fingerprint)
            self.accountant.history = list(saved.history)
            self.mean = saved.mean
            with torch.no_grad():
                for name, value in heads.named_parameters():
                    value.copy_(torch.from_numpy(saved.parameters[name]))
        self._followed = self.steps

    @property
    def steps(self) -> int:
        """Noisy steps taken."""
        return sum(steps for _, _, steps in self.accountant.history)

    def follow(self) -> None:
        """Take note of a physical batch: if it ended a step, average the iterate and keep a checkpoint."""
        if self.steps == self._followed:
            return
        self._followed = self.steps
        iterate = {name: value.detach().cpu().double().numpy() for name, value in self._heads.named_parameters()}
        n_averaged = min(self._config.n_averaged, self._config.steps)
        if self.steps > self._config.steps - n_averaged:
            for name, value in iterate.items():
                self.mean[name] = self.mean[name] + value / n_averaged
        if self._resumable is not None and self.steps % self._resumable.every == 0:
            checkpoint = Checkpoint(iterate, self.mean, tuple(self.accountant.history))
            self._resumable.save(checkpoint.to_bytes(self._fingerprint))

    def read_back(self, optimizer: WholeNumberDPOptimizer) -> TrainedEvent:
        """The event as the accountant saw it."""
        if len(self.accountant.history) != 1:
            raise RuntimeError(f"the noise changed during training, the accountant saw {self.accountant.history}")
        noise_multiplier, sample_rate, steps = self.accountant.history[0]
        return TrainedEvent(
            noise_multiplier=noise_multiplier,
            steps=steps,
            sample_rate=sample_rate,
            max_grad_norm=optimizer.max_grad_norm,
            randomness=optimizer.randomness,
        )

    def hidden_layer(self) -> HiddenLayer | None:
        """The averaged hidden layer, if there is one."""
        if self._config.hidden_size == 0:
            return None
        return HiddenLayer(self.mean["hidden.weight"], self.mean["hidden.bias"], self.mean["output.weight"])


def _device(device: RunDevice) -> torch.device:
    """Where to run."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("training is asked for on cuda, but there is no CUDA device; ask for auto or cpu")
    return torch.device("cpu" if device == "cpu" or not torch.cuda.is_available() else "cuda")


def _fingerprint(
    initial: npt.NDArray[np.float64],
    config: TrainingConfig,
    noise_multiplier: float,
    non_private: bool,
    resumable: Resumable | None,
) -> str:
    """What a checkpoint of this training is bound to."""
    constants = {**config.model_dump(), "noise_multiplier": noise_multiplier, "non_private": non_private}
    return fingerprint_of("" if resumable is None else resumable.purpose, constants, initial)


def _check_arguments(
    bags: Sequence[Bags], initial: npt.NDArray[np.float64], noise_multiplier: float, non_private: bool
) -> None:
    """Refuse contradictions before any user's row is read."""
    if non_private != (noise_multiplier == 0) or not (0 <= noise_multiplier < float("inf")):
        raise ValueError(
            f"noise_multiplier is {noise_multiplier} and non_private is {non_private}; a private training needs finite "
            "noise above 0 from the plan's event, a non-private twin needs noise_multiplier=0 and non_private=True"
        )
    if initial.ndim != 2 or initial.size == 0 or not bool(np.all(np.isfinite(initial))):
        raise ValueError(f"initial weights have shape {initial.shape}; expected finite (n_heads, n_features)")
    if not bags:
        raise ValueError("there is no batch of bags; give one bag a user, also for users without events")
    for batch in bags:
        if batch.features.shape[2] != initial.shape[1] or batch.label.shape[1] != initial.shape[0]:
            raise ValueError(
                f"bags have {batch.features.shape[2]} features and {batch.label.shape[1]} heads, the initial weights "
                f"{initial.shape[1]} and {initial.shape[0]}"
            )


def _physical_batches(
    bags: Sequence[Bags], sampler: PoissonSampler, optimizer: WholeNumberDPOptimizer, config: TrainingConfig
) -> Iterator[Bags]:
    """The bags of every step, some users at a time; the optimizer is told which of them end a step."""
    if config.sample_rate == 1:
        for _ in range(sampler.steps):
            for position, batch in enumerate(bags):
                optimizer.signal_skip_step(do_skip=position < len(bags) - 1)
                yield batch
        return
    loader: DataLoader[int] = DataLoader(
        range(sampler.n_users),  # type: ignore[arg-type]
        batch_sampler=sampler,
        collate_fn=lambda users: bags_of_users(bags, users),
        generator=torch.Generator(),  # of its own: the process's is nobody's here
    )
    with BatchMemoryManager(
        data_loader=loader, max_physical_batch_size=config.physical_users, optimizer=optimizer
    ) as physical:
        yield from physical


def _accumulate(model: GradSampleModule, batch: Bags, where: torch.device) -> None:
    """One gradient a user, left where the optimizer finds it."""
    features, candidate, label = (
        torch.from_numpy(array).to(where) for array in (batch.features, batch.candidate, batch.label)
    )
    weight = None if batch.weight is None else torch.from_numpy(batch.weight).to(where)
    torch.autograd.backward(listwise_loss(model(features), candidate, label, weight).sum())
