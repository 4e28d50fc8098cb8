"""The training of an adapter: steps of gradient descent, looks at held-out files, the best weights kept."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from pellucid.learn.corpus import Document
from pellucid.learn.finetune.training.checkpoint import Look, TrainingState
from pellucid.learn.finetune.training.cursors import SourcePage
from pellucid.learn.finetune.training.lora import TrainableAdapter
from pellucid.learn.finetune.training.loss import batch_loss, label_weights
from pellucid.learn.finetune.training.plan import FinetunePlan, steps_of
from pellucid.learn.finetune.training.samples import Sample, SampleStream, random_for
from pellucid.system.progress import Progress

PATIENCE = 3
"""Looks in a row without anything better, after which it is stopped."""

STEEPEST = 1.0
"""Norm of the gradient beyond which it is made shorter."""

TOGETHER = {"cpu": 2048, "cuda": 16384}
"""Tokens, padding included, that are computed at the same time, by device."""

SAVED_EVERY = 20.0
"""Seconds of work that are lost at most, but for the step in hand."""

VALIDATION_CURSORS, VALIDATION_TEXTS = 20, 4
VALIDATION_WINDOW = 256


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """What training came to: ``looks`` at the held-out files, and which of them was best."""

    steps: int
    seconds: float
    looks: tuple[Look, ...]

    @property
    def best(self) -> Look:
        """The look whose weights were kept."""
        return min(self.looks, key=lambda look: look.loss)


class AdapterTrainer:
    """Trains an adapter after a plan, from where an earlier run has got to. What it comes to lies in ``folder``."""

    def __init__(self, adapter: TrainableAdapter, sampler: SampleStream, plan: FinetunePlan, folder: Path, progress: Progress) -> None:
        self._adapter = adapter
        self._sampler = sampler
        self._plan = plan
        self._folder = folder
        self._progress = progress
        self._together = TOGETHER[next(iter(adapter.parameters.values())).device.type]

    def train(self, train: Sequence[Document], validation: Sequence[Document], standing: TrainingState | None = None) -> TrainingOutcome:
        """Train to the end of the plan, or until held-out files say that it gets no better. The best weights are in the adapter then.

        Raises ModelError where what it has come to cannot be written: what was written before is kept.
        """
        names = list(self._adapter.parameters)
        optimizer = torch.optim.AdamW(self._adapter.parameters.values(), lr=0.0, weight_decay=0.0)
        held_out = self.validation(validation)
        if standing is None:
            first = Look(0, self._look(held_out))
            standing = TrainingState(self._plan, 0, 0.0, self._adapter.weights(), self._adapter.weights(), {}, (first,))
        else:
            self._adapter.put(standing.weights)
            _restore(optimizer, names, standing)
        standing = self._go_on(standing, optimizer, train, held_out)
        self._adapter.put(standing.best)
        return TrainingOutcome(standing.step, standing.seconds, standing.looks)

    def _go_on(
        self, standing: TrainingState, optimizer: torch.optim.Optimizer, train: Sequence[Document], held_out: Sequence[Sample]
    ) -> TrainingState:
        plan, adapter = self._plan, self._adapter
        names = list(adapter.parameters)
        looks, best = list(standing.looks), standing.best
        step, seconds, saved = standing.step, standing.seconds, standing.seconds
        self._progress.start("training", plan.steps)
        self._progress.advance(step)
        for samples in islice(steps_of(self._sampler, train, plan.seed), step, plan.steps):
            if _is_done(looks):
                break
            start = time.perf_counter()
            self._descend(optimizer, samples, plan.learning_rate(step))
            step += 1
            looked = step % plan.every == 0 or step == plan.steps
            if looked:
                looks.append(Look(step, self._look(held_out)))
                if looks[-1].loss <= min(look.loss for look in looks):
                    best = adapter.weights()
                self._progress.note(
                    f"After {step} steps held-out files take {looks[-1].loss:.4f} nats a token; {looks[0].loss:.4f} at first."
                )
            seconds += time.perf_counter() - start
            if looked or seconds - saved >= SAVED_EVERY:  # the last step too, after which there is a look
                standing = TrainingState(plan, step, seconds, adapter.weights(), best, _moments(optimizer, names), tuple(looks))
                standing.save(self._folder)
                saved = seconds
            self._progress.advance(1)
        return standing

    def _descend(self, optimizer: torch.optim.Optimizer, samples: Sequence[Sample], rate: float) -> None:
        """Take one step."""
        self.step(samples)
        torch.nn.utils.clip_grad_norm_(self._adapter.parameters.values(), STEEPEST)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()

    def pace(self, train: Sequence[Document], validation: Sequence[Document]) -> tuple[float, float]:
        """Seconds of a step, the mean of the first two, and of a look at held-out files. Nothing is learnt from them."""
        batches = list(islice(steps_of(self._sampler, train, self._plan.seed), 2))  # the first needs every document's tokens
        held_out = self.validation(validation)
        self._progress.start("measuring", 3)
        start = time.perf_counter()
        for samples in batches:
            self.step(samples)
            self._progress.advance(1)
        between = time.perf_counter()
        for parameter in self._adapter.parameters.values():
            parameter.grad = None
        self._look(held_out)
        return (between - start) / 2, time.perf_counter() - between

    def step(self, samples: Sequence[Sample]) -> float:
        """Add the gradient of a step's samples, and give their mean loss, in nats a label with each kind's own weight."""
        weights = label_weights(samples)
        total = 0.0
        for part in self._parts(samples):
            loss, _ = batch_loss(self._adapter.model, [samples[at] for at in part], [weights[at] for at in part])
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total

    def validation(self, documents: Sequence[Document]) -> list[Sample]:
        """What the held-out files are looked at by: cursors, or pieces of text for a model without markers. The same each time."""
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
                cursor = sampler.infilling(document.text, span, min(VALIDATION_WINDOW, sampler.context)) if span is not None else None
                if cursor is not None:
                    samples.append(cursor)
        return samples

    @torch.no_grad()
    def _look(self, samples: Sequence[Sample]) -> float:
        """Nats a label over all samples."""
        total = 0.0
        for part in self._parts(samples):
            chosen = [samples[at] for at in part]
            total += sum(batch_loss(self._adapter.model, chosen, [0.0] * len(chosen))[1])
        return total / sum(sample.labels for sample in samples)

    def _parts(self, samples: Sequence[Sample]) -> Iterator[list[int]]:
        """The numbers of the samples that are computed at the same time, those of about the same length."""
        part: list[int] = []
        for at in sorted(range(len(samples)), key=lambda number: len(samples[number].ids)):
            if part and (len(part) + 1) * len(samples[at].ids) > self._together:
                yield part
                part = []
            part.append(at)
        yield part


def _is_done(looks: Sequence[Look]) -> bool:
    """Whether the last looks, ``PATIENCE`` of them, were all worse than one before."""
    best = min(range(len(looks)), key=lambda at: looks[at].loss)
    return len(looks) - 1 - best >= PATIENCE


def _moments(optimizer: torch.optim.Optimizer, names: Sequence[str]) -> dict[str, tuple[Tensor, Tensor]]:
    states = optimizer.state_dict()["state"]
    return {name: (states[at]["exp_avg"].cpu().clone(), states[at]["exp_avg_sq"].cpu().clone()) for at, name in enumerate(names)}


def _restore(optimizer: torch.optim.Optimizer, names: Sequence[str], standing: TrainingState) -> None:
    """Put AdamW where it was after the standing's steps."""
    if not standing.step:
        return
    state = optimizer.state_dict()
    for at, name in enumerate(names):
        first, second = standing.moments[name]
        state["state"][at] = {"step": torch.tensor(float(standing.step)), "exp_avg": first, "exp_avg_sq": second}
    optimizer.load_state_dict(state)
