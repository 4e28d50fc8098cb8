"""Reader of a growing answer: whole lines up to the closing fence, as in the document."""

from __future__ import annotations

import re
from collections.abc import Container

from pellucid.code.language_syntax import margin, may_be_prose
from pellucid.completion.edits.by_instruction.selected_lines import Indentation, SelectedLines
from pellucid.vocabulary.token import Token

_SENTENCE = re.compile(r"[A-Z][\w'\u2019]*(?:,? [\w'\u2019\-]+){3,}.*[.:!?]\Z")
_FENCE_NAME = re.compile(r"[\w+#.-]+")
_CODE = re.compile(r"[=(){}\[\];<>#@\\/|&`\"]")


class AnswerReader:
    """The lines of an answer so far. ``closed``: the closing fence was read.

    ``is_prose``: the answer begins with a sentence instead of code. ``begun``: text before the
    first token.
    """

    def __init__(self, selected: SelectedLines, fence: str, language: str, begun: str = "") -> None:
        self.lines: list[str] = []
        self.closed = False
        self.is_prose = False
        self._indentation = Indentation(selected)
        self._fence = fence
        self._margin: int | None = None
        self._inner: int | None = None  # Spaces before a fence that is open inside the answer
        self._text = begun
        self._at = 0
        self._blank: list[tuple[int, int]] = []
        self._spans: list[tuple[int, int]] = []  # Range of each line in the text of all tokens
        self._tokens: list[tuple[int, Token]] = []
        self._length = len(begun)
        self._may_be_prose = may_be_prose(language) or any(map(_is_sentence, selected.lines))

    @property
    def all_tokens(self) -> list[Token]:
        return [token for _, token in self._tokens]

    @property
    def repeats(self) -> bool:
        """True if the last two lines are equal."""
        return len(self.lines) > 1 and self.lines[-1] == self.lines[-2]

    def feed(self, token: Token) -> list[str]:
        """Take a token and return the completed lines.

        Blank lines are returned together with the next line with text.
        """
        self._tokens.append((self._length, token))
        self._length += len(token.text)
        self._text += token.text
        found: list[str] = []
        while "\n" in self._text and not self.closed and not self.is_prose:
            line, _, self._text = self._text.partition("\n")
            found += self._take(line.rstrip("\r"), len(line) + 1)
        return found

    def finish(self) -> list[str]:
        """Take the last line of an answer that ended without a fence."""
        line, self._text = self._text, ""
        return [] if self.closed or self.is_prose or not line.strip() else self._take(line, len(line))

    def remove(self, numbers: Container[int]) -> None:
        kept = [number for number in range(len(self.lines)) if number not in numbers]
        self.lines, self._spans = [self.lines[number] for number in kept], [self._spans[number] for number in kept]

    def tokens(self, begin: int, end: int) -> tuple[Token, ...]:
        """Return the tokens of the lines ``begin`` to ``end``, including shared tokens."""
        if begin == end:
            return ()
        start, stop = self._spans[begin][0], self._spans[end - 1][1]
        return tuple(token for at, token in self._tokens if at < stop and max(at + len(token.text), at + 1) > start)

    def _take(self, line: str, length: int) -> list[str]:
        span = (self._at, self._at + length)
        self._at += length
        if line.strip().startswith(self._fence) and self._is_end(line):
            return []
        if not line.strip():
            if self.lines:  # Blank lines at the beginning belong to the document
                self._blank.append(span)
            return []
        if self._margin is None:
            self._margin = len(margin(line))
        if not self.lines and not self._may_be_prose and _is_sentence(line):
            self.is_prose = True
            return []
        found = [*[""] * len(self._blank), self._indentation.restore(line)]
        self._spans += [*self._blank, span]
        self._blank = []
        self.lines += found
        return found

    def _is_end(self, line: str) -> bool:
        """Return whether a fence closes the answer or repeats the opening, so is not text."""
        column, name = len(margin(line)), line.strip().lstrip("`")
        if name and _FENCE_NAME.fullmatch(name) is None:
            return False
        if self._inner is not None and (name or column >= self._inner):
            if not name and column == self._inner:
                self._inner = None
            return False
        if not name and column <= (self._margin or 0):
            self.closed = True
            return True
        if name and not self.lines and not self._may_be_prose:
            return True
        self._inner = column
        return False


def _is_sentence(line: str) -> bool:
    text = line.strip()
    return _SENTENCE.match(text) is not None and _CODE.search(text) is None
