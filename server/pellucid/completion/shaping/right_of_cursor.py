"""Joins an answer with the text right of the cursor, which a model may write once more in other words."""

from __future__ import annotations

import re
from itertools import takewhile

from pellucid.completion.shaping.ending_reasons import Ending
from pellucid.completion.shaping.language_syntax import LineScan, scan_line
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.text.stopping import MAX_LINE

CLOSING_PUNCTUATION = re.compile(r"""(?:[\s)\]}>;:,"'`]|\*/|-->|</[\w:.-]+>)*""")
"""Text that closes what is open: an answer in front of it needs no further check."""

_TOKEN = re.compile(r"\w+|[^\w\s]")


class RightOfCursor:
    """The text right of the cursor, if it is more than closing punctuation or a comment."""

    def __init__(self, parsed: ParsedCursor) -> None:
        self._parsed = parsed
        self._left = parsed.left
        self._right = parsed.right[:MAX_LINE].rstrip()
        code = len(self._right) if parsed.in_text else parsed.scan_on(self._left + self._right).code - len(self._left)
        self.joins = CLOSING_PUNCTUATION.fullmatch(self._right[: max(code, 0)]) is None
        """Whether an answer has to be joined with it."""
        self._tokens = _TOKEN.findall(self._right)

    def join(self, answer: str, end: int, why: Ending, *, ended: bool) -> tuple[int, Ending]:
        """Return where an answer of one line that ends at ``end`` joins the text, and why it ends there; 0 if it does not join.

        ``ended``: the model ended its answer there. Otherwise it continued without writing the text
        right of the cursor.
        """
        if self._common(answer[end:]) and self._fits(answer[:end]):
            return end, why
        places = [match.start() for match in _TOKEN.finditer(answer[:end])]
        shared = {at: common for at in places if (common := self._common(answer[at:end]))}
        order = sorted(shared, key=lambda at: -shared[at])  # of equal ones the first
        if ended:  # the answer is the missing text, unless it repeats the first token of what follows
            order = [*(at for at in order if not answer[at:end].strip()[len(self._tokens[0]) :]), end, *order]
        elif self._is_statement(answer[:end]):
            order.append(end)
        at = next((at for at in order if self._fits(answer[:at])), None)
        if at is None:
            return 0, Ending.REWRITE
        return (end, why) if at == end else (at, Ending.SUFFIX)

    def space(self, answer: str) -> str:
        """Return the white space at the end of an answer that separates it from the text."""
        return "" if not self.joins or self._right[:1].isspace() else answer[len(answer.rstrip()) :]

    def _common(self, text: str) -> int:
        """Return how many tokens a text and the text right of the cursor begin with alike."""
        pairs = zip((match.group() for match in _TOKEN.finditer(text)), self._tokens, strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    def _is_statement(self, answer: str) -> bool:
        """Return whether the answer is a statement of its own in front of another one."""
        return self._left.rstrip().endswith((";", "{", "}")) and answer.rstrip().endswith((";", "}"))

    def _fits(self, answer: str) -> bool:
        """Return whether the line has no more open brackets and strings with the answer than without it, and no two words become one."""
        words = answer[-1:], self._right[:1]
        if all(map(_is_word, words)) and not _is_word(self._left[-1:]):
            return False
        return self._open(self._left + answer + self._right) <= self._open(self._left + self._right)

    def _open(self, line: str) -> int:
        """Return how many brackets of a line have no partner in it, and whether a string or comment does not end on it."""
        found: LineScan = scan_line(line, self._parsed.line_began_inside, self._parsed.syntax)
        opened: list[str] = []
        alone = 0
        for mark in found.marks:
            if mark.opens:
                opened.append(mark.closing)
            elif opened and mark.closing in (opened[-1], "/>"):
                opened.pop()
            else:
                alone += 1
        return alone + len(opened) + found.quoted + (found.inside is not None)


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"
