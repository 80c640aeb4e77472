"""The mechanism events that a privacy ledger stores: our own schema, free of any accounting library.

An event says what ran, completely enough to recompute its privacy cost years later. Events are frozen, compare by
value and survive a round trip through JSON unchanged, so that the event a plan allows, the event read back from a
mechanism after it ran and the event in a ledger row can be compared with `==`.

The neighbouring relation is always: add or remove all rows of one user.
"""

import math
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from ml.privacy.gaussian import mu_of_bounded_range

MIN_SENSITIVITY: Final = 2**10
"""Fewest integer units that a clip norm may be cut into; below it, truncation eats visible signal."""

MAX_GRAM_SENSITIVITY: Final = 2**20
"""Most integer units of a Gram release: products of two such numbers are exact in float64 for 8,191 users at once."""

MAX_RANGE: Final = 16.0
"""Largest epsilon of an exponential mechanism; up to here its mu is checked numerically."""

Randomness = Literal["opendp", "os_seeded, not cryptographic", "seeded: not private"]
"""Source of noise: OpenDP's cryptographic sampler, a generator seeded by the operating system, or a fixed seed."""


class _Event(BaseModel):
    """What all events share: frozen, compared by value, no unknown fields, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DiscreteGaussianEvent(_Event):
    """One draw of discrete Gaussian noise on every cell of an integer vector.

    Source: Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy" (NeurIPS 2020), Theorem 14:
    rho = sensitivity^2 / (2 scale^2) zero-concentrated differential privacy, exactly, in any dimension.

    >>> event = DiscreteGaussianEvent(sensitivity=1024, scale=2048.0, bound=2.0, randomness="opendp")
    >>> event.mu, event.rho
    (0.5, 0.125)
    >>> parse_event(event.model_dump(mode="json")) == event
    True
    """

    kind: Literal["discrete_gaussian"] = "discrete_gaussian"
    """Name of the mechanism in JSON."""
    sensitivity: int = Field(ge=MIN_SENSITIVITY, lt=2**31)
    """L2 norm that no user's integer vector exceeds, over all cells together, in units of bound / sensitivity."""
    scale: float = Field(gt=0)
    """Standard deviation of the noise, in the same integer units."""
    bound: float = Field(gt=0)
    """Clip norm C of one user's vector, in the caller's units."""
    randomness: Randomness
    """Source of the noise."""

    @property
    def mu(self) -> float:
        """Gaussian differential privacy parameter, sensitivity / scale."""
        return self.sensitivity / self.scale

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise in the caller's units: bound / mu."""
        return self.scale * self.bound / self.sensitivity

    @property
    def rho(self) -> float:
        """Zero-concentrated differential privacy parameter."""
        return self.mu**2 / 2


class GramGaussianEvent(_Event):
    """One symmetric draw of discrete Gaussian noise on a sum over users of k k^T, k an integer vector of each user.

    Source: Canonne, Kamath, Steinke (NeurIPS 2020), Theorem 14, for independent noise of two scales; the joint proof is
    in `ml.privacy.gram`.

    >>> event = GramGaussianEvent(sensitivity=1024, diagonal_scale=2.0**22, off_diagonal_scale=2.0**21.5, bound=0.9,
    ...     randomness="opendp")
    >>> round(event.mu, 9), round(event.rho, 9), round(event.noise_std, 4)
    (0.25, 0.03125, 3.24)
    """

    kind: Literal["gram_gaussian"] = "gram_gaussian"
    """Name of the mechanism in JSON."""
    sensitivity: int = Field(ge=MIN_SENSITIVITY, le=MAX_GRAM_SENSITIVITY)
    """S: L2 norm that no user's vector k exceeds, so that k k^T has a Frobenius norm of at most S^2."""
    diagonal_scale: float = Field(gt=0)
    """Standard deviation of the noise on the diagonal, in units of (bound / sensitivity)^2."""
    off_diagonal_scale: float = Field(gt=0)
    """Standard deviation of the noise above the diagonal, mirrored below it; the diagonal's over root 2."""
    bound: float = Field(gt=0)
    """Clip norm of one user's vector, in the caller's units."""
    randomness: Randomness
    """Source of the noise."""

    @property
    def mu(self) -> float:
        """Gaussian differential privacy parameter: S^2 over the weaker of the two noises, both on the diagonal's scale.

        A user shifts the diagonal by k_i^2 and the upper triangle by k_i k_j. With p_i = k_i^2 / S^2 the squared shift
        in standard deviations is S^4 (sum p_i^2 / d^2 + (1 - sum p_i^2) / (2 o^2)), at most S^4 / min(d^2, 2 o^2).
        """
        return self.sensitivity**2 / min(self.diagonal_scale, math.sqrt(2) * self.off_diagonal_scale)

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise on the diagonal, in the caller's units."""
        return self.diagonal_scale * (self.bound / self.sensitivity) ** 2

    @property
    def rho(self) -> float:
        """Zero-concentrated differential privacy parameter."""
        return self.mu**2 / 2


class ExponentialEvent(_Event):
    """One choice by the exponential mechanism: the index of the largest score after Gumbel noise.

    `sensitivity` is a range: the most by which one user can change the difference of two scores. So a score that one
    user can move by w either way has 2 w, and votes that he can only add have w.

    Source: McSherry, Talwar (FOCS 2007); bounded range in Durfee, Rogers (NeurIPS 2019), section 3; epsilon^2 / 8 in
    Cesar, Rogers, "Bounding, Concentrating, and Truncating: Unifying Privacy Loss Composition for Data Analytics"
    (ALT 2021); mu in `ml.privacy.gaussian.mu_of_bounded_range`.

    >>> event = ExponentialEvent(sensitivity=1024, scale=2048.0, bound=1.0, randomness="opendp")
    >>> event.epsilon, event.rho, round(event.mu, 4)
    (0.5, 0.03125, 0.313)
    """

    kind: Literal["exponential"] = "exponential"
    """Name of the mechanism in JSON."""
    sensitivity: int = Field(ge=MIN_SENSITIVITY, lt=2**31)
    """Range of what one user does to the scores, in units of bound / sensitivity."""
    scale: float = Field(gt=0)
    """Scale of the Gumbel noise, in the same integer units."""
    bound: float = Field(gt=0)
    """The same range in the caller's units."""
    randomness: Randomness
    """Source of the noise."""

    @model_validator(mode="after")
    def _check_epsilon(self) -> "ExponentialEvent":
        if not self.epsilon <= MAX_RANGE:
            raise ValueError(
                f"scale {self.scale:g} gives an epsilon of {self.epsilon:g}, above {MAX_RANGE:g}; raise it"
            )
        return self

    @property
    def epsilon(self) -> float:
        """Pure differential privacy parameter."""
        return self.sensitivity / self.scale

    @property
    def mu(self) -> float:
        """Gaussian differential privacy parameter."""
        return mu_of_bounded_range(self.epsilon)

    @property
    def rho(self) -> float:
        """Zero-concentrated differential privacy parameter."""
        return self.epsilon**2 / 8


class GaussianEvent(_Event):
    """`steps` adaptive Gaussian mechanisms over all users, such as full-batch gradient steps.

    Source: Dong, Roth, Su, "Gaussian Differential Privacy" (2019), Theorem 1 and Corollary 2: mu = sqrt(T) / sigma.

    >>> GaussianEvent(steps=36, noise_multiplier=12.0, bound=1.0, randomness="os_seeded, not cryptographic").mu
    0.5
    """

    kind: Literal["gaussian"] = "gaussian"
    """Name of the mechanism in JSON."""
    steps: int = Field(ge=1)
    """How many noisy sums were taken."""
    noise_multiplier: float = Field(gt=0)
    """Noise standard deviation of one sum divided by the clip norm."""
    bound: float = Field(gt=0)
    """Clip norm of one user's contribution to one sum (`max_grad_norm`)."""
    randomness: Randomness
    """Source of the noise."""

    @property
    def mu(self) -> float:
        """Gaussian differential privacy parameter of all steps together."""
        return math.sqrt(self.steps) / self.noise_multiplier

    @property
    def rho(self) -> float:
        """Zero-concentrated differential privacy parameter of all steps together."""
        return self.mu**2 / 2


class PoissonGaussianEvent(_Event):
    """`steps` Gaussian mechanisms, each over a Poisson sample of the users.

    It has no single mu or rho: its cost is a privacy loss distribution, composed in `ml.privacy.accounting`.
    """

    kind: Literal["poisson_gaussian"] = "poisson_gaussian"
    """Name of the mechanism in JSON."""
    sample_rate: float = Field(gt=0, le=1)
    """Probability with which each user enters a step, independently of all others and of other steps."""
    steps: int = Field(ge=1)
    """How many noisy sums were taken."""
    noise_multiplier: float = Field(gt=0)
    """Noise standard deviation of one sum divided by the clip norm."""
    bound: float = Field(gt=0)
    """Clip norm of one user's contribution to one sum (`max_grad_norm`)."""
    randomness: Randomness
    """Source of the noise."""


class NonPrivateEvent(_Event):
    """A computation over many users without noise: allowed for twins on public benchmarks, refused by every ledger."""

    kind: Literal["none"] = "none"
    """Name of the mechanism in JSON."""

    @property
    def mu(self) -> float:
        """No privacy at all: infinity."""
        return math.inf

    @property
    def rho(self) -> float:
        """No privacy at all: infinity."""
        return math.inf


_Private = DiscreteGaussianEvent | GramGaussianEvent | ExponentialEvent | GaussianEvent | PoissonGaussianEvent

PrivateEvent = Annotated[_Private, Field(discriminator="kind")]
"""Any event that a ledger accepts."""

MechanismEvent = Annotated[_Private | NonPrivateEvent, Field(discriminator="kind")]
"""Any event."""

_ADAPTER: Final[TypeAdapter[Any]] = TypeAdapter(MechanismEvent)


def parse_event(document: Any) -> _Private | NonPrivateEvent:
    """Rebuild an event from its JSON form.

    Args:
        document: the mapping that `event.model_dump(mode="json")` gave, for instance out of a ledger row.

    Returns:
        The event, equal to the one that was dumped.

    Raises:
        pydantic.ValidationError: if the kind is unknown, a field is missing, unknown or out of range.
    """
    event: _Private | NonPrivateEvent = _ADAPTER.validate_python(document)
    return event


def gradient_event(
    *, noise_multiplier: float, steps: int, sample_rate: float, bound: float, randomness: Randomness
) -> GaussianEvent | PoissonGaussianEvent | NonPrivateEvent:
    """The event of a gradient training, from what its optimizer, sampler and accountant report after it ran.

    >>> gradient_event(noise_multiplier=12, steps=36, sample_rate=1, bound=1, randomness="opendp").kind
    'gaussian'

    Args:
        noise_multiplier: noise standard deviation of one sum over the clip norm; 0 means that no noise was drawn.
        steps: how many noisy sums were taken, >= 1.
        sample_rate: probability of a user entering a step, in (0, 1]; 1 is full batch.
        bound: clip norm of one user's gradient, > 0.
        randomness: source of the noise.

    Returns:
        The event; `NonPrivateEvent` without noise.

    Raises:
        pydantic.ValidationError: if a number is out of range.
    """
    if noise_multiplier == 0:
        return NonPrivateEvent()
    if sample_rate == 1:
        return GaussianEvent(steps=steps, noise_multiplier=noise_multiplier, bound=bound, randomness=randomness)
    return PoissonGaussianEvent(
        sample_rate=sample_rate, steps=steps, noise_multiplier=noise_multiplier, bound=bound, randomness=randomness
    )
