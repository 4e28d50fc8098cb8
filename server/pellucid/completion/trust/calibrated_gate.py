"""Decides how much of a suggestion is shown: by its calibrated probability of being right or, without a calibration, by thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from pellucid.completion.settings import GateLevel
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.completion.suggestion import truncate
from pellucid.completion.trust.calibration import Calibration
from pellucid.completion.trust.features import CursorFeatures, features
from pellucid.completion.trust.threshold_gate import GateVerdict, is_worth_showing, judge, measure, part_lengths
from pellucid.tokens import Token

BY_CALIBRATION = "calibration"


@dataclass(frozen=True)
class Candidate:
    """A suggestion that the gate judges. The texts of the first and the last token may be cut.

    ``ending`` is the reason why it ends where it does; ``calibration`` is that of the model, if there is one.
    """

    parsed: ParsedCursor
    tokens: tuple[Token, ...]
    ending: str
    calibration: Calibration | None = None

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
    """Return the longest part that is worth showing: all of it, whole lines of it, or whole words of its first line.

    A part is worth showing if it gains more when it is right than it costs when it is wrong: p - (1 - p) * cost > 0.
    """
    least = calibration.threshold(level)
    at = candidate.cursor_features
    text = candidate.text
    probability = calibration.probability(features(candidate.tokens, at, candidate.ending, whole=True))
    values, thresholds = measure(candidate.tokens) | {"right": probability}, {"right": least}
    if probability > least:
        why = f"The probability that it is right is {probability:.2f}, above the {least:.2f} that level {level} requires."
        return GateVerdict(len(text), why, values, thresholds, BY_CALIBRATION)
    why = f"The probability that it is right is {probability:.2f}, not above the {least:.2f} that level {level} requires"
    for length in part_lengths(candidate.tokens, text):
        if not is_worth_showing(text[:length]):
            continue
        part = calibration.probability(features(truncate(candidate.tokens, length), at, candidate.ending, whole=False))
        if part > least:
            return GateVerdict(length, f"{why}; that of the shown part is {part:.2f}.", values, thresholds, BY_CALIBRATION)
    return GateVerdict(0, f"{why}.", values, thresholds, BY_CALIBRATION)
