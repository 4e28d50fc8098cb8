"""Join of an answer with the text right of the cursor, which a model may rewrite."""

from __future__ import annotations

import re
from itertools import takewhile

from pellucid.code.language_syntax import LineScan, scan_line
from pellucid.code.line_rules import MAX_LINE
from pellucid.completion.shaping.ending_reasons import Ending
from pellucid.completion.shaping.parsed_cursor import ParsedCursor

CLOSING_PUNCTUATION = re.compile(r"""(?:[\s)\]}>;:,"'`]|\*/|-->|</[\w:.-]+>)*""")
"""Closing text. An answer before only closing text needs no further check."""

_TOKEN = re.compile(r"\w+|[^\w\s]")


class RightOfCursor:
    def __init__(self, parsed: ParsedCursor) -> None:
        self._parsed = parsed
        self._left = parsed.left
        self._right = parsed.right[:MAX_LINE].rstrip()
        code = len(self._right) if parsed.in_text else parsed.scan_on(self._left + self._right).code - len(self._left)
        self.joins = CLOSING_PUNCTUATION.fullmatch(self._right[: max(code, 0)]) is None
        self._tokens = _TOKEN.findall(self._right)

    def join(self, answer: str, end: int, why: Ending, *, ended: bool) -> tuple[int, Ending]:
        """Return the end of a one-line answer before the text right of the cursor, and the reason.

        The end is 0 if the answer does not join. ``ended``: the model ended its answer at ``end``,
        not after the text right of the cursor.
        """
        if self._common(answer[end:]) and self._fits(answer[:end]):
            return end, why
        places = [match.start() for match in _TOKEN.finditer(answer[:end])]
        shared = {at: common for at in places if (common := self._common(answer[at:end]))}
        order = sorted(shared, key=lambda at: -shared[at])
        if ended:  # The answer is the missing text, unless it repeats the text's first token
            order = [*(at for at in order if not answer[at:end].strip()[len(self._tokens[0]) :]), end, *order]
        elif self._left.rstrip().endswith((";", "{", "}")) and answer[:end].rstrip().endswith((";", "}")):
            # The answer is a statement.
            order.append(end)
        at = next((at for at in order if self._fits(answer[:at])), None)
        if at is None:
            return 0, Ending.REWRITE
        return (end, why) if at == end else (at, Ending.SUFFIX)

    def space(self, answer: str) -> str:
        """Return the white space between the answer and the text right of the cursor."""
        return "" if not self.joins or self._right[:1].isspace() else answer[len(answer.rstrip()) :]

    def _common(self, text: str) -> int:
        """Count the first tokens shared with the text right of the cursor."""
        pairs = zip((match.group() for match in _TOKEN.finditer(text)), self._tokens, strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    def _fits(self, answer: str) -> bool:
        """Return whether the answer opens no additional bracket or string and joins no words."""
        words = answer[-1:], self._right[:1]
        if all(map(_is_word, words)) and not _is_word(self._left[-1:]):
            return False
        return self._open(self._left + answer + self._right) <= self._open(self._left + self._right)

    def _open(self, line: str) -> int:
        """Count the brackets without a partner, plus an open string or comment."""
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
