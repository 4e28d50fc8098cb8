"""Simulates a user who rewrites lines within real files: suitable places, and keystrokes."""

from __future__ import annotations

import random
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from common.stdlib_cursors import code_rows, modules, source

PACE = (1 / 8, 1 / 4)
"""Seconds between two keystrokes."""

LENGTHS = (12, 36)
"""Characters of a line to write, without the indentation."""

FAR = 120
"""Minimum lines between the place of writing and the target of a jump."""

MIN_LINES = 400
"""Minimum lines of a file."""

ABOVE = range(8, 30)
"""Lines between the cursor and the change above."""

SAMPLED = (4, 8)
"""Numbers of typed characters before a pause for a suggestion."""

REWRITTEN = 2
"""Number of retyped characters in the middle of a line."""


class Kind(StrEnum):
    """The position of a keystroke."""

    APPEND = "append on a line"
    NEW_LINE = "new line"
    MID_LINE = "mid-line edit"
    ABOVE = "edit above the cursor"
    JUMP = "jump far away"
    OTHER_FILE = "another file"


@dataclass(frozen=True, slots=True)
class Keystroke:
    """The text on both sides of the cursor after a keystroke.

    After a ``sampled`` keystroke the user waits for a suggestion.
    """

    kind: Kind
    before: str
    after: str
    sampled: bool


class Buffer:
    """A text with a cursor."""

    def __init__(self, lines: Sequence[str], row: int, column: int) -> None:
        self.lines = list(lines)
        self.row = row
        self.column = column

    def type(self, text: str) -> None:
        line = self.lines[self.row]
        self.lines[self.row : self.row + 1] = (line[: self.column] + text + line[self.column :]).split("\n")
        self.row += text.count("\n")
        self.column = len(text.rpartition("\n")[2]) + (0 if "\n" in text else self.column)

    def delete(self, count: int) -> None:
        """Delete characters to the right of the cursor."""
        line = self.lines[self.row]
        self.lines[self.row] = line[: self.column] + line[self.column + count :]

    def go(self, row: int, column: int | None = None) -> None:
        """Go to a column, or to the end of the line."""
        self.row = row
        self.column = len(self.lines[row]) if column is None else column

    def insert_line(self, row: int, line: str) -> None:
        """Insert a line above the cursor, and keep the cursor at the same text."""
        assert row <= self.row
        self.lines.insert(row, line)
        self.row += 1

    def seen(self, kind: Kind, *, sampled: bool) -> Keystroke:
        line = self.lines[self.row]
        before = "\n".join([*self.lines[: self.row], line[: self.column]])
        after = "\n".join([line[self.column :], *self.lines[self.row + 1 :]])
        return Keystroke(kind, before, after, sampled)


def visit(lines: Sequence[str], home: int, count: int, dice: random.Random) -> Iterator[Keystroke]:
    """Open a file, rewrite ``count`` lines from ``home`` on, and change text above, within and far
    away.
    """
    script = lines[home : home + count]
    buffer = Buffer([*lines[:home], *lines[home + count :]], 0, 0)
    buffer.go(home - 1)
    for number, line in enumerate(script):
        text = line.strip()
        buffer.type("\n" + indentation(line))
        yield buffer.seen(Kind.NEW_LINE if number else Kind.OTHER_FILE, sampled=True)
        if number:
            buffer.insert_line(max(buffer.row - dice.choice(ABOVE), 0), f"# checked {dice.randrange(1000)}")
        for column, character in enumerate(text):
            buffer.type(character)
            changed = number > 0 and column == 0
            yield buffer.seen(Kind.ABOVE if changed else Kind.APPEND, sampled=changed or column in SAMPLED)
    yield from _rewrite(buffer, script[-1])
    yield from _jump(buffer, dice)


def _rewrite(buffer: Buffer, line: str) -> Iterator[Keystroke]:
    """Type some characters in the middle of the cursor's line again."""
    indent = len(indentation(line))
    middle = indent + (len(line.rstrip()) - indent) // 2
    buffer.go(buffer.row, middle)
    buffer.delete(REWRITTEN)
    for character in line[middle : middle + REWRITTEN]:
        buffer.type(character)
        yield buffer.seen(Kind.MID_LINE, sampled=True)


def _jump(buffer: Buffer, dice: random.Random) -> Iterator[Keystroke]:
    """Begin a line below a distant line."""
    far = [
        row for row, line in enumerate(buffer.lines) if abs(row - buffer.row) >= FAR and len(line.strip()) >= LENGTHS[0]
    ]
    buffer.go(dice.choice(far))
    buffer.type("\n" + indentation(buffer.lines[buffer.row]))
    yield buffer.seen(Kind.JUMP, sampled=True)


def indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def files(count: int, written: int, dice: random.Random) -> list[Path]:
    """Return some long ASCII files with ``written`` lines to write."""
    found: list[Path] = []
    for path in dice.sample(paths := modules("report"), len(paths)):
        fits = source(path).count("\n") >= MIN_LINES - 1 and source(path).isascii()
        if fits and homes(path, written):
            found.append(path)
        if len(found) == count:
            break
    return found


def homes(path: Path, written: int) -> list[int]:
    """Return the suitable first lines for writing, see :func:`runs`."""
    lines = source(path).split("\n")
    return runs(lines, {lines[row] for row in code_rows(path)}, written)


def runs(lines: Sequence[str], code: Container[str], written: int) -> list[int]:
    """Return the first lines of runs of code near the middle of the file."""
    fitting = [line in code and LENGTHS[0] <= len(line.strip()) <= LENGTHS[1] for line in lines]
    return [row for row in range(len(lines) // 4, 3 * len(lines) // 4) if all(fitting[row : row + written])]
