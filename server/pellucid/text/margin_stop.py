"""Ends the infill of an indented block at the end of a file, or above code that is not indented."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pellucid.text.stopping import CONTINUING
from pellucid.tokens import FinishReason

_OPENS_BLOCK = re.compile(r":\s*(?:#.*)?\Z")
_BELONGS = re.compile(rf"[)\]}}]|(?:{'|'.join(sorted(CONTINUING))})\b")
"""Matches a line at the margin that closes a bracket or continues a statement of the lines above
it.
"""

_WORD = re.compile(r"\w*")
_FENCE = re.compile(r"^\s*```", re.MULTILINE)


class MarginStop:
    """Ends an infill before a line at the margin, if the cursor is in a block that a colon has opened and the next line is not indented.

    A small model seldom ends a function at the end of a file: tests or an explanation follow.
    Nothing is ended inside a string of several lines or a fenced block, nor if the answer begins
    with a new line that is at the margin.
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
        is_at_end = not _first_line(below)[:1].isspace()
        self._active = (
            bool(_OPENS_BLOCK.search(at_margin))
            and is_at_end
            and not _is_text_open(prefix)
            and not _is_fence_open(prefix)
        )
        self._needs_break = not self._left and bool(right.strip())  # before the text that begins at the cursor
        self._answer = ""
        self._begin = 0  # where the answer's last line begins
        self._end = 0  # where the text ends that belongs to the answer
        self._given = 0  # characters of the answer that were returned

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
        """Keep the last line up to ``end``, or end the answer before it.

        Lines that are blank or undecided wait for what follows.
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
            self._end += self._line_break() if self._needs_break else 0
        elif not self._active:
            self._end = len(self._answer)
        elif line.strip():
            self._end = self._begin + len(line)

    def _line_break(self) -> int:
        """Return the length of the line break after the text that belongs to the answer."""
        return self._answer.index("\n", self._end) + 1 - self._end

    def _give(self) -> str:
        text = self._answer[self._given : self._end]
        self._given = self._end
        return text


def _first_line(lines: Iterable[str]) -> str:
    """Return the first line that is not blank, or an empty one."""
    return next((line for line in lines if line.strip()), "")


def _is_text_open(text: str) -> bool:
    """Return whether a string in three quotes is open at the end of a text."""
    return any(text.count(quotes) % 2 for quotes in ('"""', "'''"))


def _is_fence_open(text: str) -> bool:
    """Return whether a fenced block of Markdown is open at the end of a text."""
    return len(_FENCE.findall(text)) % 2 == 1
