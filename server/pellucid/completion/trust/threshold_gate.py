"""Choice of the shown part of a suggestion by thresholds, for models without a calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log

from pellucid.completion.settings import GateLevel
from pellucid.completion.suggestion import truncate
from pellucid.vocabulary.token import Token

FLOOR = 1e-6
"""Lower limit for a token's probability, so logarithms stay finite."""

THRESHOLDS: Mapping[GateLevel, Mapping[str, float]] = {
    GateLevel.QUIET: {"first": 0.70, "mean": 0.85, "least": 0.60},
    GateLevel.NORMAL: {"first": 0.0, "mean": 0.75, "least": 0.50},
    GateLevel.EAGER: {"first": 0.0, "mean": 0.45, "least": 0.40},
}
"""For the first token's probability, the geometric mean and the least probability.

Chosen on lines of the standard library: the loosest thresholds with few wrong suggestions.
"""


MEASURES = {
    "first": "first token's probability",
    "mean": "mean probability",
    "least": "least probability",
    "right": "probability of being right",
    "gain": "expected gain",
    "session": "correction by this session",
}
"""Names of compared values, for people."""

BY_THRESHOLDS = "thresholds"
BY_HAND = "hand"


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """The number of shown characters, the reason, and the compared values.

    ``by``: thresholds, a calibration, or the user. ``probability``: calibrated, for the shown part.
    """

    length: int
    reason: str
    values: Mapping[str, float]
    thresholds: Mapping[str, float]
    by: str = BY_THRESHOLDS
    probability: float | None = None


def judge(tokens: Sequence[Token], level: GateLevel, part_ends: Sequence[int] = ()) -> GateVerdict:
    """Return the longest part above all thresholds, the whole text or one of ``part_ends``."""
    thresholds = THRESHOLDS[level]
    values = measure(tokens)
    text = "".join(token.text for token in tokens)
    failing = _failing(values, thresholds)
    if failing is None:
        return GateVerdict(len(text), "Every probability is above its threshold.", values, thresholds)
    value, least = values[failing], thresholds[failing]
    why = f"The {MEASURES[failing]} is {value:.2f}, below the {least:.2f} that level {level} requires"
    for length in part_ends:
        if _failing(measure(truncate(tokens, length)), thresholds) is None:
            return GateVerdict(length, f"{why}; the part before that is above all thresholds.", values, thresholds)
    return GateVerdict(0, f"{why}.", values, thresholds)


def show_all(tokens: Sequence[Token]) -> GateVerdict:
    return GateVerdict(
        sum(len(token.text) for token in tokens), "It was requested manually.", measure(tokens), {}, BY_HAND
    )


def measure(tokens: Sequence[Token]) -> dict[str, float]:
    """Return the first token's probability, the geometric mean, and the least probability.

    Without tokens, all three are 1. A token that repeats typed text is judged relative to the other
    tokens that repeat the text.
    """
    probabilities = [
        max(exp(logprob), FLOOR)
        for token in tokens
        if (logprob := token.constrained_logprob) is not None and token.text
    ]
    if not probabilities:
        return {"first": 1.0, "mean": 1.0, "least": 1.0}
    mean = exp(sum(map(log, probabilities)) / len(probabilities))
    return {"first": probabilities[0], "mean": mean, "least": min(probabilities)}


def _failing(values: Mapping[str, float], thresholds: Mapping[str, float]) -> str | None:
    return next((name for name, least in thresholds.items() if values[name] < least), None)
