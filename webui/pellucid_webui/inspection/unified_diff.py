"""Unified diffs in git's format: hunks with old and new lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from pellucid.errors import InvalidRequestError

MAX_HUNKS = 500
"""The model reads each hunk twice."""

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@ ?(.*)")
_NO_NEWLINE = "\\"


class ReadAs(StrEnum):
    """A way to read a text: AUTOMATIC reads a diff as a diff."""

    AUTOMATIC = "Automatic"
    TEXT = "Text"
    DIFF = "Diff"


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of a hunk; ``kind`` is a space, ``-`` or ``+``."""

    kind: str
    text: str
    old: int | None
    new: int | None


@dataclass(frozen=True, slots=True)
class Hunk:
    """A changed place; ``section`` follows the second ``@@``, such as a function's head."""

    file: str
    section: str
    lines: tuple[DiffLine, ...]

    @property
    def old(self) -> list[DiffLine]:
        return [line for line in self.lines if line.kind != "+"]

    @property
    def new(self) -> list[DiffLine]:
        return [line for line in self.lines if line.kind != "-"]


@dataclass(eq=False)
class _OpenHunk:
    """A hunk that still lacks ``old_left`` and ``new_left`` lines."""

    old: int
    old_left: int
    new: int
    new_left: int
    section: str
    lines: list[DiffLine] = field(default_factory=list)

    def is_complete(self) -> bool:
        return not (self.old_left or self.new_left)

    def add(self, line: str) -> bool:
        """Add a line. Return False if the line cannot belong to the hunk."""
        kind, text = line[:1] or " ", line[1:]  # Editors strip the space of a blank context line.
        if kind not in " -+" or (kind != "+" and not self.old_left) or (kind != "-" and not self.new_left):
            return False
        self.lines.append(DiffLine(kind, text, None if kind == "+" else self.old, None if kind == "-" else self.new))
        if kind != "+":
            self.old, self.old_left = self.old + 1, self.old_left - 1
        if kind != "-":
            self.new, self.new_left = self.new + 1, self.new_left - 1
        return True


def is_diff(text: str) -> bool:
    """Return whether a file's header precedes a hunk's header."""
    lines = text.split("\n")
    return any(
        lines[at].startswith("--- ") and lines[at + 1].startswith("+++ ") and _HUNK.match(lines[at + 2]) is not None
        for at in range(len(lines) - 2)
    )


def parse_diff(text: str) -> list[Hunk]:
    """Raise InvalidRequestError for a diff that is damaged, empty or too long."""
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
    """Return a file's name without git's prefix; empty for /dev/null."""
    name = line[4:].split("\t")[0].strip().strip('"')
    return "" if name == "/dev/null" else re.sub(r"^[abciow]/", "", name)
