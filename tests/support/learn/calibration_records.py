"""Suggestions for tests of calibration, right with a known probability for each mean."""

from __future__ import annotations

from math import exp, log

import numpy as np

from pellucid.completion.settings import GateLevel
from pellucid.completion.trust.features import NAMES
from pellucid.learn.calibrate.replay_records import SuggestionPart, SuggestionRecord

FILES = 12


def record(
    number: int, mean: float, *rights: bool, document: str | None = None, suffix: bool = True
) -> SuggestionRecord:
    """Return a suggestion with parts right as given, the whole first, and a mean probability."""
    parts = []
    for at, right in enumerate(rights):
        length = 20 - 5 * at
        known = dict.fromkeys(NAMES, 0.0) | {"mean": log(mean), "whole": float(not at), "characters": log(1 + length)}
        parts.append(SuggestionPart(length, tuple(known[name] for name in NAMES), right))
    shown = {str(level): 20 if mean > least else 0 for level, least in zip(GateLevel, (0.8, 0.6, 0.2), strict=True)}
    return SuggestionRecord(
        document or f"{number % FILES}.py", "mid-word", number, suffix, "line", tuple(parts), shown if parts else None
    )


def records(
    count: int, *, bias: float = -1.0, slope: float = 0.5, seed: int = 0, prefix: str = ""
) -> list[SuggestionRecord]:
    """Return suggestions with P(right) = logistic(bias + slope * logit(mean)).

    The part is right with the whole, and otherwise in half of the cases.
    """
    dice = np.random.default_rng(seed)
    found = []
    for number in range(count):
        mean = float(dice.uniform(0.02, 0.98))
        right = bool(dice.random() < 1 / (1 + exp(-(bias + slope * log(mean / (1 - mean))))))
        part = right or bool(dice.random() < 0.5)
        found.append(record(number, mean, right, part, document=f"{prefix}{number % FILES}.py", suffix=number % 2 == 0))
    return found
