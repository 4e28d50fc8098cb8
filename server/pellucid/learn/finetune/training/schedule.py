"""The schedule of a finetuning: batches, learning rates and evaluations, fixed before the start.

A resumed run takes the same steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from pellucid.learn.corpus import Document
from pellucid.learn.finetune.training.samples import Sample, SampleStream, random_for

EPOCHS = 3
"""Maximum passes over the dataset, without early stopping."""

LEARNING_RATE = 4e-4
WARM_UP_SHARE = 0.1
FINAL_RATE_SHARE = 0.1

BATCH = 4
"""Samples of a step. A repository has few samples, and small batches allow more steps."""

EVALUATIONS = 6

BUCKETS = 16
"""Number of steps with samples sorted by length together, to reduce padding."""


@dataclass(frozen=True, slots=True)
class FinetunePlan:
    """``key`` identifies the base, the documents and the options."""

    key: str
    steps: int
    seed: int

    @property
    def every(self) -> int:
        return max(1, math.ceil(self.steps / EVALUATIONS))

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step (from 0): a linear rise, then half a cosine."""
        rise = max(1, round(WARM_UP_SHARE * self.steps))
        if step < rise:
            return LEARNING_RATE * (step + 1) / rise
        share = (step - rise) / max(1, self.steps - rise)
        return LEARNING_RATE * (FINAL_RATE_SHARE + (1 - FINAL_RATE_SHARE) * (1 + math.cos(math.pi * share)) / 2)


def steps_of(sampler: SampleStream, documents: Sequence[Document], seed: int) -> Iterator[list[Sample]]:
    """Yield batches of similar lengths endlessly, in a new order each pass."""
    for number in count():
        samples = sampler.epoch(documents, seed, number)
        random = random_for(seed, number, "order")
        random.shuffle(samples)
        batches = []
        for begin in range(0, len(samples), BATCH * BUCKETS):
            bucket = sorted(samples[begin : begin + BATCH * BUCKETS], key=lambda sample: len(sample.ids))
            batches += [bucket[at : at + BATCH] for at in range(0, len(bucket), BATCH)]
        random.shuffle(batches)
        yield from batches
