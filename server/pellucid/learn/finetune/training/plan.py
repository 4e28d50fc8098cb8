"""What is going to be done: fixed before the first step, so that a run that was broken off goes on as it would have gone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from pellucid.learn.corpus import Document
from pellucid.learn.finetune.training.samples import Sample, SampleStream, random_for

EPOCHS = 3
"""Passes over the material at most; it is stopped before that where held-out files say so."""

LEARNING_RATE = 4e-4
WARM_UP = 0.1
"""Part of the steps in which the learning rate rises."""
FLOOR = 0.1
"""Part of the learning rate that is left at the end."""

BATCH = 4
"""Samples of a step: few, since a repository has few of them, and each step is a chance to learn from what the last one found."""

LOOKS = 6
"""How often the held-out files are looked at."""

BUCKETS = 4
"""Steps whose samples are sorted by length together, so that little is padded."""


@dataclass(frozen=True, slots=True)
class FinetunePlan:
    """How an adapter is trained. ``key`` tells this base, these documents and these wishes from others."""

    key: str
    steps: int
    seed: int

    @property
    def every(self) -> int:
        """Steps from one look at the held-out files to the next."""
        return max(1, math.ceil(self.steps / LOOKS))

    def learning_rate(self, step: int) -> float:
        """Of a step, from 0 on: a linear rise, then down along half a cosine."""
        rise = max(1, round(WARM_UP * self.steps))
        if step < rise:
            return LEARNING_RATE * (step + 1) / rise
        share = (step - rise) / max(1, self.steps - rise)
        return LEARNING_RATE * (FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * share)) / 2)


def steps_of(sampler: SampleStream, documents: Sequence[Document], seed: int) -> Iterator[list[Sample]]:
    """The samples of each step, for ever: pass after pass, in another order each, those of a step of about the same length."""
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
