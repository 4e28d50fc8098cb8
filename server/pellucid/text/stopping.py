"""Ends an answer: at a stop string, at too small an indentation, or when its time is over.

An ending is fed the text of an answer piece by piece and returns the text that is sure to belong to
it. The texts that it returns join to the same text however the pieces are cut. The gate holds
tokens back until all of their text is sure. ``suffix_stop`` has the ending of infills.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from pellucid.tokens import FinishReason, Token

WORTH_CUTTING = 3
"""Letters and digits that the end of an answer and the beginning of the suffix share by more than
chance.
"""

TELLING = 6
"""Letters and digits of a line that is not written twice by chance."""

COMMON_LINES = frozenset({"return", "return;", "continue", "continue;", "finally:", "default:"})
"""Longer lines that often follow one another in a program."""

CONTINUING = frozenset(["else", "elif", "elsif", "elseif", "except", "finally", "catch", "rescue", "ensure"])
"""Words that continue a compound statement."""

MAX_LINE = 2_000
"""Characters of a line around the cursor that are compared; those of a minified file have millions."""


class EndingRule(Protocol):
    """Decides where an answer ends.

    ``ended`` is set once it has; ``matched`` is the stop string that ended it, if one did.
    """

    ended: bool
    matched: str | None

    @property
    def reason(self) -> FinishReason:
        """The reason with which an answer ends here."""
        ...

    def feed(self, text: str) -> str:
        """Take the next piece, and return the text that is now sure to belong to the answer."""
        ...

    def finish(self) -> str:
        """Return the text that was kept back and belongs to the answer, now that no more follows."""
        ...


class StopGate:
    """Lets tokens through as far as all endings agree, and cuts the text of a token that is only partly in the answer.

    Once it has closed, ``reason`` is set, and ``stop`` if a stop string closed it. With ``limit``
    it closes after that many tokens.
    """

    def __init__(self, endings: Iterable[EndingRule]) -> None:
        self.limit: int | None = None
        self.reason: FinishReason | None = None
        self.stop: str | None = None
        self._endings = tuple(endings)
        self._waiting: deque[Token] = deque()
        self._fed = 0
        self._sure = 0  # characters of the waiting tokens that belong to the answer

    def feed(self, tokens: Iterable[Token]) -> list[Token]:
        """Take the next tokens, and return those that are now sure to belong to the answer, in order."""
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
        """Return the tokens that were kept back and belong to the answer, now that no more follow."""
        if self.reason is None:
            self._pass("", final=True)
        return self._close()

    def _pass(self, text: str, *, final: bool) -> None:
        """Send text through the endings in order.

        When one ends, or with ``final``, those behind it return what they kept back.
        """
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
    """Ends an answer before the stop string that is complete first."""

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
    """Ends an answer once it holds a line end and ``seconds`` have passed since its first text."""

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
    """Ends an answer before a line that begins with fewer than ``least`` spaces or tabs; blank lines and the first one do not count.

    A line end and the blanks after it are kept back until the line's first other character shows
    its indentation.
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


def overlap(text: str, start: str) -> int:
    """Return the largest number of characters at the end of ``text`` that are the beginning of ``start``."""
    return next((size for size in range(min(len(text), len(start)), 0, -1) if text.endswith(start[:size])), 0)
