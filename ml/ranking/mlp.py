"""The hidden layer that a ranker may have beside its linear heads: trained elsewhere, scored without torch."""

from dataclasses import dataclass

import numpy as np

from ml.ranking.inputs import Float32, Float64


@dataclass(frozen=True, eq=False)
class HiddenLayer:
    """Weights of one hidden layer."""

    weight: Float64
    """(hidden_size, n_features)."""
    bias: Float64
    """(hidden_size,)."""
    output: Float64
    """(n_heads, hidden_size)."""

    def scores(self, features: Float32) -> Float32:
        """What the layer adds to the linear heads' scores.

        Args:
            features: (..., n_features) float32.

        Returns:
            (..., n_heads) float32. Not a matrix product over users, so that a row's score depends on that row alone, to
            the last bit.
        """
        inner = np.tanh(np.einsum("...f,hf->...h", features, self.weight.astype(np.float32)) + self.bias)
        found: Float32 = np.einsum("...h,ah->...a", inner, self.output).astype(np.float32)
        return found
