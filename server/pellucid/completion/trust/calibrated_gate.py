"""Decides how much of a suggestion is shown: by its calibrated probability of being right or, without a calibration, by thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from pellucid.completion.settings import GateLevel
from pellucid.completion.shaping.ending_reasons import Ending
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.completion.suggestion import truncate
from pellucid.completion.trust.calibration import Calibration
from pellucid.completion.trust.features import CursorFeatures, features
from pellucid.completion.trust.threshold_gate import GateVerdict, is_worth_showing, judge, measure, part_lengths
from pellucid.tokens import Token

BY_CALIBRATION = "calibration"

SHARE_SO_FAR = 0.35
"""The share of the whole suggestion that the beginning of an unfinished one is assumed to be.

A beginning should seldom be wrong, or hidden again by the whole. At 290 cursors in the standard library, at level normal, 149 of 163
were right and 2 were hidden again; with a share of 1 these were 167 of 194, and 19.
"""


@dataclass(frozen=True)
class Candidate:
    """A suggestion that the gate judges. The texts of the first and the last token may be cut.

    ``ending`` is the reason why it ends where it does; ``calibration`` is that of the model, if there is one, and ``offset`` is added to
    its logits.
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


class Gate(Protocol):
    """Decides how much of a suggestion is shown."""

    def __call__(self, candidate: Candidate, level: GateLevel) -> GateVerdict:
        """Return the verdict on a candidate at a level."""
        ...


def decide(candidate: Candidate, level: GateLevel) -> GateVerdict:
    """Return the verdict on a candidate: by its calibration if it has one, else by thresholds."""
    if candidate.calibration is not None:
        return judge_by_calibration(candidate, candidate.calibration, level)
    return judge(candidate.tokens, level)


def judge_by_calibration(candidate: Candidate, calibration: Calibration, level: GateLevel) -> GateVerdict:
    """Return the part with the largest expected gain: all of the suggestion, whole lines of it, or whole words of its first line.

    A part that is right with probability p and has the share s of the characters gains p * s - (1 - p) * cost. If no part gains anything,
    nothing is shown. The beginning of an unfinished suggestion counts as a part.
    """
    at, text, cost = candidate.cursor_features, candidate.text, calibration.costs[level]
    finished = candidate.ending != Ending.PART
    share = 1.0 if finished else SHARE_SO_FAR
    whole = calibration.probability(features(candidate.tokens, at, candidate.ending, whole=finished), candidate.offset)
    length, probability, gain = len(text), whole, whole * share - (1 - whole) * cost
    for shorter in part_lengths(candidate.tokens, text):
        if is_worth_showing(text[:shorter]):
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
