"""Figures of how good predictions are, each with what is needed to doubt it: counts and intervals.

Probabilities and outcomes are arrays (n,) of the same length; outcomes are 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

RESAMPLES = 2000
"""Bootstrap samples: the ends of a 95 % interval then rest on fifty of them each."""

LEVEL = 0.95

NORMAL_QUANTILE = 1.959963984540054
"""Of 0.975: what a 95 % interval of a normal distribution reaches to on either side."""

Bins = Literal["width", "mass"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"

    @property
    def excludes_zero(self) -> bool:
        """Whether it says which side of 0 the figure is on."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar of a reliability diagram: how probable ``count`` events were said to be on average, and how often they came true."""

    count: int
    confidence: float
    accuracy: Interval


def wilson(successes: float, trials: int) -> Interval:
    """A share with its 95 % interval (Wilson 1927), which holds for few trials and for shares near 0 and 1. Needs a trial."""
    share, z = successes / trials, NORMAL_QUANTILE
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    # At the ends the formula is exact, but not its rounding.
    low = 0.0 if successes == 0 else middle - half
    high = 1.0 if successes == trials else middle + half
    return Interval(share, low, high)


def reliability(probabilities: ArrayLike, outcomes: ArrayLike, bins: int = 10, by: Bins = "width") -> list[Bin]:
    """The bars of a reliability diagram, of equal width (empty ones left out) or of equal mass."""
    p, y = _pair(probabilities, outcomes)
    if by == "width":
        at = np.minimum((p * bins).astype(np.int64), bins - 1)
        groups = [np.flatnonzero(at == number) for number in range(bins)]
    else:
        groups = np.array_split(np.argsort(p, kind="stable"), bins)
    return [Bin(len(group), float(p[group].mean()), wilson(float(y[group].sum()), len(group))) for group in groups if len(group)]


def calibration_error(probabilities: ArrayLike, outcomes: ArrayLike, bins: int = 10, by: Bins = "width") -> float:
    """The expected calibration error: the mean gap between what was said and what came (Naeini et al. 2015), weighted by counts.

    It is 0 for somebody who says the base rate each time: look at the Brier skill beside it.
    """
    bars = reliability(probabilities, outcomes, bins, by)
    total = sum(bar.count for bar in bars)
    return sum(bar.count * abs(bar.confidence - bar.accuracy.value) for bar in bars) / total


def brier(probabilities: ArrayLike, outcomes: ArrayLike) -> float:
    """The mean squared difference between probability and outcome (Brier 1950): 0 is best."""
    p, y = _pair(probabilities, outcomes)
    return float(np.square(p - y).mean())


def brier_skill(probabilities: ArrayLike, outcomes: ArrayLike) -> float:
    """How much of the base rate's Brier score is gone: 1 is perfect, 0 says no more than the base rate. NaN for one kind of outcome."""
    _, y = _pair(probabilities, outcomes)
    base = float(y.mean()) * (1 - float(y.mean()))
    return 1 - brier(probabilities, outcomes) / base if base else math.nan


def log_loss(probabilities: ArrayLike, outcomes: ArrayLike, floor: float = 1e-6) -> float:
    """The mean of -ln of the probability that was given to what came, in nats; probabilities are kept ``floor`` off 0 and 1."""
    p, y = _pair(probabilities, outcomes)
    p = np.clip(p, floor, 1 - floor)
    return float(-(y * np.log(p) + (1 - y) * np.log1p(-p)).mean())


def auroc(scores: ArrayLike, outcomes: ArrayLike) -> float:
    """How often something that came true was scored above something that did not (ties half). NaN for one kind of outcome."""
    p, y = _pair(scores, outcomes)
    positives = int(y.sum())
    negatives = len(y) - positives
    if not positives or not negatives:
        return math.nan
    _, inverse, counts = np.unique(p, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # of equal scores the mean of their ranks
    return float((ranks[y == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def pass_at_k(samples: int, right: int, k: int) -> float:
    """The chance that one of ``k`` answers is right, without bias from ``samples`` of which ``right`` were (Chen et al. 2021).

    1 - C(n - c, k) / C(n, k). Raises ValueError for k above n.
    """
    if not 0 < k <= samples:
        raise ValueError(f"pass@{k} needs {k} samples of each task, and there are {samples}.")
    return 1 - math.comb(samples - right, k) / math.comb(samples, k)


def bootstrap(
    columns: Sequence[ArrayLike],
    statistic: Callable[..., float],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """A statistic of columns (n,) with its percentile interval: rows (files, tasks) are drawn anew together, so that pairs stay pairs.

    ``statistic`` takes the columns. The unit that is drawn has to be one that could have been another: a file, not a token of it.
    Few rows do not show how much they differ: the interval is stretched as Student's t is wider than the normal distribution, and
    by what the spread of so few falls short (Hesterberg 2015, arXiv 1411.5279). Where no sample was negative its end is
    not either, and it does not reach beyond the ``bounds`` of what the statistic can be. Needs two rows; with fewer the interval is
    all there is within the bounds.
    """
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    rows = len(arrays[0])
    assert all(len(array) == rows for array in arrays), "columns are of one length"
    value = float(statistic(*arrays))
    if rows < 2:
        return Interval(value, *bounds)
    generator = np.random.default_rng(seed)
    drawn = np.empty(resamples)
    for number in range(resamples):
        chosen = generator.integers(rows, size=rows)
        drawn[number] = statistic(*(array[chosen] for array in arrays))
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if len(drawn) else (-math.inf, math.inf)
    stretch = _student(rows - 1) / NORMAL_QUANTILE * math.sqrt(rows / (rows - 1))
    ends = (value + stretch * (low - value), value + stretch * (high - value))
    least = max(bounds[0], 0.0) if low >= 0 else bounds[0]
    return Interval(value, max(float(ends[0]), least), min(float(ends[1]), bounds[1]))


def _student(freedom: int) -> float:
    """The quantile of 0.975 of Student's t (Abramowitz and Stegun 26.7.5, good to a thousandth from three degrees of freedom on)."""
    if freedom < 3:
        return (12.706, 4.303)[freedom - 1]
    z = NORMAL_QUANTILE
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(z + sum(term / freedom**power for power, term in enumerate(terms, 1)))


def ratio_difference(before: ArrayLike, after: ArrayLike, denominators: ArrayLike, *, seed: int = 0) -> Interval:
    """How much more a sum by a sum is afterwards, over the same denominators, with its interval."""
    return bootstrap([before, after, denominators], lambda a, b, d: _ratio(b, d) - _ratio(a, d), seed=seed)


def _ratio(numerators: Floats, denominators: Floats) -> float:
    return float(numerators.sum() / denominators.sum())


def _pair(probabilities: ArrayLike, outcomes: ArrayLike) -> tuple[Floats, Floats]:
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    assert p.shape == y.shape, "probabilities and outcomes belong together"
    assert p.ndim == 1, "they are flat"
    assert len(p), "there is something to judge"
    return p, y
