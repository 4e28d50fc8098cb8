"""The plan of a training, fixed before the first step, so that a resumed run continues exactly as it would have."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from pellucid.learn.corpus import Document
from pellucid.learn.finetune.training.samples import Sample, SampleStream, random_for

EPOCHS = 3
"""Most passes over the dataset. Held-out files may stop training earlier."""

LEARNING_RATE = 4e-4
WARM_UP_SHARE = 0.1
"""Share of the steps in which the learning rate rises."""
FINAL_RATE_SHARE = 0.1
"""Share of the peak learning rate that remains at the end."""

BATCH = 4
"""Samples of a step. A repository has few samples, and small batches allow more steps."""

EVALUATIONS = 6
"""Number of evaluations on held-out files during training."""

BUCKETS = 4
"""Steps whose samples are sorted by length together, to reduce padding."""


@dataclass(frozen=True, slots=True)
class FinetunePlan:
    """The plan of a training. ``key`` identifies the base, the documents and the options."""

    key: str
    steps: int
    seed: int

    @property
    def every(self) -> int:
        """Steps between two evaluations on held-out files."""
        return max(1, math.ceil(self.steps / EVALUATIONS))

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step, from 0 on: a linear rise, then half a cosine."""
        rise = max(1, round(WARM_UP_SHARE * self.steps))
        if step < rise:
            return LEARNING_RATE * (step + 1) / rise
        share = (step - rise) / max(1, self.steps - rise)
        return LEARNING_RATE * (FINAL_RATE_SHARE + (1 - FINAL_RATE_SHARE) * (1 + math.cos(math.pi * share)) / 2)


def steps_of(sampler: SampleStream, documents: Sequence[Document], seed: int) -> Iterator[list[Sample]]:
    """Yield the samples of each step endlessly, pass after pass in different orders.

    The samples of a step have similar lengths.
    """
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
