"""What is known of a suggestion before anybody has seen whether it is right: numbers of its tokens, its shape and its place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

from pellucid.completion.shaping.ending import Ending
from pellucid.completion.shaping.language_syntax import indentation
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.completion.suggestion import DocumentCursor
from pellucid.completion.trust.threshold_gate import FLOOR
from pellucid.text.brackets import is_balanced
from pellucid.tokens import Token

VERSION = 2
"""Of what the numbers mean: a calibration of other ones is not used."""

LEAST_SUM = -30.0
"""Below it a sum of logprobs says no more than that the suggestion is wrong."""

DEEPEST = 40
"""Columns of indentation that are told apart."""

FAR = 4_000
"""Characters before the cursor in which a line is looked for."""

LEAST_LETTERS = 4
"""Letters and digits that a line has at least to be told from others."""

NAMES = (
    "mean",
    "least",
    "first",
    "sum",
    "first entropy",
    "worst entropy",
    "first margin",
    "worst margin",
    "characters",
    "tokens",
    "lines",
    "whole",
    "stopped",
    "cut off",
    "balanced",
    "no suffix",
    "mid-word",
    "line start",
    "in text",
    "indentation",
    "like above",
    "seen before",
)
"""The numbers in their order; logprobs are in nats, lengths are logarithms, and what is true or not is 1 or 0."""


@dataclass(frozen=True, slots=True)
class CursorFeatures:
    """What a place says about any suggestion there. ``lines`` are those before the cursor that are not blank, stripped."""

    left: str
    suffix: bool
    in_text: bool
    above: str
    lines: frozenset[str]

    @classmethod
    def of(cls, cursor: DocumentCursor) -> CursorFeatures:
        """Read them off a place."""
        parsed = ParsedCursor(cursor)
        lines = frozenset(line.strip() for line in cursor.before[-FAR:].split("\n")[:-1])
        return cls(cursor.left, bool(cursor.after.strip()), parsed.in_text, (parsed.above or "").strip(), lines)


def features(tokens: Sequence[Token], at: CursorFeatures, ending: str, *, whole: bool) -> tuple[float, ...]:
    """The numbers of ``NAMES``. ``ending`` says why the suggestion ends where it ends, ``whole`` that these tokens are all of it.

    Needs a token that has text.
    """
    text = "".join(token.text for token in tokens)
    spoken = [token for token in tokens if token.text and token.logprob is not None]
    logprobs = [max(token.logprob or 0.0, log(FLOOR)) for token in spoken] or [0.0]
    worst = min(range(len(logprobs)), key=logprobs.__getitem__)
    line = (at.left + text.partition("\n")[0]).strip()
    values = (
        sum(logprobs) / len(logprobs),
        logprobs[worst],
        logprobs[0],
        max(sum(logprobs), LEAST_SUM),
        _entropy(spoken, 0),
        _entropy(spoken, worst),
        _margin(spoken, 0),
        _margin(spoken, worst),
        log(1 + len(text)),
        log(1 + len(logprobs)),
        log(1 + text.count("\n")),
        float(whole),
        float(whole and ending == Ending.STOP),
        float(whole and ending == Ending.LIMIT),  # not TIME: a replay has no clock, so that nothing is learnt of what it cuts off
        float(is_balanced(text)),
        float(not at.suffix),
        float(re.search(r"\w$", at.left) is not None and re.match(r"\w", text) is not None),
        float(not at.left.strip()),
        float(at.in_text),
        min(indentation(at.left), DEEPEST) / DEEPEST,
        _likeness(line, at.above),
        float(sum(map(str.isalnum, line)) >= LEAST_LETTERS and line in at.lines),
    )
    assert len(values) == len(NAMES), "each number has its name"
    return values


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of the tokens' probabilities, of the numbers."""
    return exp(values[0])


def _entropy(tokens: Sequence[Token], index: int) -> float:
    """In nats; 0 where it is not known."""
    return (tokens[index].entropy or 0.0) if tokens else 0.0


def _margin(tokens: Sequence[Token], index: int) -> float:
    """By how many nats a token stands above the best of the others, at most ``-log(FLOOR)``; below 0 where that one is above it."""
    if not tokens:
        return -log(FLOOR)
    token = tokens[index]
    assert token.logprob is not None, "only such are looked at"
    others = [one.logprob for one in token.top if one.id != token.id]
    best = max(others) if others else log(max(1 - exp(token.logprob), FLOOR))  # all the others together
    return min(max(token.logprob - best, log(FLOOR)), -log(FLOOR))


def _likeness(line: str, above: str) -> float:
    """Which part of the shorter of two lines is the beginning of both."""
    shorter = min(len(line), len(above))
    same = next((index for index in range(shorter) if line[index] != above[index]), shorter)
    return same / shorter if shorter else 0.0
