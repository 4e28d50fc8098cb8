"""The lines around the cursor that a next-edit model may rewrite, and the answer's changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from pathlib import PurePosixPath

from pellucid.completion.edits.candidate import NEUTRAL, Candidate
from pellucid.completion.edits.edit_history import Edit, joined

WINDOW_LINES = 10
"""Lines to rewrite on either side of the cursor's line, as in the training of Sweep's models."""

MAX_WINDOW_CHARACTERS = 2_000
"""Maximum window size; longer windows have fewer lines.

With this limit and the limits below, a prompt has at most some 16,000 characters.
"""

FILE_LINES = 60
"""Lines read on either side of the cursor's line.

Sweep's models were trained with some 150, which take a CPU 20 seconds.
"""

FILE_STEP = 25
"""The read lines begin at a multiple of this number, so that they do not move with the cursor and
stay in the cache.
"""

MAX_FILE_CHARACTERS = 6_000

MAX_DIFF_LINES = 40

MAX_DIFF_CHARACTERS = 2_000
"""Maximum number of characters in a read edit, and in all read edits together."""

NEAR_LINES = 1
"""Changes with at most this many lines between are joined."""


@dataclass(frozen=True, slots=True)
class EditWindow:
    """The lines ``first`` to ``end`` (from 0, exclusive) to rewrite, and the model's context.

    ``path``: the document's name in prompts. The cursor is at character ``column`` of line
    ``line``. ``edits``: the last edits of all documents, oldest first.
    """

    uri: str
    path: str
    lines: tuple[str, ...]
    first: int
    end: int
    line: int
    column: int
    edits: tuple[Edit, ...] = ()

    @property
    def last_edit(self) -> Edit | None:
        """The last edit, if made in this document and still present."""
        edit = self.edits[-1] if self.edits else None
        return (
            edit
            if edit is not None and edit.uri == self.uri and self.lines[edit.first : edit.end] == edit.new
            else None
        )

    def recent(self, most: int) -> list[Edit]:
        """Return at most ``most`` last edits that are short enough, oldest first."""
        kept: list[Edit] = []
        characters = 0
        for edit in reversed(self.edits):
            size = len(joined((*edit.old, *edit.new)))
            if len(edit.old) + len(edit.new) > MAX_DIFF_LINES or size > MAX_DIFF_CHARACTERS:
                continue
            characters += size
            if len(kept) == most or characters > MAX_DIFF_CHARACTERS:
                break
            kept.append(edit)
        return kept[::-1]

    def around_cursor(self) -> tuple[str, str]:
        text, at = (
            joined(self.lines[self.first : self.end]),
            len(joined(self.lines[self.first : self.line])) + self.column,
        )
        return text[:at], text[at:]

    def before_last_edit(self) -> list[str]:
        """Return the window's lines before the last edit, if short and completely in the window."""
        lines, edit = list(self.lines[self.first : self.end]), self.last_edit
        if edit is not None and self.first <= edit.first and edit.end <= self.end and self.recent(1) == [edit]:
            lines[edit.first - self.first : edit.end - self.first] = edit.old
        return lines

    def surroundings(self) -> tuple[int, int]:
        """Return the first line to read around the window, and the line after the last."""
        first, end = _span(self.lines, self.line, FILE_LINES, MAX_FILE_CHARACTERS)
        return min(first + -first % FILE_STEP, self.first), max(end, self.end)

    def name_of(self, edit: Edit) -> str:
        return self.path if edit.uri == self.uri else PurePosixPath(edit.uri).name


def edit_window(uri: str, path: str, text: str, edits: Sequence[Edit], cursor: tuple[int, int]) -> EditWindow | None:
    """Return the window around a cursor (line and character, from 0).

    Return None if the text is blank, or the cursor's line is too long.
    """
    lines = text.split("\n")
    line, column = min(cursor[0], len(lines) - 1), cursor[1]
    # The text after the last line end is a line only with the cursor.
    if not lines[-1] and line < len(lines) - 1:
        lines.pop()
    if not text.strip() or len(lines[line]) > MAX_WINDOW_CHARACTERS:
        return None
    first, end = _span(lines, line, WINDOW_LINES, MAX_WINDOW_CHARACTERS)
    return EditWindow(uri, path, tuple(lines), first, end, line, min(column, len(lines[line])), tuple(edits))


def _span(lines: Sequence[str], line: int, around: int, characters: int) -> tuple[int, int]:
    """Return up to ``around`` lines on either side, shortened to ``characters``.

    The line itself is always included.
    """
    first, end = max(line - around, 0), min(line + around + 1, len(lines))
    size = sum(len(one) + 1 for one in lines[first:end])
    while size > characters and end - first > 1:
        if line - first > end - 1 - line:
            size -= len(lines[first]) + 1
            first += 1
        else:
            end -= 1
            size -= len(lines[end]) + 1
    return first, end


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A change, the answer's lines ``above``, and unchanged lines ``below`` to the next text.

    ``ends``: the window ends before a line with text.
    """

    change: Candidate
    above: tuple[str, ...]
    below: tuple[str, ...]
    ends: bool


def read_answer(window: EditWindow, begin: int, answer: str) -> list[Rewrite]:
    """Return the changes in an answer for line ``begin`` to the window's end.

    An answer that repeats the window has no changes. Blank lines at the end do not count, because
    models add and omit blank lines. A change that undoes the last edit is left out, even from the
    lines above later changes.
    """
    old = window.lines[begin : window.end]
    new = _without_blank_end(answer.replace("\r\n", "\n").split("\n"))
    if not new:
        return []
    new += old[len(_without_blank_end(old)) :]
    spans: list[tuple[int, int, int, int]] = []
    for kind, at, to, new_at, new_to in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind != "equal" and spans and at - spans[-1][1] <= NEAR_LINES:
            spans[-1] = (spans[-1][0], to, spans[-1][2], new_to)
        elif kind != "equal":
            spans.append((at, to, new_at, new_to))
    found: list[Rewrite] = []
    above: list[str] = []
    read = 0
    for (at, to, new_at, new_to), (limit, *_) in pairwise([*spans, (len(old), 0, 0, 0)]):
        change = Candidate(window.uri, begin + at, old[at:to], tuple(new[new_at:new_to]), NEUTRAL)
        follows = next((index + 1 for index in range(to, limit) if old[index].strip()), limit)
        ends = follows == len(old) and not any(map(str.strip, old[to:]))
        above += old[read:at]
        if _undoes(window, change):
            above += change.old
        else:
            found.append(Rewrite(change, tuple(above), old[to:follows], ends))
            above += change.new
        read = to
    return found


def _without_blank_end(lines: Sequence[str]) -> list[str]:
    return list(lines[: max((index + 1 for index, line in enumerate(lines) if line.strip()), default=0)])


def _undoes(window: EditWindow, change: Candidate) -> bool:
    """Return whether a change undoes the last edit, alone or with adjacent lines.

    Blank lines do not count.
    """
    edit = window.last_edit
    if edit is None:
        return False
    made = (*window.lines[: change.first], *change.new, *window.lines[change.first + len(change.old) :])
    if made == (*window.lines[: edit.first], *edit.old, *window.lines[edit.end :]):
        return True
    if not change.first <= edit.first <= edit.end <= change.first + len(change.old):
        return False
    before, after, old, new = (
        tuple(filter(str.strip, lines)) for lines in (edit.old, edit.new, change.old, change.new)
    )
    is_gone = not after or _times(after, new) < _times(after, old)
    if before:
        return is_gone and _times(before, new) > _times(before, old)
    return is_gone and bool(after) and len(new) <= len(old) - len(after)  # Otherwise the inserted lines were changed


def _times(lines: tuple[str, ...], text: tuple[str, ...]) -> int:
    return sum(text[at : at + len(lines)] == lines for at in range(len(text) - len(lines) + 1))
