"""The end of an infill in an indented block at the end of a file, or above unindented code."""

from __future__ import annotations

import re

from pellucid.code.line_rules import CONTINUING
from pellucid.vocabulary.finish import FinishReason

_OPENS_BLOCK = re.compile(r":\s*(?:#.*)?\Z")
_BELONGS = re.compile(rf"[)\]}}]|(?:{'|'.join(sorted(CONTINUING))})\b")
"""A line at the margin that closes a bracket or continues a statement of the lines above."""

_WORD = re.compile(r"\w*")
_FENCE = re.compile(r"^\s*```", re.MULTILINE)


class MarginStop:
    """A stop before an unindented line, for a cursor in a block that a colon has opened.

    The line below the cursor must be unindented or missing. A small model seldom ends a function at
    the end of a file: tests or an explanation follow. Strings of several lines, fenced blocks, and
    answers that begin with a new line at the margin are not cut.
    """

    matched: str | None = None
    reason = FinishReason.STOP

    def __init__(self, prefix: str, suffix: str) -> None:
        self.ended = False
        *above, self._left = prefix.split("\n")
        right, *below = suffix.split("\n")
        if self._left.strip():
            above.append(self._left)
        elif right.strip():
            below.insert(0, self._left + right)
        at_margin = next((line for line in reversed(above) if line.strip() and not line[0].isspace()), "")
        is_at_end = not next((line for line in below if line.strip()), "")[:1].isspace()
        self._active = (
            bool(_OPENS_BLOCK.search(at_margin))
            and is_at_end
            and not _is_text_open(prefix)
            and len(_FENCE.findall(prefix)) % 2 == 0  # Outside of a fenced block.
        )
        self._needs_break = not self._left and bool(right.strip())
        self._answer = ""
        self._begin = 0  # The beginning of the answer's last line.
        self._end = 0  # The end of the text that belongs to the answer.
        self._given = 0

    def feed(self, text: str) -> str:
        self._answer += text
        while not self.ended and (end := self._answer.find("\n", self._begin)) >= 0:
            self._judge_line(end, whole=True)
            self._begin = end + 1
        if not self.ended:
            self._judge_line(len(self._answer), whole=False)
        return self._give()

    def finish(self) -> str:
        self._judge_line(len(self._answer), whole=True)
        if not self.ended:
            self._end = len(self._answer)
        return self._give()

    def _judge_line(self, end: int, *, whole: bool) -> None:
        """Keep the last line up to ``end``, or end the answer before the line.

        A blank or undecided line waits for further text.
        """
        line = self._answer[self._begin : end].rstrip("\r")
        if line.strip() and self._active:
            is_new = self._begin > 0 or not self._left.strip()
            indented = (self._left + line if self._begin == 0 else line)[0].isspace()
            if is_new and not self._answer[: self._begin].strip():
                self._active = indented
            elif is_new and not indented and not _is_text_open(self._answer[: self._begin]):
                if not whole and _WORD.fullmatch(line):
                    return
                self.ended = not _BELONGS.match(line)
        if self.ended:
            if self._needs_break:
                self._end = self._answer.index("\n", self._end) + 1
        elif not self._active:
            self._end = len(self._answer)
        elif line.strip():
            self._end = self._begin + len(line)

    def _give(self) -> str:
        text = self._answer[self._given : self._end]
        self._given = self._end
        return text


def _is_text_open(text: str) -> bool:
    return any(text.count(quotes) % 2 for quotes in ('"""', "'''"))
