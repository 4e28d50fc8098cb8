"""Probability that a suggestion is right, computed from a model's calibration.

Applying a calibration made by ``pellucid calibrate`` needs only the standard library.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import exp, isfinite, log
from typing import Any, Self

from pellucid.completion.settings import GateLevel
from pellucid.completion.trust.features import NAMES, VERSION, geometric_mean
from pellucid.completion.trust.threshold_gate import FLOOR
from pellucid.errors import ConfigError

MAX_LOGIT = 30.0
"""Beyond this magnitude, a probability is as good as certain, and exponentials may overflow."""


class CalibrationKind(StrEnum):
    RAW = "raw"
    """The geometric mean of the token probabilities."""
    PLATT = "platt"
    """Logistic function of the mean's logit (Platt 1999)."""
    LOGISTIC = "logistic"
    """Logistic regression on all features, standardised."""
    ISOTONIC = "isotonic"
    """Rising, piecewise linear function of the mean (Zadrozny and Elkan 2002)."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Formula for P(right), the probability of a right suggestion, and costs of wrong suggestions.

    ``numbers`` are the coefficients. PLATT: bias and slope. LOGISTIC: bias, weights (n,), means
    (n,) and scales (n,), concatenated. ISOTONIC: points and as many values. RAW: empty. ``costs``
    are relative to the gain of 1 for a right suggestion. ``about``: remaining entries of the file.
    """

    kind: CalibrationKind
    numbers: tuple[float, ...]
    costs: Mapping[GateLevel, float]
    about: Mapping[str, Any]

    def probability(self, values: Sequence[float], offset: float = 0.0) -> float:
        """Return P(right) for the features, with ``offset`` added to the logit."""
        probability = self._probability(values)
        return logistic(logit(probability) + offset) if offset else probability

    def _probability(self, values: Sequence[float]) -> float:
        mean = geometric_mean(values)
        if self.kind is CalibrationKind.RAW:
            return mean
        if self.kind is CalibrationKind.PLATT:
            bias, slope = self.numbers
            return logistic(bias + slope * logit(mean))
        if self.kind is CalibrationKind.ISOTONIC:
            half = len(self.numbers) // 2
            return interpolated(mean, self.numbers[:half], self.numbers[half:])
        bias, *rest = self.numbers
        size = len(NAMES)
        weights, means, scales = rest[:size], rest[size : 2 * size], rest[2 * size :]
        parts = zip(values, weights, means, scales, strict=True)
        return logistic(bias + sum(weight * (value - mean) / scale for value, weight, mean, scale in parts))

    @property
    def record(self) -> dict[str, Any]:
        return {
            "features": {"version": VERSION, "names": list(NAMES)},
            "kind": str(self.kind),
            "numbers": list(self.numbers),
            "costs": {str(level): cost for level, cost in self.costs.items()},
            "about": dict(self.about),
        }

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Self:
        """Return the calibration in a ``record``."""
        try:
            made_for = record["features"]
            if (made_for["version"], made_for["names"]) != (VERSION, list(NAMES)):
                raise ConfigError(
                    "The calibration was made by another version of Pellucid: run pellucid calibrate again."
                )
            kind = CalibrationKind(record["kind"])
            numbers = tuple(float(number) for number in record["numbers"])
            costs = {level: float(record["costs"][level]) for level in GateLevel}
            about = dict(record.get("about", {}))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"The calibration is damaged ({type(error).__name__}: {error}): run pellucid calibrate again."
            ) from None
        fits = len(numbers) == _SIZES[kind] if kind in _SIZES else len(numbers) >= 2 and len(numbers) % 2 == 0
        if not fits or not all(map(isfinite, [*numbers, *costs.values()])) or min(costs.values()) < 0:
            raise ConfigError(
                "The calibration is damaged (its coefficients do not fit its kind): run pellucid calibrate again."
            )
        return cls(kind, numbers, costs, about)


_SIZES = {CalibrationKind.RAW: 0, CalibrationKind.PLATT: 2, CalibrationKind.LOGISTIC: 1 + 3 * len(NAMES)}


def logistic(value: float) -> float:
    return 1 / (1 + exp(-min(max(value, -MAX_LOGIT), MAX_LOGIT)))


def logit(probability: float) -> float:
    """Return log(p / (1 - p)), with ``p`` at least ``FLOOR`` away from 0 and 1."""
    p = min(max(probability, FLOOR), 1 - FLOOR)
    return log(p / (1 - p))


def interpolated(x: float, points: Sequence[float], values: Sequence[float]) -> float:
    """Interpolate linearly between rising points; outside, return the nearest point's value."""
    at = bisect_right(points, x)
    if at == 0:
        return values[0]
    if at == len(points):
        return values[-1]
    left, right = points[at - 1], points[at]
    return values[at - 1] + (values[at] - values[at - 1]) * (x - left) / (right - left)
