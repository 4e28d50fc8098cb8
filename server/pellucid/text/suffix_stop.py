"""The end of an infill before a repetition of the suffix."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pellucid.code.brackets import is_balanced, is_closed, opened_in
from pellucid.code.line_rules import MAX_LINE, is_telling, is_worth_cutting
from pellucid.text.stopping import overlap
from pellucid.vocabulary.finish import FinishReason

MAX_OVERLAP = 400
"""Maximum length of a compared suffix."""

MIN_WORD_END = 3
"""Minimum length of the end of a word that an answer may repeat."""

MAX_SPACE = 40
"""Maximum held-back white space: a model may generate white space without end."""


_WORD = re.compile(r"\w*")
_WORDS_AND_SIGNS = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class _SuffixLine:
    """A line of the suffix that an answer may repeat, and the following line.

    ``indented`` is the number of characters left of the cursor, or None for a line below.
    """

    text: str
    following: str | None
    indented: int | None = None


class SuffixStop:
    """A rule that ends an infill before a repetition of the suffix.

    The rest of the cursor's line is repeated by a line with the same end (spaces between words do
    not matter), unless the rest closes a bracket from the answer. Inside a word, a word of the
    answer's first line with the same end is a repetition, too.

    The next line of the suffix is repeated by an equal line, indentation included. A distinctive
    line, or a line that closes a bracket from outside of the answer, ends the answer at once; a
    different line does so if the following line is repeated too, or the answer ends. If the answer
    ends during a repetition, the shared part is cut.
    """

    matched: str | None = None
    reason = FinishReason.STOP

    def __init__(self, prefix: str, suffix: str) -> None:
        self.ended = False
        self._start = suffix[:MAX_OVERLAP]
        self._left = prefix[prefix.rfind("\n") + 1 :][-MAX_LINE:]
        right, _, below = suffix.partition("\n")
        self._right = right[:MAX_LINE].rstrip()
        self._right_parts = _WORDS_AND_SIGNS.findall(self._right)
        self._word_end = _split_word(self._left, self._right)
        below = below[: 4 * MAX_LINE]  # Enough for the two lines that count.
        first, second = ([line[:MAX_LINE].rstrip() for line in below.split("\n") if line.strip()] + [None, None])[:2]
        self._lines = [] if first is None else [_SuffixLine(first, second)]
        if self._right and not self._left.strip():
            self._lines.insert(0, _SuffixLine(self._left + self._right, first, len(self._left)))
        self._breaks = 1 + below[: len(below) - len(below.lstrip())].count(
            "\n"
        )  # Line ends from the cursor to the first line.
        self._answer = ""
        self._begin = 0
        self._given = 0
        self._floor = 0  # Text up to here certainly belongs to the answer.
        self._doubt: tuple[int, str | None] | None = None  # Where to cut if the next line is this text.

    def feed(self, text: str) -> str:
        self._answer += text
        while not self.ended and (end := self._answer.find("\n", self._begin)) >= 0:
            self._raise_floor(end)
            cut = self._cut(end)
            if cut is not None:
                self.ended = True
                return self._give(cut)
            self._begin = end + 1
        self._raise_floor(len(self._answer))
        return self._give(self._sure())

    def finish(self) -> str:
        if self._doubt is not None:
            doubted, following = self._doubt
            line = self._line(len(self._answer))
            if not line.strip() or (following is not None and following.startswith(line)):
                return self._give(doubted)
        cut = self._cut(len(self._answer))
        if cut is None and self._doubt is not None:  # The doubt is about the last line, without a next line.
            cut = self._doubt[0]
        return self._give(self._without_overlap() if cut is None else cut)

    def _give(self, end: int) -> str:
        assert end >= self._given, "text that is cut was kept back"
        text = self._answer[self._given : end]
        self._given = end
        return text

    def _raise_floor(self, end: int) -> None:
        """Release the white space at the beginning of the last line after MAX_SPACE characters."""
        line = self._line(end)
        space = len(line) - len(line.lstrip())
        if space > MAX_SPACE:
            self._floor = max(self._floor, self._begin + space - (len(self._left) if self._begin == 0 else 0))

    def _cut(self, end: int) -> int | None:
        """Return where to cut if the last line, complete up to ``end``, repeats the suffix."""
        cut = self._cut_right(end)
        if cut is not None:
            return cut
        line = self._line(end).rstrip()
        if not line:
            return None
        if self._doubt is not None:
            cut, following = self._doubt
            self._doubt = None
            if line == following:
                return cut
        for known in self._lines if self._is_whole() else ():
            if line == known.text:
                return self._cut_line(known)
        return None

    def _cut_right(self, end: int) -> int | None:
        """Return where to cut a line that ends with the text right of the cursor."""
        if not self._right_may_end():
            return None
        end = self._begin + len(self._answer[self._begin : end].rstrip())
        for right in (self._right, self._right.lstrip()):
            cut = end - len(right)
            if cut >= self._begin and self._answer.endswith(right, cut, end):
                return self._cut_repeated(cut, end, right)
        line = self._answer[self._begin : end]
        parts = list(_WORDS_AND_SIGNS.finditer(line))[-len(self._right_parts) :]
        if [part[0] for part in parts] == self._right_parts and is_worth_cutting(self._right):
            return self._cut_repeated(self._begin + parts[0].start(), end, self._right)
        if self._begin > 0 or not self._word_end:  # The cursor splits no word.
            return None
        found = re.search(rf"{re.escape(self._word_end)}\b", self._answer[:end])
        return None if found is None or not is_balanced(self._answer[: found.start()]) else found.start()

    def _cut_repeated(self, cut: int, end: int, right: str) -> int | None:
        """Return where to cut a line that repeats the text right of the cursor from ``cut`` on.

        The cut is at ``end`` if brackets are balanced only with the repeated text.
        """
        complete_without = is_balanced(self._left + self._answer[:cut] + self._right)
        complete_with = is_balanced(self._left + self._answer[:end] + self._right)
        if complete_with and not complete_without:
            return None if opened_in(self._answer[:cut], right) else end
        stays = opened_in(self._answer[:cut], right) and (complete_with or not complete_without)
        return None if stays else cut

    def _cut_line(self, known: _SuffixLine) -> int | None:
        cut = self._cut_before(known)
        text = known.text.lstrip()
        if is_closed(text):
            return None if opened_in(self._answer[: self._begin], text) else cut
        if is_telling(text):
            return cut
        self._doubt = cut, known.following
        return None

    def _cut_before(self, known: _SuffixLine) -> int:
        if self._begin == 0:
            return self._floor
        if known.indented is not None:
            return max(self._begin + known.indented, self._floor)
        above = self._answer[: self._begin]
        for _ in range(self._breaks):
            bare = above.rstrip(" \t\r")
            if not bare.endswith("\n"):
                break
            above = bare[:-1].removesuffix("\r")
        return max(len(above), self._floor)

    def _sure(self) -> int:
        kept = [len(self._answer) - overlap(self._answer, self._start), len(self._answer.rstrip("\r"))]
        if self._doubt is not None:
            kept.append(self._doubt[0])
        line = self._line(len(self._answer))
        is_space = not line.strip() and len(line) <= MAX_SPACE
        if self._is_whole() and any(
            known.text.startswith(line) or line.rstrip() == known.text or is_space for known in self._lines
        ):
            kept.append(len(self._answer[: self._begin].rstrip()))
        if self._right_may_end():
            line = self._answer[self._begin :]
            for text in (line, line.rstrip()):
                kept += [
                    self._begin + len(text) - overlap(text, right) for right in (self._right, self._right.lstrip())
                ]
            kept.append(self._begin + self._repeated_parts(line))
            if self._word_end and self._begin == 0:
                found = line.find(self._word_end)
                kept.append(found if found >= 0 else len(line) - overlap(line, self._word_end))
        return max(min(kept), self._given)

    def _repeated_parts(self, line: str) -> int:
        parts, right = list(_WORDS_AND_SIGNS.finditer(line)), self._right_parts
        for size in range(min(len(parts), len(right)), 0, -1):
            *whole, last = [part[0] for part in parts[-size:]]
            if whole == right[: size - 1] and right[size - 1].startswith(last):
                return parts[-size].start()
        return len(line)

    def _without_overlap(self) -> int:
        shared = self._start[: overlap(self._answer, self._start)]
        cut = len(self._answer) - len(shared)
        if not shared.strip():
            return cut if "\n" in shared or self._answer[:cut].endswith("\n") else len(self._answer)
        if opened_in(self._answer[:cut], shared.strip()):
            return len(self._answer)
        return cut if "\n" in shared or is_worth_cutting(shared) else len(self._answer)

    def _line(self, end: int) -> str:
        return (self._left if self._begin == 0 else "") + self._answer[self._begin : end]

    def _is_whole(self) -> bool:
        return self._begin > 0 or not self._left.strip()

    def _right_may_end(self) -> bool:
        """Return whether a last line can repeat the text right of the cursor as its end.

        If only white space is left of the cursor, the right text is repeated as a line, except for
        punctuation, which belongs after the inserted text.
        """
        if not self._right or not self._left:
            return False
        if self._left.strip():
            return True
        return self._begin == 0 and not (self._right[0].isspace() or self._right[0].isalnum() or self._right[0] == "_")


def _split_word(left: str, right: str) -> str:
    """Return the end of the word at the cursor; "" outside of a word, or for a short end."""
    begun = left[-1:].isalnum() or left.endswith("_")
    end = _WORD.match(right)
    return end[0] if begun and end is not None and len(end[0]) >= MIN_WORD_END else ""
