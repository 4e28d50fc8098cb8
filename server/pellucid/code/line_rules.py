"""Rules for the end of an answer: whether a line or an overlap is significant.

``text`` ends an answer on the server, ``completion`` chooses what an editor shows: both ask here.
"""

from __future__ import annotations

CONTINUING = frozenset(["else", "elif", "elsif", "elseif", "except", "finally", "catch", "rescue", "ensure"])

TELLING = 6
"""Minimum number of letters and digits in a telling line."""

MAX_LINE = 2_000
"""Maximum length of compared lines; lines of a minified file have millions of characters."""

_COMMON_LINES = frozenset({"return", "return;", "continue", "continue;", "finally:", "default:"})


def letters(text: str) -> int:
    """Count letters and digits."""
    return sum(map(str.isalnum, text))


def is_telling(line: str) -> bool:
    """Return whether an equal line is a repetition rather than a coincidence."""
    return letters(line) >= TELLING and line.strip() not in _COMMON_LINES


def is_worth_cutting(overlap: str) -> bool:
    """Return whether an overlap of answer and suffix is a repetition."""
    return letters(overlap) >= 3
