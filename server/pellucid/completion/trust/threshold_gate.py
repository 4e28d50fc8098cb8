"""Whether a suggestion is sure enough to be shown, and how much of it, by thresholds: where the model was not calibrated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log

from pellucid.completion.settings import GateLevel
from pellucid.completion.suggestion import truncate
from pellucid.tokens import Token

FLOOR = 1e-6
"""What stands for the probability of a token that the model thinks impossible."""

WORTH_SHOWING = 2
"""Letters, digits or brackets that a shortened suggestion has at least: less is quicker typed than read."""

THRESHOLDS: Mapping[GateLevel, Mapping[str, float]] = {
    GateLevel.QUIET: {"first": 0.50, "mean": 0.80, "least": 0.50},
    GateLevel.NORMAL: {"first": 0.15, "mean": 0.60, "least": 0.15},
    GateLevel.EAGER: {"first": 0.0, "mean": 0.25, "least": 0.0},
}
"""What the probabilities of the suggested tokens must reach: the first one's, their geometric mean, and the least of them.

Chosen by ``benchmarks/replay.py``, whose figures are in the README.
"""


BY_THRESHOLDS = "thresholds"
BY_HAND = "hand"


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """How many characters of a suggestion are shown, all of them, some or none, why, and what has decided ``by`` which values."""

    length: int
    reason: str
    values: Mapping[str, float]
    thresholds: Mapping[str, float]
    by: str = BY_THRESHOLDS


def judge(tokens: Sequence[Token], level: GateLevel) -> GateVerdict:
    """The longest part of a suggestion that is sure enough: all of it, whole lines of it, or whole words of its first line."""
    thresholds = THRESHOLDS[level]
    values = measure(tokens)
    text = "".join(token.text for token in tokens)
    failing = _failing(values, thresholds)
    if failing is None:
        return GateVerdict(len(text), "Every probability is above its threshold.", values, thresholds)
    why = f"The {_words(failing)} is {values[failing]:.2f}, below {thresholds[failing]:.2f} of the level {level}"
    for length in parts(tokens, text):
        if _failing(measure(truncate(tokens, length)), thresholds) is None and is_worth_showing(text[:length]):
            return GateVerdict(length, f"{why}; what stands before that is sure enough.", values, thresholds)
    return GateVerdict(0, f"{why}.", values, thresholds)


def passed(tokens: Sequence[Token]) -> GateVerdict:
    """All of a suggestion that was asked for by hand, with the values that the gate would look at."""
    return GateVerdict(sum(len(token.text) for token in tokens), "It was asked for by hand.", measure(tokens), {}, BY_HAND)


def measure(tokens: Sequence[Token]) -> dict[str, float]:
    """The probability of the first token, the geometric mean of all, and the least of all; 1 where there is no token."""
    probabilities = [max(exp(token.logprob), FLOOR) for token in tokens if token.logprob is not None and token.text]
    if not probabilities:
        return {"first": 1.0, "mean": 1.0, "least": 1.0}
    mean = exp(sum(map(log, probabilities)) / len(probabilities))
    return {"first": probabilities[0], "mean": mean, "least": min(probabilities)}


def _failing(values: Mapping[str, float], thresholds: Mapping[str, float]) -> str | None:
    return next((name for name, least in thresholds.items() if values[name] < least), None)


def _words(name: str) -> str:
    return {"first": "first token's probability", "mean": "mean probability", "least": "least probability"}[name]


def parts(tokens: Sequence[Token], text: str) -> Iterator[int]:
    """Lengths of the beginnings of a suggestion that can stand alone, the longest first.

    They end where a line does or, in the first line, between two words.
    """
    first_line = _first_line_end(text)
    end = len(text)
    for token in reversed(tokens):
        end -= len(token.text)
        if not 0 < end < len(text):
            continue
        whole_line = text[end] == "\n" or text[end - 1] == "\n"
        if whole_line if end > first_line else not _inside_word(text, end):
            yield len(text[:end].rstrip())


def _first_line_end(text: str) -> int:
    """Where the first line that says something ends."""
    start = len(text) - len(text.lstrip())
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _inside_word(text: str, at: int) -> bool:
    return re.match(r"\w\w", text[at - 1 : at + 1]) is not None


def is_worth_showing(text: str) -> bool:
    """Whether a part is more quickly read than typed."""
    return len(re.sub(r"[\s,;:.]", "", text)) >= WORTH_SHOWING
