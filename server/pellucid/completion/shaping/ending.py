"""Why a suggestion ends where it ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Ending(StrEnum):
    """Why a suggestion ends where it ends, or why there is none."""

    LINE = "line"
    """The line is complete, and a line was wanted."""
    SCOPE = "scope"
    """The block, statement, element or paragraph is complete."""
    SUFFIX = "suffix"
    """What follows stands below or right of the cursor already."""
    ABOVE = "above"
    """It says the line above the cursor once more."""
    REPETITION = "repetition"
    """The model began to repeat itself."""
    BLANK = "blank"
    """There is nothing but white space."""
    LIMIT = "limit"
    """It has as many lines as a suggestion may have."""
    TIME = "time"
    """Time was up; these are the lines that were whole."""
    STOP = "stop"
    """The model had no more to say."""


@dataclass(frozen=True, slots=True)
class ScopeEnd:
    """Where a line ends a suggestion: after ``at`` of its characters, and why."""

    at: int
    why: Ending
