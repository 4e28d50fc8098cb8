"""The gate: by how probable it is that a suggestion is right, where the model was calibrated, else by thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pellucid.completion.settings import GateLevel
from pellucid.completion.suggestion import DocumentCursor, truncate
from pellucid.completion.trust.calibration import Calibration
from pellucid.completion.trust.features import CursorFeatures, features
from pellucid.completion.trust.threshold_gate import GateVerdict, is_worth_showing, judge, measure, parts
from pellucid.tokens import Token

BY_CALIBRATION = "calibration"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A suggestion that may be shown: its tokens, of which the first may be cut at its beginning and the last at its end.

    ``ending`` says why it ends there, ``calibration`` what is known of such suggestions, if anything.
    """

    cursor: DocumentCursor
    tokens: tuple[Token, ...]
    ending: str
    calibration: Calibration | None = None

    @property
    def text(self) -> str:
        """What its tokens join to."""
        return "".join(token.text for token in self.tokens)


class Gate(Protocol):
    """What decides about a suggestion."""

    def __call__(self, candidate: Candidate, level: GateLevel) -> GateVerdict:
        """How much of it is shown."""
        ...


def decide(candidate: Candidate, level: GateLevel) -> GateVerdict:
    """How much of a suggestion is shown at a level."""
    if candidate.calibration is not None:
        return weigh(candidate, candidate.calibration, level)
    return judge(candidate.tokens, level)


def weigh(candidate: Candidate, calibration: Calibration, level: GateLevel) -> GateVerdict:
    """The longest part that is worth showing: all of it, whole lines of it, or whole words of its first line.

    Worth showing is what gains more when it is right than it costs when it is wrong: p - (1 - p) * cost > 0.
    """
    least = calibration.threshold(level)
    at = CursorFeatures.of(candidate.cursor)
    text = candidate.text
    sure = calibration.probability(features(candidate.tokens, at, candidate.ending, whole=True))
    values, thresholds = measure(candidate.tokens) | {"right": sure}, {"right": least}
    if sure > least:
        why = f"It is right with a probability of {sure:.2f}, above {least:.2f} of the level {level}."
        return GateVerdict(len(text), why, values, thresholds, BY_CALIBRATION)
    why = f"It is right with a probability of {sure:.2f}, not above {least:.2f} of the level {level}"
    for length in parts(candidate.tokens, text):
        if not is_worth_showing(text[:length]):
            continue
        part = calibration.probability(features(truncate(candidate.tokens, length), at, candidate.ending, whole=False))
        if part > least:
            return GateVerdict(length, f"{why}; what stands before that is so with {part:.2f}.", values, thresholds, BY_CALIBRATION)
    return GateVerdict(0, f"{why}.", values, thresholds, BY_CALIBRATION)
