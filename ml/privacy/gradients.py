"""Per-user gradients: the layers that may compute them, and the optimizer that clips, sums and noises them exactly.

One sample is one user. Whatever would mix users in a gradient is an error here, where the library has a warning or
nothing at all.
"""

from collections.abc import Callable
from typing import Any, Final, Literal

import numpy as np
import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from opacus.optimizers.optimizer import _check_processed_flag, _mark_as_processed
from opacus.utils.module_utils import trainable_modules
from opacus.validators import ModuleValidator

from ml.privacy.mechanisms import with_discrete_gaussian
from ml.privacy.processes import Processes

SENSITIVITY: Final = 2**20
"""Whole units that the clip norm is cut into."""

MAX_PARAMETERS: Final = 100_000
"""Largest model whose noise is drawn by OpenDP; above, by a generator seeded by the operating system."""

_MARGIN: Final = 2.0**-32
"""Relative shrinkage before truncation, larger than the rounding of a float64 norm."""

GradientRandomness = Literal["opendp", "os_seeded, not cryptographic"]
"""Source of the noise, by the size of the model."""


class WholeNumberDPOptimizer(DPOptimizer):  # type: ignore[misc]
    """Opacus's optimizer with per-user gradients cut into whole units and noise from OpenDP.

    Sensitivity: a user's clipped gradient has at most SENSITIVITY units in L2 norm, checked in whole numbers, so adding
    or removing one user moves the integer sum by at most that, and discrete Gaussian noise of
    noise_multiplier x SENSITIVITY units gives rho = 1 / (2 noise_multiplier^2) a step.

    Gradients are float32: the last bit of a user's may depend on who is computed with him, which can move a coordinate
    by one unit of 2^20; the sums of tests separate to the unit.

    Noise is not torch's: its CPU generator keeps only 32 bits of a seed, which an observer of the weights could search.
    Above 1e5 parameters, where OpenDP takes seconds a step, it is numpy's, with 128 bits from the operating system.

    Source: Kairouz, Liu, Steinke (ICML 2021), section 3; Canonne, Kamath, Steinke (NeurIPS 2020), Theorem 14.
    """

    def __init__(self, *args: Any, processes: Processes | None = None, **options: Any) -> None:
        """As Opacus's; with several processes, one of them draws the noise of all."""
        super().__init__(*args, **options)
        self._processes = processes
        n_parameters = sum(parameter.numel() for parameter in self.params)
        self._generator = None if n_parameters <= MAX_PARAMETERS else np.random.Generator(np.random.PCG64DXSM())

    @property
    def randomness(self) -> GradientRandomness:
        """Where the noise comes from."""
        return "opendp" if self._generator is None else "os_seeded, not cryptographic"

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
            if self._processes is not None:
                self._processes.give_up(flat.shape[1])
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
        total = self._noisy(total) if self._processes is None else self._processes.released(total, self._noisy)
        gradient = total.to(torch.float64) * (self.max_grad_norm / SENSITIVITY)
        sizes = [parameter.numel() for parameter in self.params]
        for parameter, part in zip(self.params, torch.split(gradient, sizes), strict=True):
            parameter.grad = part.view(parameter.shape).to(parameter)
            _mark_as_processed(parameter.summed_grad)

    def _noisy(self, total: torch.Tensor) -> torch.Tensor:
        """The sum in units, noised unless this is a twin without noise."""
        if self.noise_multiplier == 0:
            return total
        scale, units = self.noise_multiplier * SENSITIVITY, total.numpy()
        if self._generator is None:
            rho = 0.5 / self.noise_multiplier**2
            return torch.from_numpy(with_discrete_gaussian(units, scale, sensitivity=SENSITIVITY, rho=rho))
        return total + torch.from_numpy(np.rint(self._generator.normal(0.0, scale, len(units))).astype(np.int64))


def per_user_module(module: torch.nn.Module) -> GradSampleModule:
    """Let a model compute one gradient a user, if each of its layers sees users apart.

    Opacus would train what it should refuse: an embedding with a padding index puts gradient into the padding row, and
    a layer that is also given a tensor without the user dimension mixes its gradients into everybody's. Both make the
    clipping void. Mask in the forward pass, and give every user a copy of what is shared.

    Args:
        module: whose first input, and that of each trainable layer, has users in its first dimension.

    Returns:
        The wrapped module; its `grad_sample` is of the sum, not the mean, over users.

    Raises:
        ValueError: if a layer mixes users (batch normalisation), has a padding index, or is one that Opacus cannot
            split by user; and in a forward pass, if a trainable layer is given another number of rows than there are
            users. A shared tensor that happens to have as many rows as there are users is found by the manual loop of
            the tests alone.
    """
    for name, layer in module.named_modules():
        if getattr(layer, "padding_idx", None) is not None:
            raise ValueError(
                f"layer {name!r} has padding_idx={layer.padding_idx}; drop it and mask in the forward pass"
            )
    errors = ModuleValidator.validate(module, strict=False)
    if errors:
        raise ValueError(f"a layer cannot be trained by user: {errors[0]}")
    n_users = [0]

    def entered(_: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        n_users[0] = len(inputs[0])

    def checked(name: str) -> Callable[[torch.nn.Module, tuple[Any, ...]], None]:
        def check(_: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
            if len(inputs[0]) != n_users[0]:
                raise ValueError(
                    f"layer {name!r} is given {len(inputs[0])} rows for {n_users[0]} users; expand what is shared to "
                    "one copy a user"
                )

        return check

    wrapped = GradSampleModule(module, batch_first=True, loss_reduction="sum")
    module.register_forward_pre_hook(entered)
    for name, layer in trainable_modules(module):
        layer.register_forward_pre_hook(checked(name))
    return wrapped
