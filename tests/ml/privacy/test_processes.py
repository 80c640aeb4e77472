"""Two real processes of one training: their sum is one process's, the noise is drawn once, and nothing hangs.

The processes are started once, do every job below together, and say what became of each.
"""

import multiprocessing
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from ml.privacy import mechanisms
from ml.privacy.checkpoint import Resumable
from ml.privacy.plan import PROCESSES_GATE
from ml.privacy.processes import Processes
from ml.privacy.training import TrainingConfig, train_listwise
from ml.ranking.bags import Bags, bags_of_users
from tests.ml.privacy.bags import N_HEADS, ZEROS_5, make_bags
from tests.ml.privacy.checks import check_residuals

Said = tuple[str, Any]
NOISE = 4.0
ALL = range(60)
"""Users; the first process has a third of them."""


def config(**changes: Any) -> TrainingConfig:
    fields = {"steps": 4, "learning_rate": 1e3, "max_grad_norm": 0.3, "n_averaged": 1, "declared_users": PROCESSES_GATE}
    return TrainingConfig.model_validate(fields | changes)


def users(rank: int | None) -> list[Bags]:
    """One process's users, in two batches; all of them without a rank."""
    own = {None: ALL, 0: ALL[:20], 1: ALL[20:]}[rank]
    bags = make_bags(len(ALL), scale=2.0)
    return [bags_of_users([bags], own[:7]), bags_of_users([bags], own[7:])]


def trained(rank: int | None, processes: Processes | None, noise: float = 0.0, **changes: Any) -> Any:
    hidden = {name: changes.pop(name) for name in ("resumable", "bags", "start") if name in changes}
    found = train_listwise(
        hidden.get("bags", users(rank)),
        hidden.get("start", ZEROS_5),
        config(**changes),
        noise_multiplier=noise,
        non_private=noise == 0,
        resumable=hidden.get("resumable"),
        processes=processes,
    )
    return found.weights, found.event.model_dump()


def silent() -> dict[str, Any]:
    """Users who teach nothing, and 1,000 weights."""
    bags = make_bags(3, n_features=500)
    bags.label[:] = False
    return {"bags": [bags], "start": np.zeros((N_HEADS, 500))}


def several_draws(rank: int, processes: Processes) -> list[Any]:
    return [trained(rank, processes, NOISE, **silent())[0] for _ in range(6)]


def noise_of_everybody(rank: int, processes: Processes) -> list[Any]:
    """The fault: each process adds noise to its own sum."""
    honest = Processes.released
    Processes.released = lambda self, total, release: honest(self, release(total), lambda noisy: noisy)
    try:
        return several_draws(rank, processes)
    finally:
        Processes.released = honest


def killed_and_resumed(rank: int, processes: Processes) -> Any:
    saved: list[bytes] = []
    trained(rank, processes, NOISE, resumable=Resumable("slot", saved.append, every=3))
    kept: list[Any] = [saved.pop() if saved else None]
    dist.broadcast_object_list(kept, src=0)
    again = Resumable("slot", saved.append, saved=kept[0])
    found = trained(rank, processes, NOISE, resumable=again)
    return len(saved), found


def nobody_here(rank: int, processes: Processes) -> Any:
    bags = users(None) if rank == 0 else [bags_of_users(users(None), [])]
    return trained(rank, processes, bags=bags)


def overflow(rank: int, processes: Processes) -> Any:
    bags = make_bags(3, scale=1e30 if rank else 1.0)
    return trained(rank, processes, 1.0, bags=[bags], start=np.full((N_HEADS, 5), 1e30))


def weak_noise(rank: int, processes: Processes) -> Any:
    """The first process, which draws, has a sampler that proves too little."""
    honest = mechanisms._opendp_gaussian
    mechanisms._opendp_gaussian = lambda n, scale: honest(n, scale / 2)
    try:
        return trained(rank, processes, 1.0)
    finally:
        mechanisms._opendp_gaussian = honest


JOBS: dict[str, Callable[[int, Processes], Any]] = {
    "full batch": trained,
    "hidden layer": lambda rank, processes: trained(rank, processes, hidden_size=3),
    "Poisson": lambda rank, processes: trained(rank, processes, NOISE, sample_rate=0.3, steps=9, physical_users=4),
    "several draws": several_draws,
    "noise of everybody": noise_of_everybody,
    "killed and resumed": killed_and_resumed,
    "nobody here": nobody_here,
    "unlike": lambda rank, processes: trained(rank, processes, learning_rate=1.0 + rank),
    "too few": lambda rank, processes: trained(rank, processes, declared_users=PROCESSES_GATE - 1),
    "overflow": overflow,
    "weak noise": weak_noise,
    "after them": trained,
}


def work(rank: int, folder: str, out: Connection) -> None:
    """One of two processes."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    processes, said = Processes(dist.group.WORLD), {}
    for name, job in JOBS.items():
        try:
            said[name] = ("done", job(rank, processes))
        except (ValueError, ArithmeticError) as error:
            said[name] = (type(error).__name__, str(error))
    out.send(said)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Said]]:
    """What each of the two processes said of every job."""
    context, folder = multiprocessing.get_context("spawn"), str(tmp_path_factory.mktemp("group"))
    found = []
    for rank in range(2):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(rank, folder, theirs))
        process.start()
        theirs.close()
        found.append((process, ours))
    answers = [ours.recv() for _, ours in found]
    for process, _ in found:
        process.join(60)
        assert process.exitcode == 0
    return answers


def both(said: list[dict[str, Said]], name: str) -> list[Any]:
    assert [one[name][0] for one in said] == ["done", "done"], [one[name] for one in said]
    return [one[name][1] for one in said]


@pytest.mark.parametrize(
    ("name", "options"), [("full batch", {}), ("hidden layer", {"hidden_size": 3}), ("nobody here", {})]
)
def test_the_aggregate_of_two_processes_is_that_of_one(said: Any, name: str, options: dict[str, int]) -> None:
    (first, event), (second, _) = both(said, name)
    alone, wanted = trained(None, None, **options)
    np.testing.assert_array_equal(first, second)
    # float32 may round a user's gradient by the company he is computed in: a unit of 2^20 or two a user
    np.testing.assert_allclose(first, alone, rtol=0, atol=4 * len(ALL) * 2 * 0.3 / 2**20 * 1e3 / PROCESSES_GATE)
    assert event == wanted and np.abs(first).max() > 1e-2


def residuals(draws: list[Any]) -> Callable[[], Any]:
    return iter([one.ravel() / (np.sqrt(4) * NOISE * 0.3 * 1e3 / PROCESSES_GATE) for one in draws]).__next__


def test_noise_is_drawn_once_and_has_the_claimed_scale(said: Any) -> None:
    first, second = both(said, "several draws")
    np.testing.assert_array_equal(first, second)
    check_residuals(residuals(first))


def test_noise_of_every_process_fails_the_residual_check(said: Any) -> None:
    with pytest.raises(AssertionError, match="noise differs from the claim"):
        check_residuals(residuals(both(said, "noise of everybody")[0]))


def test_each_process_samples_its_own_users_and_all_take_the_same_steps(said: Any) -> None:
    (first, event), (second, _) = both(said, "Poisson")
    np.testing.assert_array_equal(first, second)
    assert (event["steps"], event["sample_rate"], event["noise_multiplier"]) == (9, 0.3, NOISE)


def test_the_first_process_keeps_the_checkpoint_and_all_go_on_from_it(said: Any) -> None:
    (n_first, (first, event)), (n_second, (second, _)) = both(said, "killed and resumed")
    np.testing.assert_array_equal(first, second)
    assert (n_first, n_second) == (1, 0)
    assert event == trained(None, None, NOISE)[1]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("unlike", "differ in plan, start or checkpoint"), ("too few", "99,999 declared users are below 100,000")],
)
def test_what_must_not_be_trained_together_is_refused_everywhere(said: Any, name: str, sentence: str) -> None:
    for one in said:
        assert one[name][0] == "ValueError" and sentence in one[name][1]


@pytest.mark.parametrize(
    ("name", "failing", "sentence"), [("overflow", 1, "gradient is not finite"), ("weak noise", 0, "OpenDP proves rho")]
)
def test_what_fails_in_one_process_releases_nothing_in_any_and_nobody_waits(
    said: Any, name: str, failing: int, sentence: str
) -> None:
    own, other = said[failing][name], said[1 - failing][name]
    assert own[0] in ("FloatingPointError", "ArithmeticError") and sentence in own[1]
    assert other == (
        "FloatingPointError",
        "another process of this training failed, see its error; nothing is released",
    )
    both(said, "after them")
