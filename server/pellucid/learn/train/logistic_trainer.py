"""Multinomial logistic regression over hashed byte n-grams, fitted piece by piece.

The regression is an MLPClassifier without a hidden layer: LogisticRegression has no
``partial_fit``, and SGDClassifier's one-against-rest scores are no probabilities.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.neural_network import MLPClassifier
from torch import Tensor

from pellucid.engine.decoders.byte_window_model import histories
from pellucid.engine.decoders.logistic_byte_model import LogisticModel, LogisticWeights, buckets
from pellucid.learn.train.bits_per_byte import Bytes
from pellucid.system.progress import Progress

Floats = NDArray[np.floating[Any]]

PIECE_POSITIONS = 32_768
"""Bytes of a text fitted at a time."""


@dataclass(frozen=True, slots=True)
class LogisticPlan:
    """Features from ``reach`` previous bytes, hashed to ``bits`` bits.

    Training makes ``passes``, up to ``most`` positions, with at least ``steps`` Adam steps of at
    most ``batch`` positions. The weights are averaged over the pieces after the first fifth.
    """

    reach: int = 6
    bits: int = 16
    passes: int = 2
    most: int = 2_500_000
    rate: float = 0.01
    batch: int = 2048
    steps: int = 1000

    def shortened(self, part: float) -> LogisticPlan:
        return replace(self, most=max(round(self.most * part), 1), steps=max(round(self.steps * part), 1))


@dataclass(frozen=True, slots=True)
class FittedRegression:
    model: LogisticModel
    seen: int

    @property
    def parameters(self) -> int:
        weights = self.model.weights
        return (len(weights.weight) - 1) * len(weights.classes) + len(weights.classes)

    @property
    def multiplications(self) -> int:
        return (self.model.reach + 1) * len(self.model.weights.classes)


def fit(train: Sequence[Bytes], plan: LogisticPlan, seed: int, progress: Progress) -> FittedRegression:
    """Fit the regression to predict each byte from the previous bytes.

    Bytes outside of the training part get the probability of half an occurrence.
    """
    data = [torch.from_numpy(text) for text in train]
    places = sum(map(len, data))
    wanted = min(plan.most, plan.passes * places)
    classes = np.unique(np.concatenate(list(train)))
    batch = min(plan.batch, max(wanted // plan.steps, 1))
    classifier = MLPClassifier((), alpha=0.0, learning_rate_init=plan.rate, random_state=seed)
    mean, seen = _Mean(), 0
    progress.start("training the logistic regression", wanted)
    for text, first in _pieces(data, seed):
        if seen >= wanted:
            break
        rows, targets = _examples(text, first, plan)
        with _interruptible():
            classifier.set_params(batch_size=min(batch, len(targets))).partial_fit(rows, targets, classes=classes)
        seen += len(targets)
        if seen > wanted / 5:
            mean.add(classifier.coefs_[0], classifier.intercepts_[0])
        progress.advance(len(targets))
    return FittedRegression(LogisticModel(_weights(mean, classes, places), plan.reach, torch.device("cpu")), seen)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt on Ctrl-C, instead of scikit-learn's warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Training interrupted by user")
        try:
            yield
        except UserWarning:
            raise KeyboardInterrupt from None


@dataclass
class _Mean:
    """Running mean of weights (buckets, classes) and biases (classes,)."""

    weight: Floats = field(default_factory=lambda: np.zeros((), np.float32))
    bias: Floats = field(default_factory=lambda: np.zeros((), np.float32))
    count: int = 0

    def add(self, weight: Floats, bias: Floats) -> None:
        self.count += 1
        self.weight = self.weight + (weight - self.weight) / self.count
        self.bias = self.bias + (bias - self.bias) / self.count


def _pieces(data: Sequence[Tensor], seed: int) -> Iterator[tuple[Tensor, int]]:
    pieces = [(text, first) for text in data for first in range(0, len(text), PIECE_POSITIONS)]
    generator = np.random.default_rng(seed)
    while True:
        for number in generator.permutation(len(pieces)):
            yield pieces[number]


def _examples(text: Tensor, first: int, plan: LogisticPlan) -> tuple[csr_matrix, NDArray[np.uint8]]:
    """Return features (n, 2^bits) and the next bytes (n,)."""
    begin = max(first - plan.reach, 0)
    part = text[begin : first + PIECE_POSITIONS]
    found = buckets(histories(part, plan.reach), plan.bits)[first - begin :].numpy()
    kept = found < 1 << plan.bits
    ends = np.append(0, kept.sum(1).cumsum())
    rows = csr_matrix((np.ones(ends[-1], np.float32), found[kept], ends), shape=(len(found), 1 << plan.bits))
    return rows, text[first : first + PIECE_POSITIONS].numpy()


def _weights(mean: _Mean, classes: Bytes, places: int) -> LogisticWeights:
    weight, bias = mean.weight, mean.bias
    # Two classes have one score: the second class against the first.
    if len(classes) == 2:
        weight, bias = np.pad(weight, ((0, 0), (1, 0))), np.pad(bias, (1, 0))
    table = torch.zeros(len(weight) + 1, len(classes))
    table[:-1] = torch.from_numpy(weight)
    return LogisticWeights(table, torch.from_numpy(bias).float(), torch.from_numpy(classes), math.log(0.5 / places))
