"""Reads a unified diff, as git writes it: its hunks with their old and new lines.

Opens no file: the diff itself has the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from pellucid.errors import InvalidRequestError

MAX_HUNKS = 500
"""Most hunks of a diff: each is read twice."""

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@ ?(.*)")
_NO_NEWLINE = "\\"


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of a hunk.

    ``kind`` is a space, ``-`` or ``+``; ``old`` and ``new`` are its numbers in the files that have
    it.
    """

    kind: str
    text: str
    old: int | None
    new: int | None


@dataclass(frozen=True, slots=True)
class Hunk:
    """A changed place of a file.

    ``section`` is the line that git names after the second ``@@``, such as the function around it.
    """

    file: str
    section: str
    lines: tuple[DiffLine, ...]

    @property
    def old(self) -> list[DiffLine]:
        """The lines before the change."""
        return [line for line in self.lines if line.kind != "+"]

    @property
    def new(self) -> list[DiffLine]:
        """The lines after the change."""
        return [line for line in self.lines if line.kind != "-"]


@dataclass(eq=False)
class _OpenHunk:
    """A hunk that still lacks ``old_left`` and ``new_left`` lines; ``old`` and ``new`` are the numbers of its next lines."""

    old: int
    old_left: int
    new: int
    new_left: int
    section: str
    lines: list[DiffLine] = field(default_factory=list)

    def is_complete(self) -> bool:
        """Return whether the hunk has all its lines."""
        return not (self.old_left or self.new_left)

    def add(self, line: str) -> bool:
        """Add a line; return False if it cannot belong to the hunk."""
        kind, text = line[:1] or " ", line[1:]  # editors strip the space of a blank context line
        if kind not in " -+" or (kind != "+" and not self.old_left) or (kind != "-" and not self.new_left):
            return False
        self.lines.append(DiffLine(kind, text, None if kind == "+" else self.old, None if kind == "-" else self.new))
        if kind != "+":
            self.old, self.old_left = self.old + 1, self.old_left - 1
        if kind != "-":
            self.new, self.new_left = self.new + 1, self.new_left - 1
        return True


def is_diff(text: str) -> bool:
    """Return whether a text is a diff: it has the header of a file, followed by that of a hunk."""
    lines = text.split("\n")
    return any(
        lines[at].startswith("--- ") and lines[at + 1].startswith("+++ ") and _HUNK.match(lines[at + 2]) is not None
        for at in range(len(lines) - 2)
    )


def parse_diff(text: str) -> list[Hunk]:
    """Return the hunks of a diff.

    Raises InvalidRequestError, which names the line, for a diff that is damaged or has no hunk.
    """
    found = list(_hunks(text.removesuffix("\n").split("\n")))
    if not found:
        raise InvalidRequestError(
            'This diff has no changed lines: paste the output of "git diff", from its line "---" on.'
        )
    if len(found) > MAX_HUNKS:
        raise InvalidRequestError(
            f"This diff has {len(found)} hunks, and {MAX_HUNKS} are read at most: paste a part of it."
        )
    return found


def _hunks(lines: list[str]) -> Iterator[Hunk]:
    old_name = name = ""
    hunk: _OpenHunk | None = None
    for number, line in enumerate(lines, 1):
        if hunk is not None and not hunk.is_complete():
            if not line.startswith(_NO_NEWLINE) and not hunk.add(line):
                raise _damaged(number)
            if hunk.is_complete():
                yield Hunk(name or old_name, hunk.section, tuple(hunk.lines))
        elif line.startswith("--- "):
            old_name = _name(line)
        elif line.startswith("+++ "):
            name = _name(line)
        elif (match := _HUNK.match(line)) is not None:
            old, old_count, new, new_count, section = match.groups()
            hunk = _OpenHunk(int(old), int(old_count or 1), int(new), int(new_count or 1), section.strip())
    if hunk is not None and not hunk.is_complete():
        raise _damaged(len(lines))


def _damaged(number: int) -> InvalidRequestError:
    return InvalidRequestError(
        f"Line {number} does not fit the line counts of its @@ header: paste the whole diff, unedited."
    )


def _name(line: str) -> str:
    """Return a file's name without git's prefix; empty for /dev/null, which stands for a file that does not exist."""
    name = line[4:].split("\t")[0].strip().strip('"')
    return "" if name == "/dev/null" else re.sub(r"^[abciow]/", "", name)
