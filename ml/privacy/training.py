"""Gradient training with user-level differential privacy, through Opacus: one sample is one user's bounded bag.

Full batch: every step is one Gaussian mechanism over all users, so T steps cost mu = sqrt(T) / noise_multiplier. Below
1e5 parameters the clipped gradients are whole numbers and their noise comes from OpenDP: torch's CPU generator keeps
only 32 bits of a seed, which an observer of the weights could search. So there is no seed, and none to store.
Neither a loss nor a gradient norm leaves this module.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from opacus import GradSampleModule
from opacus.accountants import RDPAccountant
from opacus.optimizers import DPOptimizer
from opacus.optimizers.optimizer import _check_processed_flag, _mark_as_processed
from pydantic import BaseModel, ConfigDict, Field

from ml.privacy.mechanisms import _opendp_gaussian
from ml.ranking.bags import Bags

SENSITIVITY: Final = 2**20
"""Whole units that the clip norm is cut into."""

MAX_PARAMETERS: Final = 100_000
"""Largest model whose noise is drawn by OpenDP."""

_MARGIN: Final = 2.0**-32
"""Relative shrinkage before truncation, larger than the rounding of a float64 norm."""

_MASKED: Final = -1e4
"""Score of what is not a candidate: exp of it is exactly 0 in float32."""


class TrainingConfig(BaseModel):
    """Constants of the plan for one training."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(default=16, ge=1)
    """Full-batch steps T."""
    learning_rate: float = Field(default=2.0, gt=0)
    """Step size on the mean gradient, plain gradient descent."""
    max_grad_norm: float = Field(default=0.5, gt=0)
    """Clip norm C of one user's gradient over all heads together."""
    n_averaged: int = Field(default=8, ge=1)
    """The weights are the mean of the last so many iterates: post-processing that evens out noise."""
    declared_users: int = Field(ge=1)
    """What a sum is divided by: the declared population, never the exact one."""


RunDevice = Literal["auto", "cpu", "cuda"]
"""Where to train; `auto` takes CUDA when there is a device."""


class TrainedEvent(BaseModel):
    """What ran, read back from optimizer and accountant afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    noise_multiplier: float
    """Noise standard deviation of one sum over the clip norm; 0 for a non-private twin."""
    steps: int
    """Noisy sums taken."""
    sample_rate: float
    """Probability of a user entering a step: 1.0, full batch."""
    max_grad_norm: float
    """Clip norm of one user's gradient."""
    randomness: Literal["opendp"] = "opendp"
    """Source of the noise."""


@dataclass(frozen=True, eq=False)
class Trained:
    """Trained weights and the event that made them."""

    weights: npt.NDArray[np.float64]
    """(n_heads, n_features)."""
    event: TrainedEvent
    """What ran, for the ledger."""


class WholeNumberDPOptimizer(DPOptimizer):  # type: ignore[misc]
    """Opacus's optimizer with per-user gradients cut into whole units and noise from OpenDP.

    Sensitivity: a user's clipped gradient has at most SENSITIVITY units in L2 norm, checked in whole numbers, so adding
    or removing one user moves the integer sum by at most that, and discrete Gaussian noise of
    noise_multiplier x SENSITIVITY units gives rho = 1 / (2 noise_multiplier^2) a step.

    Source: Kairouz, Liu, Steinke (ICML 2021), section 3; Canonne, Kamath, Steinke (NeurIPS 2020), Theorem 14.
    """

    def clip_and_accumulate(self) -> None:
        """Clip each user's gradient over all parameters together, cut it into units, add it to `summed_grad`.

        Raises:
            FloatingPointError: if a gradient is not finite.
            ArithmeticError: if a clipped gradient exceeds the sensitivity: a proof that failed.
        """
        samples = self.grad_samples
        for parameter in self.params:
            _check_processed_flag(parameter.grad_sample)
        flat = torch.cat([sample.flatten(start_dim=1) for sample in samples], dim=1).to("cpu", torch.float64)
        if not bool(torch.isfinite(flat).all()):
            raise FloatingPointError("a user's gradient is not finite; lower the learning rate or the feature scale")
        norm = flat.norm(dim=1, keepdim=True).clamp(min=self.max_grad_norm)
        units = torch.trunc(flat * (SENSITIVITY * (1 - _MARGIN) / norm)).to(torch.int64)
        if len(units) and int((units * units).sum(dim=1).max()) > SENSITIVITY**2:
            raise ArithmeticError(f"a clipped gradient exceeds {SENSITIVITY} units; nothing is released")
        total = units.sum(dim=0)
        sizes = [parameter.numel() for parameter in self.params]
        for parameter, part in zip(self.params, torch.split(total, sizes), strict=True):
            before = 0 if parameter.summed_grad is None else parameter.summed_grad
            parameter.summed_grad = before + part
            _mark_as_processed(parameter.grad_sample)

    def add_noise(self) -> None:
        """Add noise to the sum of all users and bring it back to gradient units, into `grad`.

        Raises:
            ArithmeticError: if OpenDP proves less privacy than the noise multiplier claims.
        """
        for parameter in self.params:
            _check_processed_flag(parameter.summed_grad)
        total = torch.cat([parameter.summed_grad for parameter in self.params])
        if self.noise_multiplier > 0:
            measurement = _opendp_gaussian(len(total), self.noise_multiplier * SENSITIVITY)
            proven, claimed = measurement.map(SENSITIVITY), 0.5 / self.noise_multiplier**2
            if not proven <= claimed * (1 + 1e-9):
                raise ArithmeticError(f"OpenDP proves rho {proven}, a step claims {claimed}; nothing is released")
            total = torch.tensor(measurement(total.tolist()), dtype=torch.int64)
        gradient = total.to(torch.float64) * (self.max_grad_norm / SENSITIVITY)
        sizes = [parameter.numel() for parameter in self.params]
        for parameter, part in zip(self.params, torch.split(gradient, sizes), strict=True):
            parameter.grad = part.view(parameter.shape).to(parameter)
            _mark_as_processed(parameter.summed_grad)


def listwise_loss(scores: torch.Tensor, candidate: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Minus the log of the share of a user's softmax that falls on positives, summed over heads.

    It asks that the top of the list be right, not that all positives be found, as NDCG does. Its gradient is a
    difference of two means of feature vectors, so it is bounded by the features' diameter before any clipping.

    Args:
        scores: (n_users, n_heads, width) float32.
        candidate: (n_users, n_heads, width) bool.
        label: (n_users, n_heads, width) bool.

    Returns:
        (n_users,) float32; a head without a positive adds 0.

    Source: Bruch et al., "An Analysis of the Softmax Cost Function for Learning to Rank" (ICTIR 2019), section 3, with
    the sum over positives inside the logarithm (marginal likelihood of a positive at the top).
    """
    positive = label & candidate
    everything = torch.logsumexp(scores.masked_fill(~candidate, _MASKED), dim=2)
    right = torch.logsumexp(scores.masked_fill(~positive, _MASKED), dim=2)
    loss: torch.Tensor = torch.where(positive.any(dim=2), everything - right, 0.0).sum(dim=1)
    return loss


def train_listwise(
    bags: Sequence[Bags],
    initial: npt.NDArray[np.float64],
    config: TrainingConfig,
    *,
    noise_multiplier: float,
    non_private: bool = False,
    device: RunDevice = "auto",
) -> Trained:
    """Train linear listwise heads by full-batch gradient descent on clipped, noised sums over users.

    Args:
        bags: all users, each in exactly one bag of exactly one batch; batches bound the memory and change nothing else.
        initial: (n_heads, n_features) prior weights, public constants.
        config: constants of the plan.
        noise_multiplier: noise of one step over the clip norm, from the plan's event; 0 only with `non_private`.
        non_private: train without noise (clipping stays): the twin on a public benchmark.
        device: where to run.

    Returns:
        Weights and the event read back from optimizer and accountant. Without users the weights are the prior's walk
        under noise alone, as private as any others.

    Raises:
        ValueError: if the noise multiplier contradicts `non_private`, or shapes differ from `initial`.
        FloatingPointError: if a gradient is not finite.

    Source: Abadi et al. (CCS 2016), Algorithm 1, with sampling probability 1 and users as the unit.
    """
    _check_arguments(bags, initial, noise_multiplier, non_private)
    where = torch.device("cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu")
    n_heads, n_features = initial.shape
    linear = torch.nn.Linear(n_features, n_heads, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(initial))
    model = GradSampleModule(linear.to(where), batch_first=True, loss_reduction="sum")
    accountant = RDPAccountant()
    optimizer = WholeNumberDPOptimizer(
        torch.optim.SGD(model.parameters(), lr=config.learning_rate),
        noise_multiplier=noise_multiplier,
        max_grad_norm=config.max_grad_norm,
        expected_batch_size=config.declared_users,
        loss_reduction="mean",
    )
    optimizer.attach_step_hook(accountant.get_optimizer_hook_fn(sample_rate=1.0))
    n_averaged = min(config.n_averaged, config.steps)
    mean = np.zeros(initial.shape)
    for step in range(config.steps):
        with warnings.catch_warnings():  # features are data: that they carry no gradient is no news
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            _one_step(model, optimizer, bags, where)
        if step >= config.steps - n_averaged:
            mean += linear.weight.detach().cpu().double().numpy() / n_averaged
    return Trained(mean, _read_back(optimizer, accountant))


def _check_arguments(
    bags: Sequence[Bags], initial: npt.NDArray[np.float64], noise_multiplier: float, non_private: bool
) -> None:
    """Refuse contradictions before any user's row is read."""
    if non_private != (noise_multiplier == 0) or not (0 <= noise_multiplier < float("inf")):
        raise ValueError(
            f"noise_multiplier is {noise_multiplier} and non_private is {non_private}; a private training needs finite "
            "noise above 0 from the plan's event, a non-private twin needs noise_multiplier=0 and non_private=True"
        )
    if initial.ndim != 2 or not bool(np.all(np.isfinite(initial))) or not 0 < initial.size <= MAX_PARAMETERS:
        raise ValueError(f"initial weights have shape {initial.shape}; expected finite (n_heads, n_features)")
    if not bags:
        raise ValueError("there is no batch of bags; give one bag a user, also for users without events")
    for batch in bags:
        if batch.features.shape[2] != initial.shape[1] or batch.label.shape[1] != initial.shape[0]:
            raise ValueError(
                f"bags have {batch.features.shape[2]} features and {batch.label.shape[1]} heads, the initial weights "
                f"{initial.shape[1]} and {initial.shape[0]}"
            )


def _one_step(
    model: GradSampleModule, optimizer: WholeNumberDPOptimizer, bags: Sequence[Bags], where: torch.device
) -> None:
    """One noisy sum over all users: batches accumulate clipped gradients, the last one adds noise and moves."""
    for position, batch in enumerate(bags):
        features, candidate, label = (
            torch.from_numpy(array).to(where) for array in (batch.features, batch.candidate, batch.label)
        )
        scores = model(features).transpose(1, 2)
        torch.autograd.backward(listwise_loss(scores, candidate, label).sum())
        optimizer.signal_skip_step(do_skip=position < len(bags) - 1)
        optimizer.step()
        optimizer.zero_grad()


def _read_back(optimizer: WholeNumberDPOptimizer, accountant: RDPAccountant) -> TrainedEvent:
    """The event as the accountant saw it."""
    if len(accountant.history) != 1:
        raise RuntimeError(f"the noise changed during training, the accountant saw {accountant.history}")
    noise_multiplier, sample_rate, steps = accountant.history[0]
    return TrainedEvent(
        noise_multiplier=noise_multiplier,
        steps=steps,
        sample_rate=sample_rate,
        max_grad_norm=optimizer.max_grad_norm,
    )
