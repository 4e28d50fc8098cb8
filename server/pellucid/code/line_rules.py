"""Rules about lines of code that end an answer, on both sides of the wire."""

from __future__ import annotations

WORTH_CUTTING = 3
"""Minimum number of letters and digits in a significant overlap of answer and suffix."""

TELLING = 6

COMMON_LINES = frozenset({"return", "return;", "continue", "continue;", "finally:", "default:"})

CONTINUING = frozenset(["else", "elif", "elsif", "elseif", "except", "finally", "catch", "rescue", "ensure"])

MAX_LINE = 2_000
"""Maximum length of compared lines; lines of a minified file have millions of characters."""
