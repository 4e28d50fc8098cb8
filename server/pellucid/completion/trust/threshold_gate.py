"""Decides how much of a suggestion is shown by thresholds on its probabilities, for models without a calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log

from pellucid.completion.settings import GateLevel
from pellucid.completion.suggestion import truncate
from pellucid.tokens import Token

FLOOR = 1e-6
"""The probability that is used for tokens of lower probability, so that logarithms stay finite."""

THRESHOLDS: Mapping[GateLevel, Mapping[str, float]] = {
    GateLevel.QUIET: {"first": 0.70, "mean": 0.85, "least": 0.60},
    GateLevel.NORMAL: {"first": 0.0, "mean": 0.75, "least": 0.50},
    GateLevel.EAGER: {"first": 0.0, "mean": 0.45, "least": 0.40},
}
"""Thresholds for the probabilities of the suggested tokens: of the first, of their geometric mean,
and of the least.

Chosen by ``benchmarks/line_completion_accuracy.py``, whose figures are in docs/benchmarks.md.
"""


BY_THRESHOLDS = "thresholds"
BY_HAND = "hand"


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """The decision about a suggestion: how many of its characters are shown, why, and the values and thresholds compared.

    ``by`` names what decided: thresholds, a calibration, or the user, who asked by hand.
    ``probability`` is that the shown part is right, if a calibration tells.
    """

    length: int
    reason: str
    values: Mapping[str, float]
    thresholds: Mapping[str, float]
    by: str = BY_THRESHOLDS
    probability: float | None = None


def judge(tokens: Sequence[Token], level: GateLevel, part_ends: Sequence[int] = ()) -> GateVerdict:
    """Return the longest part above all thresholds: all of the suggestion, or a part that ends at one of ``part_ends``."""
    thresholds = THRESHOLDS[level]
    values = measure(tokens)
    text = "".join(token.text for token in tokens)
    failing = _failing(values, thresholds)
    if failing is None:
        return GateVerdict(len(text), "Every probability is above its threshold.", values, thresholds)
    why = f"The {_label(failing)} is {values[failing]:.2f}, below the {thresholds[failing]:.2f} that level {level} requires"
    for length in part_ends:
        if _failing(measure(truncate(tokens, length)), thresholds) is None:
            return GateVerdict(length, f"{why}; the part before that is above all thresholds.", values, thresholds)
    return GateVerdict(0, f"{why}.", values, thresholds)


def show_all(tokens: Sequence[Token]) -> GateVerdict:
    """Return the verdict that shows all of a suggestion, because the user asked for it."""
    return GateVerdict(
        sum(len(token.text) for token in tokens), "It was requested manually.", measure(tokens), {}, BY_HAND
    )


def measure(tokens: Sequence[Token]) -> dict[str, float]:
    """Return the probability of the first token, the geometric mean of all, and the least; 1 if there are no tokens.

    A token that repeats what was typed counts with its probability among the tokens that do.
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


def _label(name: str) -> str:
    return {"first": "first token's probability", "mean": "mean probability", "least": "least probability"}[name]
