"""Lines of code with the scans of the lines."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pellucid.code.language_syntax import LineScan, Syntax, opens_block

_STRING = re.compile(r"""[rRuU]?(\"{1,3}|'{1,3})(?!["']).*\1""")


class ScannedLines:
    """``scans`` grows line by line, because a scan depends on the scan of the line above."""

    def __init__(self, texts: Sequence[str], syntax: Syntax) -> None:
        self.texts = texts
        self.scans: list[LineScan] = []
        self._syntax = syntax

    def opens(self, number: int) -> bool:
        return opens_block(self.texts[number], self.scans[number], self._syntax)

    def above(self, number: int) -> int | None:
        return next((index for index in range(number - 1, -1, -1) if self.texts[index].strip()), None)

    def skip_docstring(self, number: int | None) -> int | None:
        """Return the first line at or above ``number`` without a docstring or comment."""
        while number is not None and self._is_comment(number):
            while number > 0 and self.scans[number - 1].inside is not None:
                number -= 1
            number = self.above(number)
        return number

    def _is_comment(self, number: int) -> bool:
        """Return whether a line is a comment or docstring, or ends a comment or string."""
        line, found = self.texts[number], self.scans[number]
        text = line.strip()
        ends_text = found.left is not None and not line[found.left :].strip(" \t;,.)")
        return (
            not line[: found.code].strip() or ends_text or (self._syntax.colon and _STRING.fullmatch(text) is not None)
        )
