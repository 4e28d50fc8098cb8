"""Rules for the end of an answer: stop strings, a small indentation, a time limit.

A rule takes the answer in pieces and returns the certain text of the answer, regardless of the
pieces' lengths. ``suffix_stop`` has the rule for infills.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from pellucid.vocabulary.finish import FinishReason
from pellucid.vocabulary.token import Token


class EndingRule(Protocol):
    """A rule for the end of an answer; ``matched`` is the stop string, if any."""

    ended: bool
    matched: str | None

    @property
    def reason(self) -> FinishReason: ...

    def feed(self, text: str) -> str:
        """Take the next piece, and return the certain text of the answer."""
        ...

    def finish(self) -> str:
        """Return the held-back text at the end of the answer."""
        ...


class StopGate:
    """A filter for tokens before the end of the answer; cuts the last token's text.

    At the end ``reason`` is set, and ``stop`` after a stop string. The gate closes after ``limit``
    tokens.
    """

    def __init__(self, endings: Iterable[EndingRule]) -> None:
        self.limit: int | None = None
        self.reason: FinishReason | None = None
        self.stop: str | None = None
        self._endings = tuple(endings)
        self._waiting: deque[Token] = deque()
        self._fed = 0
        self._sure = 0  # Characters of the waiting tokens that belong to the answer.

    def feed(self, tokens: Iterable[Token]) -> list[Token]:
        out: list[Token] = []
        for token in tokens:
            if self.reason is not None:
                break
            self._fed += 1
            self._waiting.append(token)
            at_limit = self._fed == self.limit
            self._pass(token.text, final=at_limit)
            if at_limit and self.reason is None:
                self.reason = FinishReason.LENGTH
            out += self._release() if self.reason is None else self._close()
        return out

    def finish(self) -> list[Token]:
        if self.reason is None:
            self._pass("", final=True)
        return self._close()

    def _pass(self, text: str, *, final: bool) -> None:
        for ending in self._endings:
            text = ending.feed(text)
            if ending.ended:
                self.reason, self.stop, final = ending.reason, ending.matched, True
            elif final:
                text += ending.finish()
        self._sure += len(text)

    def _release(self) -> list[Token]:
        out = []
        while self._waiting and len(self._waiting[0].text) <= self._sure:
            token = self._waiting.popleft()
            self._sure -= len(token.text)
            out.append(token)
        return out

    def _close(self) -> list[Token]:
        out = self._release()
        if self._waiting and self._sure:
            token = self._waiting[0]
            out.append(replace(token, text=token.text[: self._sure]))
        self._waiting.clear()
        self._sure = 0
        return out


class StopStrings:
    reason = FinishReason.STOP

    def __init__(self, stops: Sequence[str]) -> None:
        self.ended = False
        self.matched: str | None = None
        self._stops = [stop for stop in stops if stop]
        self._kept = ""

    def feed(self, text: str) -> str:
        text = self._kept + text
        found = [(text.find(stop) + len(stop), text.find(stop), stop) for stop in self._stops if stop in text]
        if found:
            _, begin, self.matched = min(found)
            self.ended = True
            self._kept = ""
            return text[:begin]
        begun = max((overlap(text, stop[:-1]) for stop in self._stops), default=0)
        self._kept = text[len(text) - begun :]
        return text[: len(text) - begun]

    def finish(self) -> str:
        text, self._kept = self._kept, ""
        return text


class TimeLimit:
    """The end of an answer with a line end ``seconds`` after the first text."""

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
    """The end of an answer before a line with fewer than ``least`` spaces or tabs.

    Blank lines and the first line do not count. A line end and the following blanks are held back
    until the next character shows the line's indentation.
    """

    matched: str | None = None
    reason = FinishReason.LENGTH

    def __init__(self, least: int) -> None:
        self.ended = False
        self._least = least
        self._kept = ""
        self._blanks: int | None = None  # Since the last line end; None on the first line and after the indentation.

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
            if self._blanks is None and character != "\r":  # A carriage return may be half of a line end.
                sure += self.finish()
        return sure

    def finish(self) -> str:
        kept, self._kept = self._kept, ""
        return kept


def overlap(text: str, start: str) -> int:
    """Return the length of the longest end of ``text`` that is a beginning of ``start``."""
    return next((size for size in range(min(len(text), len(start)), 0, -1) if text.endswith(start[:size])), 0)
