"""Training the logistic regression: stochastic gradient descent over hashed runs of bytes, piece by piece (scikit-learn)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]  # it has no types
from sklearn.linear_model import SGDClassifier
from torch import Tensor

from pellucid.engine.history import BYTES, histories
from pellucid.engine.logistic import LogisticModel, LogisticWeights, buckets
from pellucid.learn.train.bits import Bytes
from pellucid.models.progress import Progress

PIECE = 32_768
"""Places of a text that are learnt from at a time."""


@dataclass(frozen=True, slots=True)
class LogisticPlan:
    """``reach`` bytes are looked back, and hashes have ``bits`` bits. The texts are gone through ``passes`` times, up to ``most`` places.

    ``rate`` is the step of gradient descent, whose last four fifths the weights are the mean of; ``alpha`` is how strongly weights
    are drawn to zero (L2).
    """

    reach: int = 6
    bits: int = 16
    passes: int = 2
    most: int = 2_500_000
    rate: float = 0.2
    alpha: float = 1e-8


@dataclass(frozen=True, slots=True)
class Fitted:
    """The regression, and how many places it has learnt from."""

    model: LogisticModel
    seen: int

    @property
    def parameters(self) -> int:
        """Weights and biases of the bytes that were seen."""
        weights = self.model.weights
        return (len(weights.weight) - 1) * len(weights.classes) + len(weights.classes)

    @property
    def multiplications(self) -> int:
        """Weights that one place is multiplied by: those of its features, for each byte."""
        return (self.model.reach + 1) * len(self.model.weights.classes)


def fit(train: Sequence[Bytes], plan: LogisticPlan, seed: int, progress: Progress) -> Fitted:
    """Learn the texts' bytes from those before them.

    Only bytes that are there get a classifier; every other one gets the score of half an occurrence.
    """
    data = [torch.from_numpy(text) for text in train]
    places = sum(map(len, data))
    wanted = min(plan.most, plan.passes * places)
    classes = np.unique(np.concatenate(list(train)))
    classifier = SGDClassifier(
        loss="log_loss",
        alpha=plan.alpha,
        learning_rate="constant",
        eta0=plan.rate,
        average=max(wanted // 5, 1),
        n_jobs=os.cpu_count(),
        random_state=seed,
    )
    seen = 0
    progress.start("training the logistic regression", wanted)
    for text, first in _pieces(data, seed):
        if seen >= wanted:
            break
        rows, targets = _examples(text, first, plan)
        classifier.partial_fit(rows, targets, classes)
        seen += len(targets)
        progress.advance(len(targets))
    return Fitted(LogisticModel(_weights(classifier, classes, places), plan.reach, torch.device("cpu")), seen)


def _pieces(data: Sequence[Tensor], seed: int) -> Iterator[tuple[Tensor, int]]:
    """Texts and where in them a piece begins, over and over, each time in another order."""
    pieces = [(text, first) for text in data for first in range(0, len(text), PIECE)]
    generator = np.random.default_rng(seed)
    while True:
        for number in generator.permutation(len(pieces)):
            yield pieces[number]


def _examples(text: Tensor, first: int, plan: LogisticPlan) -> tuple[csr_matrix, NDArray[np.uint8]]:
    """Features (n, 2^bits) and the bytes (n,) that follow them."""
    begin = max(first - plan.reach, 0)
    part = text[begin : first + PIECE]
    found = buckets(histories(part, plan.reach), plan.bits)[first - begin :].numpy()
    kept = found < 1 << plan.bits
    ends = np.append(0, kept.sum(1).cumsum())
    rows = csr_matrix((np.ones(ends[-1]), found[kept], ends), shape=(len(found), 1 << plan.bits))
    return rows, text[first : first + PIECE].numpy()


def _weights(classifier: SGDClassifier, classes: Bytes, places: int) -> LogisticWeights:
    weight, bias = classifier.coef_, classifier.intercept_
    if len(classes) == 2:  # then there is one classifier, for the second against the first
        weight, bias = np.concatenate([-weight, weight]), np.concatenate([-bias, bias])
    table = torch.zeros(weight.shape[1] + 1, len(classes))
    table[:-1] = torch.from_numpy(weight.T)
    assert len(classes) <= BYTES, "there are 256 bytes"
    return LogisticWeights(table, torch.from_numpy(bias).float(), torch.from_numpy(classes), math.log(0.5 / places))
