"""Reasons for the end of a suggestion."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Ending(StrEnum):
    LINE = "line"
    """The line is complete, and only a line was wanted."""
    SCOPE = "scope"
    """The block, statement, element or paragraph is complete."""
    SUFFIX = "suffix"
    """The answer continues with text right of or below the cursor."""
    BRACKET = "bracket"
    """The answer closes a bracket that is not open at the cursor."""
    REWRITE = "rewrite"
    """The answer rewrites the rest of the line in different words."""
    ABOVE = "above"
    """The answer repeats the line above the cursor."""
    REPETITION = "repetition"
    BLANK = "blank"
    """The answer is only white space."""
    LIMIT = "limit"
    """The maximum number of lines or tokens is reached."""
    TIME = "time"
    """The time budget ran out after the suggested lines."""
    STOP = "stop"
    """The model ended its answer."""
    PART = "part"
    """The model has not finished, but this beginning is final."""


@dataclass(frozen=True, slots=True)
class ScopeEnd:
    """End after the line's first ``at`` characters."""

    at: int
    why: Ending
