"""Tests of training: the right tokens, a lower loss, and exact resumption."""

from __future__ import annotations

import errno
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor

from pellucid.errors import InvalidRequestError, ModelError
from pellucid.learn import checkpoint_file
from pellucid.learn.train import checkpoint, gpt_trainer
from pellucid.learn.train.batches import Stream, validation_windows
from pellucid.learn.train.checkpoint import LossPoint, Progression
from pellucid.learn.train.gpt_model import GPTShape
from pellucid.learn.train.gpt_trainer import GPTTrainer, Recipe, StepListener, TrainingData
from pellucid.learn.train.schedule import Schedule, SchedulePhase
from support.learn.training_texts import text_of

pytestmark = pytest.mark.slow

SHAPE = GPTShape(layers=1, hidden=32, heads=1, intermediate=48, context=32, dropout=0.1)
RECIPE = Recipe(batch=8, peak=1e-2, warm_up=5)
MARKER = 256


def tokens(size: int, seed: int) -> Tensor:
    return torch.tensor([MARKER, *text_of(size, seed).encode()])


def trainer(seed: int = 3, validation: Tensor | None = None) -> GPTTrainer:
    windows = validation_windows(tokens(300, 2) if validation is None else validation, SHAPE.context)
    data = TrainingData(Stream(tokens(6000, 1), SHAPE.context, MARKER, seed), windows, 1.0, 1.0, 257)
    return GPTTrainer(SHAPE, RECIPE, data, seed, torch.device("cpu"))


class NoListener:
    def stepped(self, progression: Progression, bits_per_byte: float, tokens_per_second: float) -> None:
        assert tokens_per_second > 0


def train(
    learner: GPTTrainer, schedule: Schedule | int, path: Path, listener: StepListener | None = None
) -> list[Schedule]:
    """Train a model, and return the schedules that were settled."""
    found: list[Schedule] = []
    learner.train(
        Schedule.of_steps(schedule) if isinstance(schedule, int) else schedule,
        path,
        listener or NoListener(),
        found.append,
    )
    return found


class Killed(BaseException):
    pass


class Killer:
    """Ends training after a step, like a signal."""

    def __init__(self, at: int) -> None:
        self.at = at

    def stepped(self, progression: Progression, bits_per_byte: float, tokens_per_second: float) -> None:
        if progression.step == self.at:
            raise Killed


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread, which is faster for such small matrices."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class TestBatches:
    STREAM = Stream(torch.arange(1000), 10, MARKER, seed=1)

    def test_a_pass_reads_everything_once(self) -> None:
        """A pass has all windows once, in its own order; the next pass is cut elsewhere."""
        count = self.STREAM.windows
        first, second = (
            torch.cat([self.STREAM.batch(turn * count + number, 1) for number in range(count)])[:, 1:]
            .flatten()
            .tolist()
            for turn in (0, 1)
        )
        assert len(set(first)) == len(first) == count * 10
        assert first != sorted(first)
        assert set(first) != set(second)

    def test_step_and_seed_say_what_is_read(self) -> None:
        """A batch is a function of step and seed alone, and windows are runs of the text."""
        batch = self.STREAM.batch(37, 4)
        self.STREAM.batch(1, 4)
        assert torch.equal(batch, self.STREAM.batch(37, 4))
        assert not torch.equal(batch, self.STREAM.batch(38, 4))
        assert not torch.equal(batch, replace(self.STREAM, seed=2).batch(37, 4))
        assert batch.shape == (4, 11)
        assert (batch[:, 2:] - batch[:, 1:-1] == 1).all()

    def test_some_windows_begin_with_the_marker(self) -> None:
        """A window in eight starts with the marker."""
        first = torch.cat([self.STREAM.batch(step, 4)[:, 0] for step in range(16)])
        assert int((first == MARKER).sum()) == 8

    def test_too_few_tokens(self) -> None:
        """A text shorter than two windows is rejected."""
        with pytest.raises(InvalidRequestError, match="There are 20 tokens to train on, too few for windows of 10"):
            Stream(torch.arange(20), 10, MARKER, seed=1)

    def test_validation_windows(self) -> None:
        """Validation windows predict each token once, or a sample of a long part."""
        windows = validation_windows(torch.arange(101), 10)
        assert windows[:, 1:].flatten().tolist() == list(range(1, 101))
        many = validation_windows(torch.arange(10**6), 10)
        assert len(many) < 3000
        assert many[-1, -1] > 999_000
        assert validation_windows(torch.arange(5), 10).tolist() == [[0, 1, 2, 3, 4]]


def test_it_learns(tmp_path: Path) -> None:
    """Validation is far better than byte frequencies, and the best weights are kept."""
    learner = trainer()
    train(learner, 80, tmp_path / "checkpoint")

    progression = learner.progression
    assert progression.step == 80
    assert progression.best < 3
    learner.model.load_state_dict(learner.best)
    assert learner.validate() == progression.best == min(point.validation for point in progression.points)
    assert [point.step for point in progression.points if point.validation == progression.best] == [
        progression.best_step
    ]


@pytest.mark.parametrize(
    ("schedule", "killed"),
    [
        (Schedule.of_steps(24), (1, 23)),
        (Schedule((SchedulePhase(0, 40), SchedulePhase(6, 20), SchedulePhase(15, 24))), (7, 15)),
    ],
)
def test_resuming_changes_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: Schedule, killed: tuple[int, int]
) -> None:
    """Training interrupted anywhere and resumed equals a whole run in weights and curves."""
    whole = trainer()
    train(whole, schedule, tmp_path / "whole")

    monkeypatch.setattr(gpt_trainer, "CHECKPOINT_SECONDS", 0.0)
    for killed_at in killed:
        path = tmp_path / f"checkpoint {killed_at}"
        with pytest.raises(Killed):
            train(trainer(), schedule, path, Killer(killed_at))
        torch.manual_seed(99)
        second = trainer()
        assert second.restore(path) == (killed_at > 1)
        assert second.progression.step == killed_at - 1
        assert not train(second, schedule, path)

        assert second.progression.points == whole.progression.points
        for theirs, ours in ((whole.best, second.best), (whole.model.state_dict(), second.model.state_dict())):
            assert all(torch.equal(theirs[name], ours[name]) for name in theirs)


def test_steps_follow_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that take twice the measured time are halved, and each number is settled first."""
    monkeypatch.setattr(gpt_trainer, "CHECKPOINT_SECONDS", math.inf)
    monkeypatch.setattr(gpt_trainer, "time", Clock(2.0))
    learner = trainer()
    settled = train(learner, Schedule.of_seconds(100.0, 1.0), tmp_path / "checkpoint")
    marks = [one.stretches[-1] for one in settled]
    assert [(mark.step, mark.seconds) for mark in marks] == [(step, 2.0 * step) for step in (10, 20, 30, 38, 43, 47)]
    assert {mark.steps for mark in marks} == {50}
    assert learner.progression.step == learner.progression.points[-1].step == 50
    assert 20 <= len(learner.progression.points) <= gpt_trainer.VALIDATIONS


class Clock:
    """A clock that advances ``each`` seconds at every reading."""

    def __init__(self, each: float) -> None:
        self.now = 0.0
        self.each = each

    def perf_counter(self) -> float:
        self.now += self.each
        return self.now


def test_it_ends_where_it_gets_no_better(tmp_path: Path) -> None:
    """Training stops early if only the training part improves, and keeps the best weights."""
    noise = torch.randint(256, (300,), generator=torch.Generator().manual_seed(1))
    learner = trainer(validation=noise)
    train(learner, 320, tmp_path / "checkpoint")
    assert learner.progression.waited == gpt_trainer.PATIENCE
    assert learner.progression.step < 320
    assert learner.progression.best_step < learner.progression.step


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left"), SafetensorError("No space left on device (os error 28)")]
)
def test_a_full_disk_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A full disk is one sentence, and the previous checkpoint is intact."""
    learner, path = trainer(), tmp_path / "checkpoint"
    learner.step(0, Schedule.of_steps(2))
    learner.save(path)
    before = path.read_bytes()

    def fail(tensors: object, target: Path, metadata: object) -> None:
        target.write_bytes(b"half a file")
        raise error

    monkeypatch.setattr(checkpoint_file, "save_file", fail)
    with pytest.raises(ModelError, match=r"The disk of .* is full: free some space"):
        learner.save(path)

    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint"]


def test_a_damaged_checkpoint(tmp_path: Path) -> None:
    """A damaged or foreign checkpoint is reported with a remedy, unlike a missing checkpoint."""
    path = tmp_path / "checkpoint"
    assert not trainer().restore(path)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(ModelError, match=r"is damaged .*: delete it to start training over"):
        trainer().restore(path)
    checkpoint.write(path, Progression(), {"model.norm": torch.ones(3)})
    with pytest.raises(ModelError, match="is of another model"):
        trainer().restore(path)


def test_a_checkpoint_holds_what_was_found(tmp_path: Path) -> None:
    """Every figure survives a checkpoint."""
    progression = Progression(7, 5, [LossPoint(5, 2.5, 1 / 3)], nats=0.1, counted=2, seconds=12.5, joules=3.0)
    checkpoint.write(tmp_path / "c", progression, {"a": torch.arange(3.0)})
    found = checkpoint.read(tmp_path / "c")
    assert found is not None
    assert found[0] == progression
    assert found[1]["a"].tolist() == [0, 1, 2]
    assert (progression.best, progression.waited) == (1 / 3, 0)
    assert Progression().best == math.inf


def test_measuring() -> None:
    """A measured step takes a positive time."""
    assert gpt_trainer.measure(trainer(), 0.0) > 0
