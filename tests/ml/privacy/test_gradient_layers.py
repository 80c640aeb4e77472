"""Layers that would mix users: refused by the guard, and told by the manual loop where the guard is off."""

import pytest
import torch
from opacus import GradSampleModule

from ml.privacy.gradients import per_user_module
from tests.ml.privacy.checks import check_per_user_gradients

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")

N_USERS, LENGTH, SIZE = 6, 4, 3
HISTORY = torch.tensor([[1, 2, 0, 0], [3, 0, 0, 0], [1, 1, 4, 2], [5, 2, 3, 1], [2, 0, 0, 0], [4, 4, 0, 0]])
"""(n_users, length) item codes, 0 is padding."""


def as_opacus_would(module: torch.nn.Module) -> GradSampleModule:
    """Without the guard."""
    return GradSampleModule(module, batch_first=True, loss_reduction="sum")


class Encoder(torch.nn.Module):
    """Mean of item embeddings, a projection, and a softmax against negatives; a loss for each user."""

    def __init__(self, *, padding_idx: int | None = None, n_shared: int = 0) -> None:
        super().__init__()
        torch.manual_seed(3)  # the same start for every copy
        self.items = torch.nn.Embedding(8, SIZE, padding_idx=padding_idx)
        if padding_idx is not None:
            with torch.no_grad():
                self.items.weight[padding_idx] = 0.5
        self.project = torch.nn.Linear(SIZE, SIZE)
        self.shared = torch.linspace(-1, 1, n_shared * SIZE).reshape(n_shared, SIZE) if n_shared else None
        self.is_masked = padding_idx is None

    def forward(self, history: torch.Tensor) -> torch.Tensor:
        mask = (history > 0).float().unsqueeze(2) if self.is_masked else 1.0
        user = self.project((self.items(history) * mask).sum(dim=1))
        negatives = torch.linspace(-1, 1, 5 * SIZE).reshape(5, SIZE).expand(len(history), 5, SIZE)
        if self.shared is None:
            scores = torch.einsum("us,uks->uk", user, self.project(negatives))
        else:
            scores = user @ self.project(self.shared).T  # one tensor for everybody
        return torch.logsumexp(scores, dim=1) - scores[:, 0]


class Normed(torch.nn.Module):
    """Batch normalisation: everybody's gradient depends on everybody."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(LENGTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x.float()).sum(dim=1)


@pytest.mark.parametrize("wrap", [per_user_module, as_opacus_would])
def test_masks_and_expanded_negatives_give_each_user_his_own_gradient(wrap) -> None:
    check_per_user_gradients(Encoder, wrap, HISTORY)


@pytest.mark.parametrize("n_shared", [5, 9, N_USERS])
def test_a_shared_negatives_tensor_fails_the_manual_loop(n_shared: int) -> None:
    with pytest.raises(AssertionError, match="gradient differs"):
        check_per_user_gradients(lambda: Encoder(n_shared=n_shared), as_opacus_would, HISTORY)


@pytest.mark.parametrize("n_shared", [5, 9])
def test_a_shared_negatives_tensor_is_refused(n_shared: int) -> None:
    with pytest.raises(ValueError, match=f"'project' is given {n_shared} rows for 6 users; expand"):
        per_user_module(Encoder(n_shared=n_shared))(HISTORY)


def test_a_padding_idx_fails_the_manual_loop() -> None:
    with pytest.raises(AssertionError, match="gradient differs"):
        check_per_user_gradients(lambda: Encoder(padding_idx=0), as_opacus_would, HISTORY)


def test_a_padding_idx_is_refused() -> None:
    with pytest.raises(ValueError, match="'items' has padding_idx=0; drop it and mask"):
        per_user_module(Encoder(padding_idx=0))


def test_batch_normalisation_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be trained by user"):
        per_user_module(Normed())


def test_frozen_layers_may_see_what_they_like() -> None:
    model = Encoder(n_shared=5)
    for parameter in model.project.parameters():
        parameter.requires_grad_(False)
    torch.autograd.backward(per_user_module(model)(HISTORY).sum())
    assert model.items.weight.grad_sample.shape == (N_USERS, 8, SIZE)
