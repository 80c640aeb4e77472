"""A training that is killed at random steps ends in the same event, with the same noise; its checkpoints are mute."""

import io
import random

import numpy as np
import pytest

from ml.privacy import training
from ml.privacy.checkpoint import Checkpoint, Resumable
from ml.privacy.training import Trained, TrainingConfig, train_listwise
from ml.ranking.bags import Bags
from tests.ml.privacy.bags import N_HEADS, ZEROS_5, make_bags, one_step
from tests.ml.privacy.checks import check_residuals


class Killed(BaseException):
    """A process that is gone."""


def killed_and_resumed(
    bags: Bags, start: np.ndarray, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch, *, kills: int, **options
) -> tuple[Trained, int]:
    """Train; die in the midst of so many physical batches, at random; go on from the last checkpoint each time.

    Returns:
        What was trained at last, and how many physical batches that took in all.
    """
    real, dice, count = training._accumulate, random.Random(5), [0]
    deadline = [0]
    stored: list[bytes] = []

    def accumulate(*arguments):
        count[0] += 1
        if count[0] == deadline[0]:
            raise Killed
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training, "_accumulate", accumulate)
        for life in range(kills + 1):
            deadline[0] = count[0] + dice.randint(1, 6) if life < kills else 0
            saved = stored[-1] if stored else None
            resumable = Resumable("ranker 0a1b", stored.append, saved=saved, every=2)
            try:
                return train_listwise([bags], start, config, resumable=resumable, **options), count[0]
            except Killed:
                continue
    raise AssertionError("the training ended before it was killed often enough, or never ended")


@pytest.mark.parametrize("options", [{}, {"sample_rate": 0.5, "physical_users": 4}, {"hidden_size": 3}])
def test_killed_at_random_steps_it_ends_in_the_same_event(options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    config = one_step(steps=9, n_averaged=4, **options)
    whole = train_listwise([make_bags(10)], ZEROS_5, config, noise_multiplier=1.5)
    trained, batches = killed_and_resumed(make_bags(10), ZEROS_5, config, monkeypatch, kills=5, noise_multiplier=1.5)
    assert trained.event == whole.event
    assert trained.event.steps == 9
    assert batches > 9  # some steps were lost and drawn anew


@pytest.mark.parametrize("options", [{}, {"hidden_size": 3}])
def test_a_resumed_training_walks_exactly_as_one_that_was_not_killed(
    options: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = one_step(steps=9, n_averaged=4, **options)
    twin = {"noise_multiplier": 0, "non_private": True}
    whole = train_listwise([make_bags(10)], ZEROS_5, config, **twin)
    trained, _ = killed_and_resumed(make_bags(10), ZEROS_5, config, monkeypatch, kills=5, **twin)
    assert np.array_equal(trained.weights, whole.weights)
    if whole.hidden is not None and trained.hidden is not None:
        assert np.array_equal(trained.hidden.weight, whole.hidden.weight)


def test_the_noise_of_a_resumed_training_is_that_of_all_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    bags, start, config = make_bags(3, n_features=1500), np.zeros((N_HEADS, 1500)), one_step(steps=6)
    bags.label[:] = False

    def residuals() -> np.ndarray:
        trained, _ = killed_and_resumed(bags, start, config, monkeypatch, kills=2, noise_multiplier=4.0)
        return trained.weights.ravel() / (np.sqrt(6) * 4.0 * 0.3 / 50)

    check_residuals(residuals)


def test_checkpoints_hold_noisy_iterates_alone() -> None:
    stored: list[bytes] = []
    config = one_step(steps=4, n_averaged=2, hidden_size=2)
    trained = train_listwise(
        [make_bags(10)], ZEROS_5, config, noise_multiplier=1.0, resumable=Resumable("a", stored.append)
    )
    assert len(stored) == 4
    names = {"linear.weight", "hidden.weight", "hidden.bias", "output.weight"}
    for content in stored:
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            assert set(found.files) == {"header"} | {f"{part}:{n}" for part in ("parameter", "mean") for n in names}
            header = found["header"].tobytes().decode()
        assert header.startswith('{"fingerprint": "') and '"history": [[1.0, 1.0, ' in header
        assert len(header) < 130  # a digest and three numbers: no room for a generator's state
    with np.load(io.BytesIO(stored[-1]), allow_pickle=False) as found:
        np.testing.assert_array_equal(found["mean:linear.weight"], trained.weights)


def test_a_finished_checkpoint_needs_no_more_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    stored: list[bytes] = []
    first = train_listwise(
        [make_bags(5)], ZEROS_5, one_step(steps=3), noise_multiplier=1.0, resumable=Resumable("a", stored.append)
    )
    monkeypatch.setattr(training, "_accumulate", None)
    again = train_listwise(
        [make_bags(5)], ZEROS_5, one_step(steps=3), noise_multiplier=1.0,
        resumable=Resumable("a", stored.append, saved=stored[-1]),
    )  # fmt: skip
    assert np.array_equal(first.weights, again.weights) and again.event == first.event


@pytest.mark.parametrize(
    "changed",
    [{"purpose": "b"}, {"steps": 4}, {"noise_multiplier": 1.1}, {"sample_rate": 0.5}, {"start": 1.0}],
)
def test_a_checkpoint_of_another_training_is_refused(changed: dict) -> None:
    stored: list[bytes] = []
    same = {"purpose": "a", "steps": 3, "noise_multiplier": 1.0, "sample_rate": 1.0, "start": 0.0}

    def train(settings: dict, saved: bytes | None) -> None:
        config = one_step(steps=settings["steps"], sample_rate=settings["sample_rate"])
        train_listwise(
            [make_bags(5)], ZEROS_5 + settings["start"], config, noise_multiplier=settings["noise_multiplier"],
            resumable=Resumable(settings["purpose"], stored.append, saved=saved),
        )  # fmt: skip

    train(same, None)
    train(same, stored[0])
    with pytest.raises(ValueError, match="belongs to another training"):
        train({**same, **changed}, stored[0])


@pytest.mark.parametrize("damage", [b"", b"garbage", "cut"])
def test_a_damaged_checkpoint_is_one_sentence(damage: bytes | str) -> None:
    good = Checkpoint({"w": np.ones(3)}, {"w": np.zeros(3)}, ((1.0, 1.0, 2),)).to_bytes("f")
    assert Checkpoint.from_bytes(good, "f").steps == 2
    content = good[:-30] if isinstance(damage, str) else damage
    with pytest.raises(ValueError, match="checkpoint cannot be read"):
        Checkpoint.from_bytes(content, "f")


def test_an_interval_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="every 0 steps"):
        Resumable("a", print, every=0)


def test_nothing_is_kept_of_a_step_whose_gradient_is_not_finite() -> None:
    stored: list[bytes] = []
    bags = make_bags(3, scale=1e30)
    with pytest.raises(FloatingPointError, match="not finite"):
        train_listwise(
            [bags], np.full((N_HEADS, 5), 1e30), one_step(), noise_multiplier=1.0,
            resumable=Resumable("a", stored.append),
        )  # fmt: skip
    assert stored == []
