"""Reasons why a document's edits were suggested or hidden, for the last request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from pellucid.completion.edits.candidate import Candidate
from pellucid.errors import PellucidError

UNFINISHED = "The request was cancelled, or is not finished: a change of the document or another request replaces it."


class EditOutcome(StrEnum):
    SHOWN = "shown"
    HIDDEN = "hidden"
    DISMISSED = "dismissed"
    UNREAD = "unread"
    """There are too many changes, or the change is too long."""


@dataclass(frozen=True, slots=True)
class JudgedChange:
    """A change, its outcome and the reason; numbers are None for unread changes."""

    change: Candidate
    outcome: EditOutcome
    reason: str
    log_odds: float | None = None
    probability: float | None = None


@dataclass(slots=True)
class EditsExplanation:
    """Why the changes of a request were suggested or not. ``reason``: a sentence about all."""

    least: float
    reason: str = UNFINISHED
    changes: list[JudgedChange] = field(default_factory=list)

    def judge(self, change: Candidate, log_odds: float, probability: float) -> bool:
        """Add a read change. Return whether the change is probable enough."""
        shown = probability >= self.least
        digits = int(f"{probability:.0%}" == f"{self.least:.0%}")  # Else 50 % would not be 50 % or more.
        found, least = f"{probability:.{digits}%}", f"{self.least:.{digits}%}"
        reason = f"It is right with a probability of {found}; at this level {least} or more is required."
        reason = " ".join(filter(None, (change.evidence.sentence, reason)))
        outcome = EditOutcome.SHOWN if shown else EditOutcome.HIDDEN
        self.changes.append(JudgedChange(change, outcome, reason, log_odds, probability))
        return shown

    def skip(self, change: Candidate, outcome: EditOutcome, reason: str) -> None:
        self.changes.append(JudgedChange(change, outcome, reason))

    @contextmanager
    def ending(self, nothing: str) -> Iterator[None]:
        """End the request after a block. ``nothing`` is the reason without changes."""
        try:
            yield
        except PellucidError as error:
            self.reason = str(error)
            raise
        self.reason = f"{self._count(EditOutcome.SHOWN)} of {len(self.changes)} changes found are suggested."
        if not self.changes:
            self.reason = nothing
        elif unread := self._count(EditOutcome.UNREAD):
            reasons = dict.fromkeys(one.reason for one in self.changes if one.outcome is EditOutcome.UNREAD)
            self.reason += f" Not read: {unread}. {' '.join(reasons)}"

    def _count(self, outcome: EditOutcome) -> int:
        return sum(one.outcome is outcome for one in self.changes)
