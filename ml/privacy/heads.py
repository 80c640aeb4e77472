"""The ranker as torch sees it: linear heads, optionally with one hidden layer beside them, and its loss."""

from typing import Final

import numpy as np
import numpy.typing as npt
import torch

_MASKED: Final = -1e4
"""Score of what is not a candidate: exp of it is exactly 0 in float32."""


class Heads(torch.nn.Module):
    """Linear heads over features, started at public weights; plus a hidden layer, if it has a size.

    The hidden layer starts at public pseudo-random weights and its output at 0, so that training starts at the linear
    prior exactly.
    """

    def __init__(self, initial: npt.NDArray[np.float64], hidden_size: int = 0) -> None:
        """Build the heads.

        Args:
            initial: (n_heads, n_features) prior weights, public constants.
            hidden_size: units of the hidden layer; 0 for none.
        """
        super().__init__()
        n_heads, n_features = initial.shape
        self.linear = _linear(initial, bias=False)
        self.hidden = self.output = None
        if hidden_size:
            drawn = np.random.default_rng(0).normal(size=(hidden_size, n_features)) / np.sqrt(n_features)
            self.hidden = _linear(drawn, bias=True)
            self.output = _linear(np.zeros((n_heads, hidden_size)), bias=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(n_users, width, n_features) float32 features to (n_users, n_heads, width) scores."""
        scores = self.linear(features)
        if self.hidden is not None and self.output is not None:
            scores = scores + self.output(torch.tanh(self.hidden(features)))
        transposed: torch.Tensor = scores.transpose(1, 2)
        return transposed


def _linear(weight: npt.NDArray[np.float64], *, bias: bool) -> torch.nn.Linear:
    """A linear layer with these weights and a zero bias."""
    n_out, n_in = weight.shape
    layer = torch.nn.Linear(n_in, n_out, bias=bias)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        if bias:
            layer.bias.zero_()
    return layer


def listwise_loss(
    scores: torch.Tensor, candidate: torch.Tensor, label: torch.Tensor, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Minus the log of the share of a user's softmax that falls on positives, each by its weight, summed over heads.

    It asks that the top of the list be right, not that all positives be found, as NDCG does. Its gradient is a
    difference of two means of feature vectors, over the candidates and over the positives, so it is bounded by the
    features' diameter before any clipping.

    Weights change nothing of that, and nothing of the sensitivity: with softmax shares p_j of a user's positives the
    second mean is sum_j w_j p_j x_j / sum_j w_j p_j, again a mean of his own feature vectors, whatever the weights and
    their scale; they are this user's and public constants; and the clip norm bounds his gradient afterwards as before.
    Equal weights of 1 add log 1 = 0 to scores: the result without weights, to the bit.

    Args:
        scores: (n_users, n_heads, width) float32.
        candidate: (n_users, n_heads, width) bool.
        label: (n_users, n_heads, width) bool.
        weight: (n_users, width) float32 in (0, 1], of the positives among the user's; None: all alike.

    Returns:
        (n_users,) float32; a head without a positive adds 0.

    Source: Bruch et al., "An Analysis of the Softmax Cost Function for Learning to Rank" (ICTIR 2019), section 3, with
    the sum over positives inside the logarithm (marginal likelihood of a positive at the top).
    """
    positive = label & candidate
    everything = torch.logsumexp(scores.masked_fill(~candidate, _MASKED), dim=2)
    weighed = scores if weight is None else scores + torch.log(weight)[:, None, :]
    right = torch.logsumexp(weighed.masked_fill(~positive, _MASKED), dim=2)
    loss: torch.Tensor = torch.where(positive.any(dim=2), everything - right, 0.0).sum(dim=1)
    return loss
