"""Poisson sampling of users: in every step each user is in with the same probability, on his own."""

import secrets
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler


class PoissonSampler(Sampler[list[int]]):
    """So many batches of users, each user in each of them with probability `sample_rate`, independently.

    What amplification by sampling needs is that nobody can tell who was in. So this draws from the operating system's
    cryptographic generator, 64 bits a user and step, where Opacus's sampler has torch's generator of 32-bit seeds. The
    probability is exactly floor(sample_rate x 2^64) / 2^64, never more than asked.

    Source: Abadi et al. (CCS 2016), Algorithm 1; Mironov, Talwar, Zhang (2019) for what Poisson sampling is worth.
    """

    def __init__(self, n_users: int, sample_rate: float, steps: int) -> None:
        """Take the constants of the plan.

        Args:
            n_users: users to sample from; with none every batch is empty.
            sample_rate: in (0, 1].
            steps: number of batches, >= 0.

        Raises:
            ValueError: if a number is out of range.
        """
        if not (n_users >= 0 and 0 < sample_rate <= 1 and steps >= 0):
            raise ValueError(f"cannot sample {n_users} users at rate {sample_rate} in {steps} steps")
        self.n_users = n_users
        self.sample_rate = sample_rate
        self.steps = steps

    def __len__(self) -> int:
        """Number of batches."""
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        """The users of each batch, ascending; often few, sometimes none."""
        for _ in range(self.steps):
            yield np.flatnonzero(self._is_in()).tolist()

    def _is_in(self) -> npt.NDArray[np.bool_]:
        """(n_users,) who is in one batch."""
        threshold = int(self.sample_rate * 2.0**64)
        if threshold >= 2**64:
            return np.ones(self.n_users, dtype=np.bool_)
        drawn = np.frombuffer(secrets.token_bytes(8 * self.n_users), dtype=np.uint64)
        return np.asarray(drawn < np.uint64(threshold))
