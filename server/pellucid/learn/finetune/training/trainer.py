"""Trains an adapter, and keeps the best weights on held-out files."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from pellucid.learn.corpus import Document
from pellucid.learn.finetune.training.checkpoint import HeldOutLoss, TrainingState
from pellucid.learn.finetune.training.cursors import SourcePage
from pellucid.learn.finetune.training.loss import batch_loss, label_weights
from pellucid.learn.finetune.training.samples import Sample, SampleStream, random_for
from pellucid.learn.finetune.training.schedule import FinetunePlan, steps_of
from pellucid.learn.finetune.training.trainable_adapter import TrainableAdapter
from pellucid.system.progress import Progress

PATIENCE = 3
"""Evaluations without improvement after which training stops."""

MAX_GRADIENT_NORM = 1.0

BATCH_TOKENS = {"cpu": 2048, "cuda": 16384}
"""Maximum tokens of a batch, including padding, by device."""

SAVED_EVERY_SECONDS = 20.0

VALIDATION_CURSORS, VALIDATION_TEXTS = 20, 4
VALIDATION_WINDOW = 256


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    steps: int
    seconds: float
    losses: tuple[HeldOutLoss, ...]

    @property
    def best(self) -> HeldOutLoss:
        return min(self.losses, key=lambda evaluation: evaluation.loss)


class AdapterTrainer:
    def __init__(
        self, adapter: TrainableAdapter, sampler: SampleStream, plan: FinetunePlan, folder: Path, progress: Progress
    ) -> None:
        self._adapter = adapter
        self._sampler = sampler
        self._plan = plan
        self._folder = folder
        self._progress = progress
        self._together = BATCH_TOKENS[next(iter(adapter.parameters.values())).device.type]

    def train(
        self, train: Sequence[Document], validation: Sequence[Document], state: TrainingState | None = None
    ) -> TrainingOutcome:
        """Train to the end of the plan, or until held-out files stop improving.

        The best weights are kept. Raises ModelError if a checkpoint cannot be written; the previous
        checkpoint is kept.
        """
        names = list(self._adapter.parameters)
        optimizer = torch.optim.AdamW(self._adapter.parameters.values(), lr=0.0, weight_decay=0.0)
        held_out = self.validation(validation)
        if state is None:
            first = HeldOutLoss(0, self._held_out_loss(held_out))
            state = TrainingState(self._plan, 0, 0.0, self._adapter.weights(), self._adapter.weights(), {}, (first,))
        else:
            self._adapter.put(state.weights)
            _restore(optimizer, names, state)
        state = self._go_on(state, optimizer, train, held_out)
        self._adapter.put(state.best)
        return TrainingOutcome(state.step, state.seconds, state.losses)

    def _go_on(
        self,
        state: TrainingState,
        optimizer: torch.optim.Optimizer,
        train: Sequence[Document],
        held_out: Sequence[Sample],
    ) -> TrainingState:
        plan, adapter = self._plan, self._adapter
        names = list(adapter.parameters)
        losses, best = list(state.losses), state.best
        step, seconds, saved = state.step, state.seconds, state.seconds
        self._progress.start("training", plan.steps)
        self._progress.advance(step)
        for samples in islice(steps_of(self._sampler, train, plan.seed), step, plan.steps):
            best_at = min(range(len(losses)), key=lambda at: losses[at].loss)
            if len(losses) - 1 - best_at >= PATIENCE:  # No better loss since.
                break
            start = time.perf_counter()
            self._descend(optimizer, samples, plan.learning_rate(step))
            step += 1
            looked = step % plan.every == 0 or step == plan.steps
            if looked:
                losses.append(HeldOutLoss(step, self._held_out_loss(held_out)))
                if losses[-1].loss <= min(evaluation.loss for evaluation in losses):
                    best = adapter.weights()
                self._progress.note(
                    f"After {step} steps, held-out files have a loss of {losses[-1].loss:.4f} nats per token, "
                    f"{losses[0].loss:.4f} before."
                )
            seconds += time.perf_counter() - start
            # The last step ends with an evaluation, so the last state is saved, too.
            if looked or seconds - saved >= SAVED_EVERY_SECONDS:
                state = TrainingState(
                    plan, step, seconds, adapter.weights(), best, _moments(optimizer, names), tuple(losses)
                )
                state.save(self._folder)
                saved = seconds
            self._progress.advance(1)
        return state

    def _descend(self, optimizer: torch.optim.Optimizer, samples: Sequence[Sample], rate: float) -> None:
        self.step(samples)
        torch.nn.utils.clip_grad_norm_(self._adapter.parameters.values(), MAX_GRADIENT_NORM)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()

    def pace(self, train: Sequence[Document], validation: Sequence[Document]) -> tuple[float, float]:
        """Return the mean seconds of two steps, and of an evaluation. Weights do not change."""
        # The first batch tokenizes every document.
        batches = list(islice(steps_of(self._sampler, train, self._plan.seed), 2))
        held_out = self.validation(validation)
        self._progress.start("measuring", 3)
        start = time.perf_counter()
        for samples in batches:
            self.step(samples)
            self._progress.advance(1)
        between = time.perf_counter()
        for parameter in self._adapter.parameters.values():
            parameter.grad = None
        self._held_out_loss(held_out)
        return (between - start) / 2, time.perf_counter() - between

    def step(self, samples: Sequence[Sample]) -> float:
        """Add the gradient of a step's samples. Return the mean loss in nats per label."""
        weights = label_weights(samples)
        total = 0.0
        for part in self._parts(samples):
            loss, _ = batch_loss(self._adapter.model, [samples[at] for at in part], [weights[at] for at in part])
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total

    def validation(self, documents: Sequence[Document]) -> list[Sample]:
        """Return the samples of every evaluation: cursors or, without markers, text pieces."""
        sampler = self._sampler
        samples: list[Sample] = []
        for document in documents:
            random = random_for(self._plan.seed, "validation", document.name)
            if sampler.infill is None:
                texts = [sample for sample, _ in sampler.texts(document)]
                samples += random.sample(texts, min(len(texts), -(-VALIDATION_TEXTS // len(documents))))
                continue
            page = SourcePage(document.name, document.text)
            for _ in range(-(-VALIDATION_CURSORS // len(documents))):
                span = page.choose(random, 0, len(document.text))
                cursor = (
                    sampler.infilling(document.text, span, min(VALIDATION_WINDOW, sampler.context))
                    if span is not None
                    else None
                )
                if cursor is not None:
                    samples.append(cursor)
        return samples

    @torch.no_grad()
    def _held_out_loss(self, samples: Sequence[Sample]) -> float:
        total = 0.0
        for part in self._parts(samples):
            chosen = [samples[at] for at in part]
            total += sum(batch_loss(self._adapter.model, chosen, [0.0] * len(chosen))[1])
        return total / sum(sample.labels for sample in samples)

    def _parts(self, samples: Sequence[Sample]) -> Iterator[list[int]]:
        part: list[int] = []
        for at in sorted(range(len(samples)), key=lambda number: len(samples[number].ids)):
            if part and (len(part) + 1) * len(samples[at].ids) > self._together:
                yield part
                part = []
            part.append(at)
        yield part


def _moments(optimizer: torch.optim.Optimizer, names: Sequence[str]) -> dict[str, tuple[Tensor, Tensor]]:
    states = optimizer.state_dict()["state"]
    return {
        name: (states[at]["exp_avg"].cpu().clone(), states[at]["exp_avg_sq"].cpu().clone())
        for at, name in enumerate(names)
    }


def _restore(optimizer: torch.optim.Optimizer, names: Sequence[str], state: TrainingState) -> None:
    if not state.step:
        return
    restored = optimizer.state_dict()
    for at, name in enumerate(names):
        first, second = state.moments[name]
        restored["state"][at] = {"step": torch.tensor(float(state.step)), "exp_avg": first, "exp_avg_sq": second}
    optimizer.load_state_dict(restored)
