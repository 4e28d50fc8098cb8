"""Choice of the shown part of a suggestion, by calibrated probability or by thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from pellucid.completion.settings import GateLevel
from pellucid.completion.shaping.ending_reasons import Ending
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.completion.shaping.part_ends import part_ends
from pellucid.completion.suggestion import truncate
from pellucid.completion.trust.calibration import Calibration
from pellucid.completion.trust.features import CursorFeatures, features
from pellucid.completion.trust.threshold_gate import GateVerdict, judge, measure
from pellucid.vocabulary.token import Token

BY_CALIBRATION = "calibration"

SHARE_SO_FAR = 0.35
"""Assumed share of an unfinished suggestion in the whole suggestion.

A beginning should seldom be wrong, or be hidden again by the whole suggestion. At 290 cursors in
the standard library (level normal), 149 of 163 beginnings were right and 2 were hidden again; with
a share of 1, 167 of 194 were right and 19 were hidden again.
"""


@dataclass(frozen=True)
class Candidate:
    """A suggestion to judge. The texts of the first and last token may be cut.

    ``offset`` is added to the logits of the calibration.
    """

    parsed: ParsedCursor
    tokens: tuple[Token, ...]
    ending: str
    calibration: Calibration | None = None
    offset: float = 0.0

    @property
    def text(self) -> str:
        return "".join(token.text for token in self.tokens)

    @cached_property
    def cursor_features(self) -> CursorFeatures:
        return CursorFeatures.read(self.parsed)

    @cached_property
    def part_ends(self) -> list[int]:
        """Possible shorter lengths, longest first."""
        return list(part_ends(self.parsed, self.text))


LEAST_DOUBTFUL = 0.25
"""Minimum probability of the whole suggestion for showing its rest as doubtful.

At 600 requests in public code, level normal showed only a part of 62 suggestions. 42 of the 62
whole suggestions reached this probability, and 30 of the 42 were right; the remaining 20 were
wrong.
"""


class Gate(Protocol):
    def __call__(self, candidate: Candidate, level: GateLevel) -> GateVerdict: ...


def decide(candidate: Candidate, level: GateLevel) -> GateVerdict:
    if candidate.calibration is not None:
        return judge_by_calibration(candidate, candidate.calibration, level)
    return judge(candidate.tokens, level, candidate.part_ends)


def doubtful_rest(candidate: Candidate, sure: int) -> int:
    """Return the number of doubtful characters to show after the first ``sure`` characters.

    All are shown, unless the whole suggestion is improbable or, without a calibration, hidden by
    the thresholds of the most eager level.
    """
    if candidate.calibration is None:
        probable = judge(candidate.tokens, GateLevel.EAGER).length > 0
    else:
        numbers = features(candidate.tokens, candidate.cursor_features, candidate.ending, whole=True)
        probable = candidate.calibration.probability(numbers, candidate.offset) >= LEAST_DOUBTFUL
    return len(candidate.text) - sure if probable else 0


def judge_by_calibration(candidate: Candidate, calibration: Calibration, level: GateLevel) -> GateVerdict:
    """Choose the part with the largest expected gain, or nothing if no gain is positive.

    A part with probability p of being right and a share s of the characters gains p * s - (1 - p) *
    cost. The beginning of an unfinished suggestion counts as a part.
    """
    at, text, cost = candidate.cursor_features, candidate.text, calibration.costs[level]
    finished = candidate.ending != Ending.PART
    share = 1.0 if finished else SHARE_SO_FAR
    whole = calibration.probability(features(candidate.tokens, at, candidate.ending, whole=finished), candidate.offset)
    length, probability, gain = len(text), whole, whole * share - (1 - whole) * cost
    for shorter in candidate.part_ends:
        numbers = features(truncate(candidate.tokens, shorter), at, candidate.ending, whole=False)
        part = calibration.probability(numbers, candidate.offset)
        part_gain = part * share * shorter / len(text) - (1 - part) * cost
        if part_gain > gain:
            length, probability, gain = shorter, part, part_gain
    values = measure(candidate.tokens) | {"right": whole, "gain": gain, "session": candidate.offset}
    reason = _reason(level, cost, whole, probability, gain)
    return GateVerdict(length if gain > 0 else 0, reason, values, {"gain": 0.0}, BY_CALIBRATION, probability)


def _reason(level: GateLevel, cost: float, whole: float, part: float, gain: float) -> str:
    if gain <= 0:
        why = (
            f"at level {level} a wrong suggestion costs {cost:g} times what a right one gains, "
            "and no part is worth that risk"
        )
        return f"It is right with a probability of only {whole:.2f}: {why}."
    if part != whole:
        return (
            f"All of it is right with a probability of {whole:.2f}, the shown part with {part:.2f}: "
            f"that is worth more at level {level}."
        )
    return f"It is right with a probability of {whole:.2f}, which is worth the risk at level {level}."
