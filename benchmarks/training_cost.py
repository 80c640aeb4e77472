"""What privacy costs in time and memory: all releases from features, one training step, one process against two.

    PORTRAIT_VAR=var python benchmarks/training_cost.py

Reads the tables that `portrait run` made of a shop that is declared a public benchmark, and writes nothing there.
Everything runs in processes of its own, in turns, so that other work on the machine falls on both sides alike. One JSON
line a round. `features to releases`: all releases of the default plan. `step`: one full-batch step of the ranker with
per-user clipping and noise (`private`), and the same loss by plain gradient descent (`plain`), each on one thread: on a
machine with other work, several threads wait for one another and count the waiting as work. `processes`: the private
step on one thread and on all of them in one process, and with half of users and threads in each of two.
"""

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from assets import arrays, learning
from data.history import History, periods
from data.settings import load_settings
from data.workspace import Workspace, open_workspace
from ml.privacy.heads import Heads, listwise_loss
from ml.privacy.plan import PROCESSES_GATE, PlanConstants, default_plan
from ml.privacy.processes import Processes
from ml.privacy.training import TrainingConfig, train_listwise
from ml.ranking.bags import Bags, bags_of_users
from ml.ranking.coordinates import to_coordinates
from ml.ranking.ranker import PRIOR

FIELDS = ("features", "candidate", "label", "weight")
NOISE = 11.0


def peak_mb() -> float:
    """Most memory that this process ever had, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def timed(what: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Wall and CPU seconds, and what came out."""
    wall, cpu = time.monotonic(), time.process_time()
    found = what()
    return {"wall_s": time.monotonic() - wall, "cpu_s": time.process_time() - cpu}, found


def releases(folder: Path) -> dict[str, Any]:
    """Every release of the default plan, from the tables of features on; leaves the ranker's bags in the folder."""
    workspace: Workspace = open_workspace(load_settings())
    shop = workspace.shop
    assert shop.public_benchmark and shop.declared_users, "a public benchmark with declared users"
    plan = default_plan(shop.privacy.epsilon, shop.delta(shop.declared_users), shop.declared_users)
    whole, _ = timed(lambda: _released(workspace, plan, folder))
    return {**whole, "peak_mb": peak_mb(), "slots": [slot.name for slot in plan.slots]}


def _released(workspace: Workspace, plan: Any, folder: Path) -> None:
    """The releases, published nowhere."""
    planned = plan.events()["ranker"]
    with workspace.engine.session() as session:
        history = History(workspace, session, periods(workspace))
        catalogue = arrays.catalogue(workspace, session)
        before, _ = learning.counted(history, plan, non_private=False)
        state = arrays.user_item_state(history, "fit")
        together = learning.together_of(state, len(history.user_ids), before, plan, non_private=False)
        labels = history.weighted(history.fit_labels())
        shop: Any = (state, labels, history.user_ids, catalogue, before, together, planned, plan)
        bags = learning.ranker_bags(*shop, tell=lambda line: None)
    learning.fit_ranker(bags, planned, plan)
    for number, batch in enumerate(bags):
        np.savez(folder / f"{number:03d}.npz", **{name: getattr(batch, name) for name in FIELDS})


def loaded(folder: Path) -> list[Bags]:
    """The bags that `releases` left."""
    found = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as batch:
            found.append(Bags(*(batch[name] for name in FIELDS)))
    return found


def trained(bags: list[Bags], steps: int, declared_users: int, processes: Processes | None = None) -> None:
    """Private steps."""
    c = PlanConstants()
    config = TrainingConfig(
        steps=steps, learning_rate=c.learning_rate, max_grad_norm=c.max_grad_norm, declared_users=declared_users
    )
    train_listwise(
        bags, to_coordinates(PRIOR.to_array()), config, noise_multiplier=NOISE, device="cpu", processes=processes
    )


def private(folder: Path, steps: int) -> dict[str, Any]:
    """Steps with per-user clipping and noise."""
    torch.set_num_threads(1)
    bags = loaded(folder)
    before = peak_mb()
    trained(bags, 1, 2_500)  # the first step of a process loads OpenDP
    used, _ = timed(lambda: trained(bags, steps, 2_500))
    return {name: value / steps for name, value in used.items()} | {
        "peak_mb": peak_mb(),
        "grown_mb": peak_mb() - before,
    }


def plain(folder: Path, steps: int) -> dict[str, Any]:
    """Steps on the sum of all gradients, by plain torch."""
    torch.set_num_threads(1)
    bags, heads = loaded(folder), Heads(PRIOR.to_array())
    optimizer = torch.optim.SGD(heads.parameters(), lr=2.0)

    def train(steps: int) -> None:
        for _ in range(steps):
            for batch in bags:
                features, candidate, label, weight = (torch.from_numpy(getattr(batch, name)) for name in FIELDS)
                torch.autograd.backward(listwise_loss(heads(features), candidate, label, weight).sum() / 2_500)
            optimizer.step()
            optimizer.zero_grad()

    before = peak_mb()
    train(1)
    used, _ = timed(lambda: train(steps))
    return {name: value / steps for name, value in used.items()} | {
        "peak_mb": peak_mb(),
        "grown_mb": peak_mb() - before,
    }


def together(folder: Path, steps: int, n_threads: int, rank: int, size: int) -> dict[str, Any]:
    """Private steps over the users of one of several processes."""
    torch.set_num_threads(n_threads)
    bags = loaded(folder)
    processes = None
    if size > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size)
        processes = Processes(dist.group.WORLD)
        n_users = sum(len(batch.features) for batch in bags)
        own = np.array_split(np.arange(n_users), size)[rank]
        bags = [bags_of_users(bags, part) for part in np.array_split(own, max(1, len(own) // 256))]
    trained(bags, 1, PROCESSES_GATE, processes)
    used, _ = timed(lambda: trained(bags, steps, PROCESSES_GATE, processes))
    return {name: value / steps for name, value in used.items()}


def _answer(work: Callable[..., Any], arguments: tuple[Any, ...], out: Any) -> None:
    out.send(work(*arguments))


def apart(*calls: tuple[Callable[..., Any], tuple[Any, ...]]) -> list[Any]:
    """What functions return in new processes, all at once."""
    context, started = multiprocessing.get_context("spawn"), []
    for work, arguments in calls:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_answer, args=(work, arguments, theirs))
        process.start()
        theirs.close()
        started.append((process, ours))
    found = [ours.recv() for _, ours in started]
    for process, _ in started:
        process.join()
    return found


def show(what: str, figures: dict[str, Any]) -> None:
    """One JSON line."""
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}
    print(json.dumps({"what": what, **rounded}), flush=True)


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    args = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the commands do; the processes below inherit it
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        show("features to releases", apart((releases, (folder,)))[0])
        sides: dict[str, list[dict[str, Any]]] = {"plain": [], "private": []}
        for _ in range(args.rounds):
            for side, found in sides.items():
                found += apart((plain if side == "plain" else private, (folder, args.steps)))
                show(f"step, {side}", found[-1])
        for name in ("cpu_s", "wall_s", "peak_mb"):
            middle = {side: statistics.median(one[name] for one in found) for side, found in sides.items()}
            show(f"private / plain, median {name}", {"ratio": middle["private"] / middle["plain"]})
        cores = os.cpu_count() or 1
        for _ in range(args.rounds):
            for size, n_threads in ((1, 1), (1, cores), (2, max(1, cores // 2))):
                answers = apart(*((together, (folder, args.steps, n_threads, rank, size)) for rank in range(size)))
                (folder / "meet").unlink(missing_ok=True)
                wall, cpu = max(one["wall_s"] for one in answers), sum(one["cpu_s"] for one in answers)
                show(f"private step, processes: {size}, threads of each: {n_threads}", {"wall_s": wall, "cpu_s": cpu})


if __name__ == "__main__":
    main()
