"""Ends the infill of an indented block where code that is not indented would follow."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pellucid.tokens import FinishReason

WINDOW = 8_000
"""Characters before and after the cursor in which the nearest lines are looked for."""

_OPENS = re.compile(r"[:({\[]\s*\Z")
_CONTINUES = re.compile(
    r"[)\]}]|</|#(?:if|el|endif)|\w+:\s*\Z|(?:else|elif|elsif|elseif|except|finally|catch|rescue|ensure|end|fi|done|esac)\b"
)
"""Matches a line at the margin that belongs to what is above it: it closes or continues a block, or is a label."""

_UNDECIDED = re.compile(r"\w*\s*:?\s*|#\w{0,4}|<")
"""Matches the beginning of a line of which the next characters tell whether it belongs to what is above it."""


class MarginStop:
    """Ends an infill before a line at the margin, if the cursor is in an indented block and nothing that is indented is below it.

    A small model seldom ends a function at the end of a file: it goes on with tests, or explains the code. Lines at the margin that
    close or continue a block belong to it. An answer whose first line is at the margin is not ended.
    """

    matched: str | None = None
    reason = FinishReason.STOP

    def __init__(self, prefix: str, suffix: str) -> None:
        self.ended = False
        *above, left = prefix[-WINDOW:].split("\n")
        right, *below = suffix[:WINDOW].split("\n")
        if left.strip():
            above.append(left)
        elif right.strip():
            below.insert(0, left + right)
        last, following = _first_line(reversed(above)), _first_line(below)
        in_block = _is_indented(left) or _is_indented(last) or _OPENS.search(last) is not None
        self._active = in_block and not _is_indented(following)
        self._needs_break = not left and bool(right.strip())
        self._is_first = not left.strip()  # the next line that is not blank is the answer's first
        self._line = left  # the last line, as far as it is needed
        self._decided = not self._is_first
        self._kept = ""

    def feed(self, text: str) -> str:
        sure = ""
        for character in text:
            if character == "\n":
                if not self._belongs(whole=True):
                    return sure + self._end()
                if self._line.strip():
                    sure += self._flush()
                self._line, self._decided = "", False
            elif not self._decided:
                self._line += character
                belongs = self._belongs(whole=False)
                if belongs is False:
                    return sure + self._end()
                self._decided = belongs is True
            self._kept += character
            if self._decided or not self._active:
                sure += self._flush()
        return sure

    def finish(self) -> str:
        if not self._belongs(whole=True):
            return self._end()
        kept, self._kept = self._kept, ""
        return kept

    def _belongs(self, *, whole: bool) -> bool | None:
        """Return whether the last line belongs to the answer; None if that is not known before the line is ``whole``."""
        line = self._line
        if self._decided or not self._active:
            return True
        if not line.strip():
            return True if whole else None
        if self._is_first:
            self._is_first = False
            self._active = _is_indented(line)
            return True
        if _is_indented(line):
            return True
        if not whole and _UNDECIDED.fullmatch(line):
            return None
        return _CONTINUES.match(line) is not None

    def _flush(self) -> str:
        """Return the text that was kept back, but for a carriage return, which may be half of a line end."""
        sure = self._kept.rstrip("\r")
        self._kept = self._kept[len(sure) :]
        return sure

    def _end(self) -> str:
        self.ended = True
        return "\n" if self._needs_break else ""


def _first_line(lines: Iterable[str]) -> str:
    """Return the first line that is not blank, or an empty one."""
    return next((line for line in lines if line.strip()), "")


def _is_indented(line: str) -> bool:
    return line.startswith((" ", "\t"))
