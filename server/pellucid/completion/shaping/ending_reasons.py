"""Names the reasons why a suggestion ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Ending(StrEnum):
    """The reason why a suggestion ends where it does, or why there is none."""

    LINE = "line"
    """The line is complete, and only a line was wanted."""
    SCOPE = "scope"
    """The block, statement, element or paragraph is complete."""
    SUFFIX = "suffix"
    """The answer continues with text that already follows the cursor."""
    REWRITE = "rewrite"
    """The answer writes the rest of the line in other words, instead of what is missing."""
    ABOVE = "above"
    """The answer repeats the line above the cursor."""
    REPETITION = "repetition"
    """The model began to repeat itself."""
    BLANK = "blank"
    """The answer is only white space."""
    LIMIT = "limit"
    """The suggestion has the most lines, or the answer the most tokens, that are allowed."""
    TIME = "time"
    """The time budget ran out; the suggestion is the complete lines so far."""
    STOP = "stop"
    """The model ended its answer."""
    PART = "part"
    """The model has not finished: this is the beginning that is sure already."""


@dataclass(frozen=True, slots=True)
class ScopeEnd:
    """The end of a suggestion within a line: it keeps the line's first ``at`` characters."""

    at: int
    why: Ending
