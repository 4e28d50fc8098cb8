"""95 % intervals of means (Student's t) and of shares (Wilson)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import atan, cos, inf, pi, sin, sqrt
from statistics import NormalDist, fmean, stdev

LEVEL = 0.95

NORMAL_QUANTILE = NormalDist().inv_cdf((1 + LEVEL) / 2)

_MAX_FREEDOM = 1000
"""Degrees of freedom from which the normal quantile is accurate to 0.2 %."""


@dataclass(frozen=True, slots=True)
class Interval:
    value: float
    low: float
    high: float
    count: int


def mean_interval(values: Sequence[float], least: float = -inf, most: float = inf) -> Interval | None:
    """Return the mean of values between ``least`` and ``most``.

    The interval of a single value is [``least``, ``most``], because the spread is unknown.
    """
    if not values:
        return None
    mean = fmean(values)
    if len(values) == 1:
        return Interval(mean, least, most, 1)
    half = student_quantile(len(values) - 1) * stdev(values) / sqrt(len(values))
    return Interval(mean, max(mean - half, least), min(mean + half, most), len(values))


def share_interval(successes: float, trials: int) -> Interval:
    """Return a share with the Wilson interval (1927), also good near 0 and 1."""
    share, z = successes / trials, NORMAL_QUANTILE
    scale = 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / scale
    half = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / scale
    low = 0.0 if successes == 0 else middle - half  # Exactly 0 in the formula, but not after rounding.
    return Interval(share, low, 1.0 if successes == trials else middle + half, trials)


@lru_cache(maxsize=4096)
def student_quantile(freedom: int) -> float:
    """Return half the width of the central 95 % of Student's t, by bisection."""
    if freedom > _MAX_FREEDOM:
        return NORMAL_QUANTILE
    low, high = 0.0, 16.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if _central(middle, freedom) < LEVEL else (low, middle)
    return (low + high) / 2


def _central(t: float, freedom: int) -> float:
    """Return the probability of -t to t (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = atan(t / sqrt(freedom))
    square = cos(angle) ** 2
    odd = freedom % 2
    term = cos(angle) if odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= square * (k - 1) / k
        total += term
    return (angle + sin(angle) * total) * 2 / pi if odd else sin(angle) * total
