"""Where an answer ends by the rules of llama.cpp's editors: a line that leaves the block, or too much time."""

from __future__ import annotations

from collections.abc import Callable

from pellucid.text.stopping import EndingRule
from pellucid.tokens import FinishReason


def rules(indent: int, seconds: float, clock: Callable[[], float]) -> list[EndingRule]:
    """The endings for ``n_indent`` (0 is off) and ``t_max_predict_ms`` (in seconds; 0 or less is off)."""
    endings: list[EndingRule] = []
    if seconds > 0:
        endings.append(TimeLimit(seconds, clock))
    if indent > 0:
        endings.append(LeastIndent(indent))
    return endings


class TimeLimit:
    """Ends an answer once it holds a line end and so many seconds have passed since its first text."""

    matched: str | None = None
    reason = FinishReason.LENGTH

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self.ended = False
        self._seconds = seconds
        self._clock = clock
        self._begun: float | None = None
        self._has_line_end = False

    def feed(self, text: str) -> str:
        now = self._clock()
        self._begun = now if self._begun is None else self._begun
        self._has_line_end = self._has_line_end or "\n" in text
        self.ended = self._has_line_end and now - self._begun >= self._seconds
        return text

    def finish(self) -> str:
        return ""


class LeastIndent:
    """Ends an answer before a line that begins with fewer spaces or tabs; blank lines and the first one do not count.

    A line end and the blanks after it are kept back until the line's first word shows where it stands.
    """

    matched: str | None = None
    reason = FinishReason.LENGTH

    def __init__(self, least: int) -> None:
        self.ended = False
        self._least = least
        self._kept = ""
        self._blanks: int | None = None  # since the last line end; None once the line has a word, and on the first line

    def feed(self, text: str) -> str:
        sure = ""
        for character in text:
            if character == "\n":
                self._blanks = 0
            elif self._blanks is not None and character in " \t":
                self._blanks += 1
            elif self._blanks is not None and character != "\r":
                if self._blanks < self._least:
                    self.ended = True
                    return sure
                self._blanks = None
            self._kept += character
            if self._blanks is None and character != "\r":  # a carriage return may be half of a line end
                sure += self.finish()
        return sure

    def finish(self) -> str:
        kept, self._kept = self._kept, ""
        return kept
