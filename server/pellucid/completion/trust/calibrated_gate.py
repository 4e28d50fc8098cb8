"""Decides how much of a suggestion is shown: by its calibrated probability of being right or, without a calibration, by thresholds."""

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
from pellucid.tokens import Token

BY_CALIBRATION = "calibration"

SHARE_SO_FAR = 0.35
"""The share of the whole suggestion that the beginning of an unfinished one is assumed to be.

A beginning should seldom be wrong, or hidden again by the whole. At 290 cursors in the standard
library, at level normal, 149 of 163 were right and 2 were hidden again; with a share of 1 these
were 167 of 194, and 19.
"""


@dataclass(frozen=True)
class Candidate:
    """A suggestion that the gate judges. The texts of the first and the last token may be cut.

    ``ending`` is the reason why it ends where it does; ``calibration`` is that of the model, if
    there is one, and ``offset`` is added to its logits.
    """

    parsed: ParsedCursor
    tokens: tuple[Token, ...]
    ending: str
    calibration: Calibration | None = None
    offset: float = 0.0

    @property
    def text(self) -> str:
        """The text of its tokens."""
        return "".join(token.text for token in self.tokens)

    @cached_property
    def cursor_features(self) -> CursorFeatures:
        """The properties of its cursor."""
        return CursorFeatures.read(self.parsed)

    @cached_property
    def part_ends(self) -> list[int]:
        """The lengths to which it can be shortened, the longest first."""
        return list(part_ends(self.parsed, self.text))


LEAST_DOUBTFUL = 0.25
"""The least probability of the whole suggestion with which its rest is shown as doubtful.

At 600 requests in public code, level normal showed only a part of 62 suggestions. The whole was
that probable for 42 of these, and right for 30 of the 42; of the other 20 wholes none was right.
"""


class Gate(Protocol):
    """Decides how much of a suggestion is shown."""

    def __call__(self, candidate: Candidate, level: GateLevel) -> GateVerdict:
        """Return the verdict on a candidate at a level."""
        ...


def decide(candidate: Candidate, level: GateLevel) -> GateVerdict:
    """Return the verdict on a candidate: by its calibration if it has one, else by thresholds."""
    if candidate.calibration is not None:
        return judge_by_calibration(candidate, candidate.calibration, level)
    return judge(candidate.tokens, level, candidate.part_ends)


def doubtful_rest(candidate: Candidate, sure: int) -> int:
    """Return how many characters are shown as doubtful after the ``sure`` ones: all others, unless the whole is improbable.

    Without a calibration the whole is improbable if the thresholds of the most eager level hide it.
    """
    if candidate.calibration is None:
        probable = judge(candidate.tokens, GateLevel.EAGER).length > 0
    else:
        numbers = features(candidate.tokens, candidate.cursor_features, candidate.ending, whole=True)
        probable = candidate.calibration.probability(numbers, candidate.offset) >= LEAST_DOUBTFUL
    return len(candidate.text) - sure if probable else 0


def judge_by_calibration(candidate: Candidate, calibration: Calibration, level: GateLevel) -> GateVerdict:
    """Return the part with the largest expected gain: all of the suggestion, or a part that ends where a reader would stop.

    A part that is right with probability p and has the share s of the characters gains p * s - (1 -
    p) * cost. If no part gains anything, nothing is shown. The beginning of an unfinished
    suggestion counts as a part.
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
    """Return the reason for a verdict, given the probabilities of the whole suggestion and of the best part, and that part's gain."""
    if gain <= 0:
        why = f"at level {level} a wrong suggestion costs {cost:g} times what a right one gains, and no part is worth that risk"
        return f"It is right with a probability of only {whole:.2f}: {why}."
    if part != whole:
        return f"All of it is right with a probability of {whole:.2f}, the shown part with {part:.2f}: that is worth more at level {level}."
    return f"It is right with a probability of {whole:.2f}, which is worth the risk at level {level}."
