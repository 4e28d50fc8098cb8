"""Whether an answer says what stands around the cursor already, or says its own lines again and again."""

from __future__ import annotations

import re
from itertools import islice, takewhile

from pellucid.completion.shaping.language_syntax import Syntax, indentation, scan_line
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.text.stopping import COMMON_LINES, TELLING

BELOW = 3
"""Lines below the cursor that an answer is compared with."""

ABOVE = 20
"""Lines above the cursor that a block is compared with."""

LONGEST_BLOCK = 8
"""Lines of a block that is looked for a second time."""

WORTH_A_BLOCK = 20
"""Letters and digits of a block that is not written twice by chance."""

PATTERNS = ((10, 60, 3), (3, 9, 8))
"""Least and most characters of a pattern, and how often in a row it shows that the model goes round in circles."""

LONG_ENOUGH = 20
"""Characters of a line that may differ from another by one letter and still be the same."""

_SPACE = re.compile(r"\s+")


class Repetition:
    """Remembers the lines around the cursor and those of the answer, and finds what comes again."""

    def __init__(self, parsed: ParsedCursor) -> None:
        self._syntax: Syntax = parsed.syntax
        self._below = [(indentation(line), self._bare(line)) for line in _near(parsed)]
        if parsed.right.strip() and not parsed.left.strip():
            self._below.insert(0, (indentation(parsed.left + parsed.right), self._bare(parsed.right)))
        self._above = parsed.above
        self._lines = parsed.lines_above()[-ABOVE:]
        self._given = len(self._lines)

    def is_below(self, line: str) -> bool:
        """Whether a line stands below the cursor already: indented alike, and the same but for space, a comment or a slip."""
        bare = self._bare(line)
        if _weight(bare) < TELLING or line.strip() in COMMON_LINES:
            return False
        return any(indent == indentation(line) and (bare == other or _differs_by_a_letter(bare, other)) for indent, other in self._below)

    def may_be_below(self, line: str) -> bool:
        """The same of a line that the answer breaks off in."""
        bare = self._bare(line)
        return _weight(bare) >= TELLING and any(
            indent == indentation(line) and other.startswith(bare) for indent, other in self._below if other
        )

    def is_above(self, line: str) -> bool:
        """Whether the answer's first line says the line above the cursor again."""
        return (
            self._above is not None
            and line.rstrip() == self._above.rstrip()
            and _weight(line) >= TELLING
            and line.strip() not in COMMON_LINES
        )

    def add(self, line: str) -> int:
        """Remember a line of the answer; how many of its last lines, this one included, only repeat what was said."""
        self._lines.append(line.rstrip())
        own = len(self._lines) - self._given
        last = self._lines[-3:]
        if own >= 2 and len(last) == 3 and len(set(last)) == 1 and _weight(line):
            return 2
        for size in range(2, min(LONGEST_BLOCK, own, len(self._lines) // 2) + 1):
            block = self._lines[-size:]
            if block == self._lines[-2 * size : -size] and _weight("".join(block)) >= WORTH_A_BLOCK:
                return size
        return 0

    def _bare(self, line: str) -> str:
        """The line without its comment and white space."""
        found = scan_line(line, None, self._syntax)
        return _SPACE.sub("", line[: found.code]) or _SPACE.sub("", line)


def _near(parsed: ParsedCursor) -> list[str]:
    """The next lines below the cursor; beyond the end of its block, where others may be alike, only the first."""
    lines = list(islice(parsed.lines_below(), BELOW))
    inside = list(takewhile(lambda line: indentation(line) >= parsed.indent, lines))
    return inside or lines[:1]


def goes_in_circles(line: str) -> bool:
    """Whether a line ends with a pattern that has come again and again."""
    for shortest, longest, times in PATTERNS:
        for size in range(shortest, min(longest, len(line) // times) + 1):
            pattern = line[-size:]
            if line.endswith(pattern * times) and any(map(str.isalnum, pattern)):
                return True
    return False


def _weight(text: str) -> int:
    return sum(map(str.isalnum, text))


def _differs_by_a_letter(one: str, other: str) -> bool:
    """Whether one letter more makes one line the other. Another letter does not count: x and y are two names."""
    short, long = sorted((one, other), key=len)
    if len(short) < LONG_ENOUGH or len(long) != len(short) + 1:
        return False
    at = next((index for index, (here, there) in enumerate(zip(short, long, strict=False)) if here != there), len(short))
    return short[at:] == long[at + 1 :] and not long[at].isdigit()
