"""Calibration of token probabilities over records with many tokens each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pellucid.learn.evaluate.suite_protocol import Better, Diagram, Facts, FigureFormat, Measure, Rows, Statistic
from pellucid.learn.metrics import Bins, reliability

BINS: dict[Bins, int] = {"width": 10, "mass": 15}
WORDS: dict[Bins, str] = {"width": "10 bins of equal width", "mass": "15 bins of equal mass"}


def calibration_errors() -> list[Measure]:
    return [Measure(f"ECE, {WORDS[by]}", _prepare(by), FigureFormat.NUMBER, Better.LOWER) for by in BINS]


def diagrams(facts: Sequence[Facts]) -> list[Diagram]:
    confidences, right, _ = _tokens(facts)
    return [
        Diagram(
            f"Accuracy of the first choice by its probability, {WORDS[by]}",
            tuple(reliability(confidences, right, bins, by)),
        )
        for by, bins in BINS.items()
    ]


def _prepare(by: Bins) -> Callable[[Sequence[Facts]], Statistic]:
    """Sum up tokens by record and bin, with the bin limits of all tokens.

    A resample of records is then a sum of a few numbers.
    """

    def prepare(facts: Sequence[Facts]) -> Statistic:
        confidences, right, owner = _tokens(facts)
        counts = np.bincount(owner, minlength=len(facts)).astype(np.float64)
        gaps = np.zeros((len(facts), BINS[by]))
        np.add.at(gaps, (owner, _bin_numbers(confidences, BINS[by], by)), confidences - right)

        def statistic(rows: Rows) -> float:
            total = float(counts[rows].sum())
            return float(np.abs(gaps[rows].sum(0)).sum()) / total if total else math.nan

        return statistic

    return prepare


def _bin_numbers(confidences: NDArray[np.float64], bins: int, by: Bins) -> NDArray[np.int64]:
    """Return the bin of each token, like :func:`pellucid.learn.metrics.reliability`."""
    if by == "width":
        return np.minimum((confidences * bins).astype(np.int64), bins - 1)
    numbers = np.empty(len(confidences), dtype=np.int64)
    for number, group in enumerate(np.array_split(np.argsort(confidences, kind="stable"), bins)):
        numbers[group] = number
    return numbers


def _tokens(facts: Sequence[Facts]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return the confidence of all tokens, correctness (0 or 1), and the number of the record."""
    confidences = np.concatenate([np.asarray(one["confidences"], dtype=np.float64) for one in facts])
    ranks = np.concatenate([np.asarray(one["ranks"], dtype=np.int64) for one in facts])
    owner = np.repeat(np.arange(len(facts)), [len(one["ranks"]) for one in facts])
    return confidences, (ranks == 1).astype(np.float64), owner
