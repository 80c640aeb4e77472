"""A training that may be killed and goes on: what a checkpoint holds, and what it must never hold.

It holds noisy iterates and how many noisy steps they took. It holds no seed and no generator state: what is drawn after
a resume is drawn anew. It holds no sum over users without noise: it is made between steps alone. Steps that were taken
after it and lost with the process were never observed, so that the resumed training needs the same reservation and ends
in the same event.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Parameters = dict[str, npt.NDArray[np.float64]]
"""A model's parameters by name."""


@dataclass(frozen=True)
class Resumable:
    """How a training keeps its checkpoints. The caller stores the bytes, whole or not at all, until the commit."""

    purpose: str
    """What the training is for, such as slot and input version; a checkpoint of another purpose is refused."""
    save: Callable[[bytes], None]
    """Called with a checkpoint after every so many steps."""
    saved: bytes | None = None
    """The last checkpoint, to go on from; none starts at the beginning."""
    every: int = 1
    """Steps between checkpoints, >= 1."""

    def __post_init__(self) -> None:
        """Check the interval.

        Raises:
            ValueError: if it is below 1.
        """
        if self.every < 1:
            raise ValueError(f"checkpoints every {self.every} steps are asked for; give at least 1")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a training between two steps."""

    parameters: Parameters
    """Where the walk is."""
    mean: Parameters
    """Mean of the last iterates, as far as summed."""
    history: tuple[tuple[float, float, int], ...]
    """The accountant's: (noise multiplier, sample rate, steps taken)."""

    @property
    def steps(self) -> int:
        """Noisy steps taken."""
        return sum(steps for _, _, steps in self.history)

    def to_bytes(self, fingerprint: str) -> bytes:
        """Serialise, bound to the training that `fingerprint` tells."""
        header = json.dumps({"fingerprint": fingerprint, "history": self.history}).encode()
        arrays = {f"parameter:{name}": value for name, value in self.parameters.items()}
        arrays |= {f"mean:{name}": value for name, value in self.mean.items()}
        sink = io.BytesIO()
        np.savez(sink, header=np.frombuffer(header, dtype=np.uint8), **arrays)  # type: ignore[arg-type]
        return sink.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, fingerprint: str) -> "Checkpoint":
        """Read back what `to_bytes` gave.

        Raises:
            ValueError: if the bytes are no checkpoint, or one of another training.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as found:
                header = json.loads(found["header"].tobytes())
                arrays = {name: found[name] for name in found.files}
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"the checkpoint cannot be read ({error}); delete it and train from the start, under its reservation"
            ) from error
        if header["fingerprint"] != fingerprint:
            raise ValueError(
                "the checkpoint belongs to another training (plan, data, start or code differ); delete it and train "
                "from the start"
            )

        def part(prefix: str) -> Parameters:
            return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}

        history = tuple((float(noise), float(rate), int(steps)) for noise, rate, steps in header["history"])
        return cls(parameters=part("parameter:"), mean=part("mean:"), history=history)


def fingerprint_of(purpose: str, constants: Mapping[str, Any], initial: npt.NDArray[np.float64]) -> str:
    """SHA-256 of what makes two trainings the same: purpose, constants of the plan, start."""
    text = json.dumps({"purpose": purpose, "constants": constants}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode() + initial.tobytes()).hexdigest()
