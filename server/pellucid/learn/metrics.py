"""Metrics of predictions, with 95 % intervals.

Probabilities and outcomes (0 or 1) are arrays (n,). The bootstrap computes each metric thousands of
times, so Brier score and log loss are plain NumPy: scikit-learn gives equal results but takes 400
times as long to check arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

Floats = NDArray[np.float64]

RESAMPLES = 2000
"""Number of bootstrap samples; fifty (2.5 %) are beyond each end of a 95 % interval."""

LEVEL = 0.95

FLOOR = 1e-6
"""Minimum probability in losses, so that no single outcome decides."""

NORMAL_QUANTILE = float(ndtri((1 + LEVEL) / 2))
"""Half the width of a 95 % interval of the standard normal distribution."""

Bins = Literal["width", "mass"]


@dataclass(frozen=True, slots=True)
class Interval:
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class Bin:
    """Mean prediction of ``count`` events, and the share of successes."""

    count: int
    confidence: float
    accuracy: Interval


def wilson(successes: float, trials: float) -> Interval:
    """Return a share with the 95 % interval of Wilson (1927), given at least one trial.

    The interval is valid for few trials and extreme shares. ``trials`` may be an effective number.
    """
    share, z = successes / trials, NORMAL_QUANTILE
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    # At both ends the formula is exact, but rounding is not.
    low = 0.0 if successes == 0 else middle - half
    high = 1.0 if successes == trials else middle + half
    return Interval(share, low, high)


def reliability(probabilities: ArrayLike, outcomes: ArrayLike, bins: int = 10, by: Bins = "width") -> list[Bin]:
    """Return the bins of a reliability diagram, without empty bins."""
    p, y = _pair(probabilities, outcomes)
    if by == "width":
        at = np.minimum((p * bins).astype(np.int64), bins - 1)
        groups = [np.flatnonzero(at == number) for number in range(bins)]
    else:
        groups = np.array_split(np.argsort(p, kind="stable"), bins)
    return [
        Bin(len(group), float(p[group].mean()), wilson(float(y[group].sum()), len(group)))
        for group in groups
        if len(group)
    ]


def calibration_error(
    probabilities: ArrayLike,
    outcomes: ArrayLike,
    bins: int = 10,
    by: Bins = "width",
    *,
    weights: ArrayLike | None = None,
) -> float:
    """Return the mean gap of prediction and outcome over bins (Naeini et al. 2015).

    The error is 0 for a constant base rate: also read the Brier skill. ``weights`` of rows need
    bins of equal width.
    """
    if weights is not None:
        assert by == "width", "bins of equal mass have no weights"
        p, y = _pair(probabilities, outcomes)
        w = np.asarray(weights, dtype=np.float64)
        gaps = np.bincount(np.minimum((p * bins).astype(np.int64), bins - 1), w * (p - y))
        return float(np.abs(gaps).sum() / w.sum())
    bars = reliability(probabilities, outcomes, bins, by)
    total = sum(bar.count for bar in bars)
    return sum(bar.count * abs(bar.confidence - bar.accuracy.value) for bar in bars) / total


def brier(probabilities: ArrayLike, outcomes: ArrayLike) -> float:
    """Return the mean squared difference between probability and outcome (Brier 1950)."""
    p, y = _pair(probabilities, outcomes)
    return float(np.square(p - y).mean())


def brier_skill(probabilities: ArrayLike, outcomes: ArrayLike) -> float:
    """Return the relative improvement over the base rate's Brier score.

    NaN if all outcomes are equal.
    """
    _, y = _pair(probabilities, outcomes)
    base = float(y.mean()) * (1 - float(y.mean()))
    return 1 - brier(probabilities, outcomes) / base if base else math.nan


def log_loss(
    probabilities: ArrayLike, outcomes: ArrayLike, floor: float = FLOOR, *, weights: ArrayLike | None = None
) -> float:
    """Return the mean of -ln p(outcome) in nats, with p clipped to ``floor`` from 0 and 1."""
    each = log_losses(probabilities, outcomes, floor)
    return float(np.average(each, weights=None if weights is None else np.asarray(weights)))


def log_losses(probabilities: ArrayLike, outcomes: ArrayLike, floor: float = FLOOR) -> Floats:
    """Return -ln p(outcome) in nats, with p clipped to ``floor`` from 0 and 1."""
    p, y = _pair(probabilities, outcomes)
    p = np.clip(p, floor, 1 - floor)
    losses: Floats = -(y * np.log(p) + (1 - y) * np.log1p(-p))
    return losses


def auroc(scores: ArrayLike, outcomes: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the area under the ROC curve, or NaN if all outcomes are equal.

    Ties count half. With ``weights``, a pair is weighted by the product of both weights.
    """
    p, y = _pair(scores, outcomes)
    if weights is not None:
        return _weighted_auroc(p, y, np.asarray(weights, dtype=np.float64))
    # The import takes a second, and most commands do not need ranks.
    from scipy.stats import rankdata

    positives = int(y.sum())
    negatives = len(y) - positives
    if not positives or not negatives:
        return math.nan
    ranks = rankdata(p)  # Equal scores get the mean rank
    # Mann and Whitney's U.
    return float((ranks[y == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _weighted_auroc(p: Floats, y: Floats, w: Floats) -> float:
    # One group per score, in rising order.
    _, groups = np.unique(p, return_inverse=True)
    positive, negative = (np.bincount(groups, w * (y == outcome)) for outcome in (1, 0))
    below = np.cumsum(negative) - negative
    pairs = float(positive.sum() * negative.sum())
    return float((positive * (below + negative / 2)).sum()) / pairs if pairs else math.nan


def pass_at_k(samples: int, right: int, k: int) -> float:
    """Return the unbiased estimate 1 - C(n - c, k) / C(n, k) of pass@k (Chen et al. 2021)."""
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
    """Return a statistic of columns (n,) with the percentile interval.

    Whole rows are resampled. A row must be the unit of sampling: a file or a task, not a token. Few
    rows understate the spread, so the interval is widened by the ratio of Student's t to the normal
    quantile and by the bias of a small sample's spread (Hesterberg 2015, arXiv 1411.5279). The
    interval is clipped to ``bounds``, and to 0 if the percentiles are not negative. With fewer than
    two rows, the interval is ``bounds``.
    """
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    rows = len(arrays[0])
    assert all(len(array) == rows for array in arrays), "columns have one length"
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
    stretch = float(stdtrit(rows - 1, (1 + LEVEL) / 2)) / NORMAL_QUANTILE * math.sqrt(rows / (rows - 1))
    ends = (value + stretch * (low - value), value + stretch * (high - value))
    least = max(bounds[0], 0.0) if low >= 0 else bounds[0]
    return Interval(value, max(float(ends[0]), least), min(float(ends[1]), bounds[1]))


def mean_of_units(values: ArrayLike, weights: ArrayLike, units: ArrayLike) -> Interval:
    """Return the weighted mean with Student's interval, with a unit as an observation.

    At least two units are required.
    """
    w = np.asarray(weights, dtype=np.float64)
    _, numbers = np.unique(np.asarray(units), return_inverse=True)
    sums = np.bincount(numbers, w * np.asarray(values, dtype=np.float64))
    count, mean = len(sums), float(sums.sum() / w.sum())
    # Residuals of a ratio, because units differ in weight.
    spread = sums - mean * np.bincount(numbers, w)
    quantile = float(stdtrit(count - 1, (1 + LEVEL) / 2))
    half = quantile * math.sqrt(count / (count - 1) * float(np.square(spread).sum())) / float(w.sum())
    return Interval(mean, mean - half, mean + half)


def ratio_difference(before: ArrayLike, after: ArrayLike, denominators: ArrayLike, *, seed: int = 0) -> Interval:
    """Return the change of a ratio of sums over the same denominators, with an interval."""
    return bootstrap([before, after, denominators], lambda a, b, d: _ratio(b, d) - _ratio(a, d), seed=seed)


def _ratio(numerators: Floats, denominators: Floats) -> float:
    return float(numerators.sum() / denominators.sum())


def _pair(probabilities: ArrayLike, outcomes: ArrayLike) -> tuple[Floats, Floats]:
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    assert p.shape == y.shape, "each probability has an outcome"
    assert p.ndim == 1, "probabilities have one dimension"
    assert len(p), "there is at least one prediction"
    return p, y
