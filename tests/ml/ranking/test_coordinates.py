"""Coordinates of the ranker's training: they are those of the weights, and descent in them gets where it should."""

from pathlib import Path

import numpy as np
import pytest

from ml.ranking import coordinates as module
from ml.ranking.bags import Bags
from ml.ranking.coordinates import coordinates, curvature, from_coordinates, in_coordinates, to_coordinates
from ml.ranking.features import FEATURES
from ml.ranking.ranker import PRIOR


def test_scores_are_the_same_in_coordinates() -> None:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(3, 5, len(FEATURES))).astype(np.float32)
    some = np.ones((3, 2, 5), dtype=np.bool_)
    weights = PRIOR.to_array()
    found = in_coordinates(Bags(features, some, some)).features @ to_coordinates(weights).T
    np.testing.assert_allclose(found, features @ weights.T, atol=1e-3)
    np.testing.assert_allclose(from_coordinates(to_coordinates(weights)), weights, atol=1e-9)


def test_the_curvature_is_that_of_a_covariance_and_is_even_in_coordinates() -> None:
    values = np.linalg.eigvalsh(curvature())
    assert values[0] > -1e-4 and values[-1] > 100 * values[2]
    even = np.linalg.eigvalsh(coordinates().T @ curvature() @ coordinates())
    assert even[-1] < 1 and even[5] > 0.1


def test_a_file_of_other_features_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "curvature.json"
    other.write_text('{"features": ["own"], "curvature": [[1.0]]}', encoding="utf-8")
    monkeypatch.setattr(module, "CURVATURE_FILE", other)
    with pytest.raises(ValueError, match="of other features"):
        curvature()
