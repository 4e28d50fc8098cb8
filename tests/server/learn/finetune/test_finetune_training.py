"""Tests of training: a lower loss, an early stop, and exact resumption."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pellucid.errors import ModelError
from pellucid.learn.corpus import Document
from pellucid.learn.finetune.training import trainer as trainer_file
from pellucid.learn.finetune.training.base_model import Base
from pellucid.learn.finetune.training.checkpoint import FILE, read_state
from pellucid.learn.finetune.training.samples import Sample, SampleStream
from pellucid.learn.finetune.training.schedule import BATCH, LEARNING_RATE, FinetunePlan, steps_of
from pellucid.learn.finetune.training.trainable_adapter import TrainableAdapter
from pellucid.learn.finetune.training.trainer import PATIENCE, AdapterTrainer
from pellucid.system.progress import Silent

PLAN = FinetunePlan("key", steps=8, seed=3)
RANK = 4


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """Limit the file size of this process, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


class BrokenOffError(Exception):
    pass


class BreaksOff(Silent):
    """A progress that interrupts training after some steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def advance(self, count: int) -> None:
        self.left -= count
        if self.left == 0:
            raise BrokenOffError


@pytest.fixture
def saving_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_file, "SAVED_EVERY_SECONDS", 0.0)


def trainer_of(
    base: Base, sampler: SampleStream, folder: Path, plan: FinetunePlan = PLAN, progress: Silent | None = None
) -> AdapterTrainer:
    return AdapterTrainer(TrainableAdapter(base, RANK, plan.seed), sampler, plan, folder, progress or Silent())


@pytest.mark.slow
def test_it_learns(base: Base, sampler: SampleStream, documents: list[Document], tmp_path: Path) -> None:
    """The held-out loss falls, the base alone is unchanged, and the best weights are kept."""
    trainer = trainer_of(base, sampler, tmp_path, replace(PLAN, steps=24))

    outcome = trainer.train(documents[:14], documents[14:16])

    assert outcome.steps == 24
    assert outcome.best.step > 0
    assert outcome.best.loss < outcome.losses[0].loss - 0.02
    assert trainer._held_out_loss(trainer.validation(documents[14:16])) == pytest.approx(outcome.best.loss, abs=1e-5)
    with trainer._adapter.off():
        assert trainer._held_out_loss(trainer.validation(documents[14:16])) == pytest.approx(
            outcome.losses[0].loss, abs=1e-5
        )


@pytest.mark.usefixtures("saving_always")
def test_an_interrupted_run_resumes(
    new_base: Callable[[], Base], sampler: SampleStream, documents: list[Document], tmp_path: Path
) -> None:
    """Three steps, a kill and the remaining steps equal eight steps in weights and losses."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    with pytest.raises(BrokenOffError):
        trainer_of(new_base(), sampler, broken, progress=BreaksOff(3)).train(documents[:14], documents[14:16])
    state = read_state(broken)
    assert state is not None
    assert (state.step, state.plan) == (3, PLAN)

    going_on = trainer_of(new_base(), sampler, broken)
    found = going_on.train(documents[:14], documents[14:16], state)
    expected_trainer = trainer_of(new_base(), sampler, whole)
    expected = expected_trainer.train(documents[:14], documents[14:16])

    assert found.losses == expected.losses
    for (_, one), (_, other) in zip(
        going_on._adapter.weights().items(), expected_trainer._adapter.weights().items(), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.usefixtures("saving_always")
def test_a_full_disk_keeps_the_last_checkpoint(
    new_base: Callable[[], Base], sampler: SampleStream, documents: list[Document], tmp_path: Path
) -> None:
    """Training on a full disk ends with one sentence, and the previous checkpoint is usable."""
    with pytest.raises(BrokenOffError):
        trainer_of(new_base(), sampler, tmp_path, progress=BreaksOff(2)).train(documents[:14], documents[14:16])
    state = read_state(tmp_path)
    assert state is not None
    size = (tmp_path / FILE).stat().st_size

    with small_files(size // 2), pytest.raises(ModelError, match=r"cannot be written to \(File too large\)"):
        trainer_of(new_base(), sampler, tmp_path).train(documents[:14], documents[14:16], state)

    again = read_state(tmp_path)
    assert again is not None
    assert again.step == 2
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_it_stops_where_nothing_gets_better(
    base: Base, sampler: SampleStream, documents: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training stops after three losses without improvement, with the best adapter."""
    losses = iter([5.0, 4.0, 4.2, 4.1, 4.3, 1.0])
    monkeypatch.setattr(AdapterTrainer, "_held_out_loss", lambda self, samples: next(losses))
    # An evaluation is made at each step.
    trainer = trainer_of(base, sampler, tmp_path, replace(PLAN, steps=6))
    # Two copies at first, then a copy at each best evaluation and at each save.
    kept: list[dict[str, torch.Tensor]] = []
    plain = TrainableAdapter.weights

    def weights(self: TrainableAdapter) -> dict[str, torch.Tensor]:
        kept.append(plain(self))
        return kept[-1]

    monkeypatch.setattr(TrainableAdapter, "weights", weights)

    outcome = trainer.train(documents[:14], documents[14:16])

    assert outcome.steps == 1 + PATIENCE
    assert outcome.best.step == 1
    assert all(torch.equal(kept[2][name], parameter) for name, parameter in trainer._adapter.parameters.items())


def test_a_damaged_checkpoint_is_ignored(tmp_path: Path) -> None:
    """A truncated or foreign file counts as no checkpoint."""
    assert read_state(tmp_path) is None
    (tmp_path / FILE).write_bytes(b"\x08\0\0\0\0\0\0\0{}")

    assert read_state(tmp_path) is None


def test_the_pace_is_that_of_steps_alone(
    base: Base, sampler: SampleStream, documents: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time to make samples is not part of the pace of steps and evaluations."""
    clock = 0.0

    def taking(seconds: float, work: Callable[..., Any]) -> Callable[..., Any]:
        def work_and_wait(*words: Any) -> Any:
            nonlocal clock
            clock += seconds
            return work(*words)

        return work_and_wait

    monkeypatch.setattr(trainer_file, "time", SimpleNamespace(perf_counter=lambda: clock))
    monkeypatch.setattr(SampleStream, "epoch", taking(1000, SampleStream.epoch))
    monkeypatch.setattr(SampleStream, "infilling", taking(100, SampleStream.infilling))
    monkeypatch.setattr(AdapterTrainer, "step", taking(3, AdapterTrainer.step))
    monkeypatch.setattr(AdapterTrainer, "_held_out_loss", taking(7, AdapterTrainer._held_out_loss))

    assert trainer_of(base, sampler, tmp_path).pace(documents[:14], documents[14:16]) == (3, 7)


def test_learning_rate_rises_and_falls() -> None:
    """The learning rate peaks after a tenth of the steps, and ends at a tenth of the peak."""
    plan = replace(PLAN, steps=100)
    rates = [plan.learning_rate(step) for step in range(100)]

    assert rates.index(max(rates)) in (9, 10)
    assert max(rates) == pytest.approx(LEARNING_RATE)
    assert rates[0] == pytest.approx(LEARNING_RATE / 10)
    assert rates[-1] == pytest.approx(LEARNING_RATE / 10, rel=0.02)


def test_steps_take_every_sample_of_a_pass(sampler: SampleStream, documents: list[Document]) -> None:
    """The first steps have all samples of the first pass, in an order of the seed alone."""
    documents = documents[:6]
    epoch = sampler.epoch(documents, 5, 0)
    stream = steps_of(sampler, documents, 5)
    first: list[Sample] = []
    while len(first) < len(epoch):
        first += next(stream)

    assert sorted(sample.ids for sample in first) == sorted(sample.ids for sample in epoch)
    assert next(steps_of(sampler, documents, 5)) == first[:BATCH]
    assert next(steps_of(sampler, documents, 6)) != first[:BATCH]
