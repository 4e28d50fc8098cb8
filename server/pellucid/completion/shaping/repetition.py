"""Detection of answers that repeat the text around the cursor or their own lines."""

from __future__ import annotations

import re
from itertools import islice, takewhile

from pellucid.code.language_syntax import indentation, scan_line
from pellucid.code.line_rules import TELLING, is_telling, letters
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.system.common_prefix import common_prefix

LINES_BELOW = 3

LINES_ABOVE = 20

MAX_BLOCK = 8

DISTINCTIVE_BLOCK = 20
"""Minimum number of letters and digits in a block not repeated by chance."""

PATTERNS = ((10, 60, 3), (3, 9, 8))
"""Minimum and maximum length of a pattern, and number of repetitions in a loop."""

LONG_LINE = 20
"""Minimum length of a line that may lack one letter and still count as equal."""

_SPACE = re.compile(r"\s+")


class Repetition:
    def __init__(self, parsed: ParsedCursor) -> None:
        self._syntax = parsed.syntax
        self._below = [(indentation(line), self._bare(line)) for line in _lines_below(parsed)]
        if parsed.right.strip() and not parsed.left.strip():
            self._below.insert(0, (indentation(parsed.left + parsed.right), self._bare(parsed.right)))
        self._above = parsed.above
        self._lines = parsed.lines_above()[-LINES_ABOVE:]
        self._given = len(self._lines)

    def is_below(self, line: str) -> bool:
        """Return whether the line follows the cursor, except for space, a comment or a letter.

        The indentation must be equal.
        """
        bare = self._bare(line)
        return is_telling(bare) and any(
            indent == indentation(line) and (bare == other or _lacks_one_letter(bare, other))
            for indent, other in self._below
        )

    def may_be_below(self, line: str) -> bool:
        bare = self._bare(line)
        return letters(bare) >= TELLING and any(
            indent == indentation(line) and other.startswith(bare) for indent, other in self._below if other
        )

    def is_above(self, line: str) -> bool:
        return self._above is not None and line.rstrip() == self._above.rstrip() and is_telling(line)

    def may_be_above(self, line: str) -> bool:
        return self._above is not None and letters(line) >= TELLING and self._above.startswith(line.rstrip())

    def add(self, line: str) -> int:
        """Add a line of the answer. Return the number of last lines that repeat lines above."""
        self._lines.append(line.rstrip())
        own = len(self._lines) - self._given
        last = self._lines[-3:]
        if own >= 2 and len(last) == 3 and len(set(last)) == 1 and letters(line):
            return 2
        for size in range(2, min(MAX_BLOCK, own, len(self._lines) // 2) + 1):
            block = self._lines[-size:]
            if block == self._lines[-2 * size : -size] and letters("".join(block)) >= DISTINCTIVE_BLOCK:
                return size
        return 0

    def _bare(self, line: str) -> str:
        found = scan_line(line, None, self._syntax)
        return _SPACE.sub("", line[: found.code]) or _SPACE.sub("", line)


def _lines_below(parsed: ParsedCursor) -> list[str]:
    """Return the next lines below the cursor.

    Past the end of the block, return only the first line, because different blocks may be alike.
    """
    lines = list(islice(parsed.lines_below(), LINES_BELOW))
    inside = list(takewhile(lambda line: indentation(line) >= parsed.indent, lines))
    return inside or lines[:1]


def ends_in_loop(line: str) -> bool:
    for shortest, longest, times in PATTERNS:
        for size in range(shortest, min(longest, len(line) // times) + 1):
            pattern = line[-size:]
            if line.endswith(pattern * times) and any(map(str.isalnum, pattern)):
                return True
    return False


def _lacks_one_letter(one: str, other: str) -> bool:
    """Return whether one added letter makes the lines equal.

    A changed letter does not count: x and y are two names.
    """
    short, long = sorted((one, other), key=len)
    if len(short) < LONG_LINE or len(long) != len(short) + 1:
        return False
    at = common_prefix(short, long)
    return short[at:] == long[at + 1 :] and not long[at].isdigit()
