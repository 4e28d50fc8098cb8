"""Calibrations for tests."""

from __future__ import annotations

from math import log
from typing import Any

from pellucid.completion.settings import GateLevel
from pellucid.completion.trust.calibration import Calibration, CalibrationKind

COSTS = {GateLevel.QUIET: 9.0, GateLevel.NORMAL: 1.0, GateLevel.EAGER: 0.25}
"""With these costs, a suggestion is worth the risk above a probability of 0.9, 0.5 or 0.2."""

RAW = Calibration(CalibrationKind.RAW, (), COSTS, {"model": "scripted"})
"""A calibration that returns the geometric mean of the probabilities."""


def doubtful(bias: float = log(1 / 3)) -> Calibration:
    """Return a calibration below the geometric mean: the odds are multiplied by ``exp(bias)``."""
    return Calibration(CalibrationKind.PLATT, (bias, 1.0), COSTS, {})


def as_sent(calibration: Calibration = RAW) -> dict[str, Any]:
    """Return a calibration in the form of the model server's answer."""
    return {"format": "pellucid calibration 1", "key": "k", **calibration.record}
