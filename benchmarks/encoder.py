"""An encoder on frozen public item vectors: adapters trained with user-level privacy, and lists from them.

A user is the mean of the public vectors of the own items. Low-rank adapters on both sides turn it and the items into
scores, (user A) . (item B) + log popularity. It is the smallest two-tower: new users and new items need no training.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from opacus.accountants import RDPAccountant

from data.synth.world import Items
from ml.privacy.gradients import WholeNumberDPOptimizer, per_user_module
from ml.privacy.sampling import PoissonSampler

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class EncoderConfig:
    """Constants, chosen on made-up shops of seeds 11 and 12."""

    size: int = 64
    """Dimensions of a public vector."""
    rank: int = 8
    """Columns of an adapter."""
    is_tied: bool = True
    """One adapter for both sides."""
    temperature: float = 1.0
    """Factor of a cosine at the start."""
    steps: int = 150
    users_a_step: int = 1_000
    """Expected; at most half of all users."""
    learning_rate: float = 25.0
    """At most."""
    drift: float = 0.2
    """What noise alone may move a weight by until the end: lowers the learning rate where users x mu is small."""
    max_grad_norm: float = 0.25
    n_averaged: int = 50
    """The adapters are the mean of the last so many iterates."""
    n_own: int = 16
    """Own items of a user that are positives, at most; all of them make the user's vector."""
    n_negatives: int = 32
    """Drawn from released popularity for every user alone, anew in every step."""
    physical_users: int = 500

    def sample_rate(self, declared_users: int) -> float:
        """Probability of a user entering a step."""
        return min(0.5, self.users_a_step / declared_users)


def public_vectors(items: Items, size: int) -> Floats:
    """(n_items, size) unit vectors: the sum over an item's public words of one fixed pseudo-random direction each."""
    columns = items.department, items.category, items.brand, items.title
    words = [
        [f"department {d}", f"category {c}", f"brand {b}", *t.split()] for d, c, b, t in zip(*columns, strict=True)
    ]
    table = {word: _direction(word, size) for word in {word for item in words for word in item}}
    found = np.stack([np.sum([table[word] for word in item], axis=0) for item in words])
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


def _direction(word: str, size: int) -> Floats:
    seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest())
    return np.random.default_rng(seed).normal(size=size) / np.sqrt(size)


class Adapters(torch.nn.Module):
    """Both sides; at the start the same fixed orthogonal projection, which gives about the cosine."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        drawn = np.random.default_rng(0).normal(size=(config.size, config.size))
        start = np.linalg.qr(drawn)[0][: config.rank] * np.sqrt(config.temperature * config.size / config.rank) ** 0.5
        self.user = torch.nn.Linear(config.size, config.rank, bias=False)
        self.item = None if config.is_tied else torch.nn.Linear(config.size, config.rank, bias=False)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.from_numpy(start))

    def forward(self, user: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
        """(n_users, p, size) and (n_users, m, size) to (n_users, p, m) scores."""
        if self.item is None:
            user, item = torch.split(self.user(torch.cat([user, item], dim=1)), [user.shape[1], item.shape[1]], dim=1)
        else:
            user, item = self.user(user), self.item(item)
        scores: torch.Tensor = user @ item.transpose(1, 2)
        return scores


class Examples:
    """Each user's own items; the user's vector for one of them is the mean of the others."""

    def __init__(self, rows: Any, vectors: Floats, popularity: Floats, config: EncoderConfig) -> None:
        """Take users' binary rows (sparse), public vectors, and what negatives are drawn from."""
        self.rows, self.vectors, self.config = rows.tocsr(), vectors, config
        self.cumulative = np.cumsum(popularity / popularity.sum())
        self.sums = np.asarray(self.rows @ vectors, np.float32)
        self.rng = np.random.default_rng()

    def batch(self, users: npt.NDArray[np.int64]) -> tuple[torch.Tensor, ...]:
        """Vectors of users for each positive, of positives, of negatives; which positives and negatives count."""
        n, p, m = len(users), self.config.n_own, self.config.n_negatives
        own = np.full((n, p), -1)
        negative = np.searchsorted(self.cumulative, self.rng.random((n, m))).clip(max=len(self.vectors) - 1)
        is_other = np.ones((n, m), bool)
        for place, user in enumerate(users):
            items = self.rows.indices[self.rows.indptr[user] : self.rows.indptr[user + 1]]
            if len(items) > 1:
                kept = self.rng.permutation(items)[:p]
                own[place, : len(kept)] = kept
            is_other[place] = ~np.isin(negative[place], items)
        positive = self.vectors[np.maximum(own, 0)]
        user_vector = unit(self.sums[users][:, None, :] - positive)
        arrays = user_vector, positive, self.vectors[negative], own >= 0, is_other
        return tuple(torch.from_numpy(array) for array in arrays)


def unit(vectors: Floats) -> Floats:
    """At length 1; what is 0 stays so."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6), np.float32)


def sampled_softmax(model: Any, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """(n_users,) mean over a user's positives of minus the log of the share that falls on it against the negatives.

    Negatives are drawn from popularity, whose log is part of the score: both cancel (Bengio, Senecal 2003), so what is
    compared is the product of both sides alone.
    """
    user, positive, negative, is_own, is_other = batch
    m = negative.shape[1]
    scores = model(user, torch.cat([negative, positive], dim=1))
    against = scores[:, :, :m].masked_fill(~is_other[:, None, :], -1e4)
    right = torch.diagonal(scores[:, :, m:], dim1=1, dim2=2)
    loss = torch.logsumexp(torch.cat([against, right[:, :, None]], dim=2), dim=2) - right
    count = is_own.sum(dim=1).clamp(min=1)
    return torch.where(is_own, loss, 0.0).sum(dim=1) / count


def train_adapters(
    examples: Examples, declared_users: int, config: EncoderConfig, *, noise_multiplier: float, mu: float = np.inf
) -> tuple[list[Floats], tuple[float, float, int]]:
    """The adapters, (rank, size) each, and what the accountant saw: noise multiplier, sample rate, steps.

    One sample is one user, entering each step by Poisson sampling; the divisor is the plan's.
    """
    adapters, rate = Adapters(config), config.sample_rate(declared_users)
    model, accountant = per_user_module(adapters), RDPAccountant()
    learning_rate = min(
        config.learning_rate, config.drift * declared_users * mu / (config.steps * config.max_grad_norm)
    )
    optimizer = WholeNumberDPOptimizer(
        torch.optim.SGD(model.parameters(), lr=learning_rate),
        noise_multiplier=noise_multiplier,
        max_grad_norm=config.max_grad_norm,
        expected_batch_size=declared_users * rate,
        loss_reduction="mean",
    )
    optimizer.attach_step_hook(accountant.get_optimizer_hook_fn(sample_rate=rate))
    mean = [np.zeros(tuple(weight.shape)) for weight in adapters.parameters()]
    for step, users in enumerate(PoissonSampler(len(examples.sums), rate, config.steps), 1):
        parts = np.array_split(np.array(users, np.int64), max(1, -(-len(users) // config.physical_users)))
        for number, part in enumerate(parts, 1):
            optimizer.signal_skip_step(do_skip=number < len(parts))
            torch.autograd.backward(sampled_softmax(model, examples.batch(part)).sum())
            optimizer.step()
            optimizer.zero_grad()
        if step > config.steps - config.n_averaged:
            for total, weight in zip(mean, adapters.parameters(), strict=True):
                total += weight.detach().double().numpy() / config.n_averaged
    return mean, accountant.history[0]


def encoder_scores(rows: Any, vectors: Floats, popularity: Floats, adapters: Sequence[Floats]) -> Floats:
    """(n_users, n_items) scores of users' binary rows."""
    user, item = adapters[0], adapters[-1]
    return np.asarray((unit(rows @ vectors) @ user.T) @ (vectors @ item.T).T + np.log(popularity))
