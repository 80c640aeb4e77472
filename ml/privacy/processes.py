"""Several processes of one training: each has users of its own, one of them sees the sum and draws the noise.

Only the size of a population makes this worth anything, so it is refused below the gate of learnt embeddings.
"""

from collections.abc import Callable

import torch
import torch.distributed as dist

from ml.privacy.plan import PROCESSES_GATE


class Processes:
    """The processes of one training, each of which calls the same functions in the same order.

    Sums travel as whole numbers, so that the total is the one process's to the unit, whoever has which users. They go
    to the first process alone, which draws the noise, once, and sends the noisy sum to all. A flag goes with both: a
    process that fails in a step says so, and all of them fail. One that is killed shows at the group's timeout.
    """

    def __init__(self, group: dist.ProcessGroup) -> None:
        """Take the group, which works on the CPU (gloo)."""
        self._group = group

    @property
    def is_first(self) -> bool:
        """Whether this process draws the noise and keeps checkpoints."""
        return dist.get_rank(self._group) == 0

    def released(self, total: torch.Tensor, release: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """What the first process makes of the sum over all of them.

        Args:
            total: (n,) int64, this process's sum.
            release: called in the first process alone, with the sum over all.

        Returns:
            (n,) int64, the same in every process.

        Raises:
            FloatingPointError: if another process failed in this step; nothing is released.
        """
        told = torch.cat([total, total.new_zeros(1)])
        dist.reduce(told, group_dst=0, group=self._group)
        if self.is_first and int(told[-1]) == 0:
            try:
                told = torch.cat([release(told[:-1]), total.new_zeros(1)])
            except ArithmeticError:
                dist.broadcast(torch.ones_like(told), group_src=0, group=self._group)
                raise
        dist.broadcast(told, group_src=0, group=self._group)
        if int(told[-1]) != 0:
            raise FloatingPointError("another process of this training failed, see its error; nothing is released")
        return told[:-1]

    def give_up(self, n: int) -> None:
        """Take part in this step's exchange of n numbers only to say that this process failed."""
        told = torch.zeros(n + 1, dtype=torch.int64)
        told[-1] = 1
        dist.reduce(told, group_dst=0, group=self._group)
        dist.broadcast(told, group_src=0, group=self._group)

    def check(self, training: str, declared_users: int) -> None:
        """Refuse a population that is too small, and to train together what is not the same training.

        Args:
            training: tells plan, start and checkpoint of this process's training.
            declared_users: the publicly declared number of users.

        Raises:
            ValueError: in every process, if the population is below the gate or their trainings differ.
        """
        if declared_users < PROCESSES_GATE:
            raise ValueError(
                f"{declared_users:,} declared users are below {PROCESSES_GATE:,}, from which training in several "
                "processes may pay; train in one"
            )
        found: list[str] = [""] * dist.get_world_size(self._group)
        dist.all_gather_object(found, training, group=self._group)
        if len(set(found)) > 1:
            raise ValueError("processes of one training differ in plan, start or checkpoint; give all of them the same")
