"""Parser of the code around a cursor: open brackets, strings, comments and new blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from pellucid.code.language_syntax import LineScan, Syntax, find_syntax, indentation, opens_block, scan_line
from pellucid.code.line_rules import MAX_LINE
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.shaping.cursor_in_fence import find_fenced_block

_STRING = re.compile(r"""[rRuU]?(\"{1,3}|'{1,3})(?!["']).*\1""")


MAX_LINES_ABOVE = 400
"""Number of parsed lines above the cursor. Blocks are seldom longer."""

MAX_CHARACTERS_BELOW = 50_000

_DIRECTIVE = re.compile(r"\s*#|\s*\w+:\s*$")  # Preprocessor lines and labels of C are at the margin


class ScannedLines:
    """``scans`` grows line by line, because a scan depends on the scan of the line above."""

    def __init__(self, texts: Sequence[str], syntax: Syntax) -> None:
        self.texts = texts
        self.scans: list[LineScan] = []
        self._syntax = syntax

    def opens(self, number: int) -> bool:
        return opens_block(self.texts[number], self.scans[number], self._syntax)

    def above(self, number: int) -> int | None:
        return next((index for index in range(number - 1, -1, -1) if self.texts[index].strip()), None)

    def skip_docstring(self, number: int | None) -> int | None:
        """Return the first line at or above ``number`` without a docstring or comment."""
        while number is not None and self._is_comment(number):
            while number > 0 and self.scans[number - 1].inside is not None:
                number -= 1
            number = self.above(number)
        return number

    def _is_comment(self, number: int) -> bool:
        """Return whether a line is a comment or docstring, or ends a comment or string."""
        line, found = self.texts[number], self.scans[number]
        text = line.strip()
        ends_text = found.left is not None and not line[found.left :].strip(" \t;,.)")
        return (
            not line[: found.code].strip() or ends_text or (self._syntax.colon and _STRING.fullmatch(text) is not None)
        )


@dataclass(frozen=True, slots=True)
class Bracket:
    """An open bracket or element.

    ``closing``: the closing text. ``line``: the number of the bracket's line. ``last``: nothing
    follows on this line.
    """

    closing: str
    indent: int
    line: int
    last: bool


class ParsedCursor:
    """A cursor and the parsed code around the cursor.

    Parse a cursor once for each request and pass the result on. In a fenced block of Markdown,
    ``cursor`` is the cursor with the block as its file; ``document`` is the given cursor. With
    ``fences=False``, the whole document is read.
    """

    def __init__(self, document: DocumentCursor, *, fences: bool = True) -> None:
        self.document = document
        self.fenced_block = find_fenced_block(document) if fences else None
        self.cursor = document if self.fenced_block is None else self.fenced_block.cursor
        self.syntax: Syntax = find_syntax(self.cursor.language)
        self.left = self.cursor.left[-MAX_LINE:]
        self.right = self.cursor.right
        self.brackets: tuple[Bracket, ...] = ()
        lines = self.cursor.before.rsplit("\n", MAX_LINES_ABOVE)
        far = lines.pop(0) if len(lines) > MAX_LINES_ABOVE else ""  # Too far above for parsing.
        self.inside: str | None = _inside_after(far, self.syntax)
        self._lines = ScannedLines([line[-MAX_LINE:].rstrip("\r") for line in lines], self.syntax)
        self._starts: list[int] = []  # For each line, the number of the statement's first line
        self.line_began_inside: str | None = None
        """Closing text of the comment or string around the line's beginning, if any."""
        for number, line in enumerate(self._lines.texts):
            self._read(number, line)

    def _read(self, number: int, line: str) -> None:
        self.line_began_inside = self.inside
        began_inside = self.inside is not None
        found = scan_line(line, self.inside, self.syntax)
        self._lines.scans.append(found)
        self.inside = found.inside
        indent = indentation(line)
        stack = list(self.brackets)
        start = number
        closes = bool(found.marks) and not found.marks[0].opens and found.marks[0].at == len(line) - len(line.lstrip())
        if line.strip() and not began_inside and not closes and not _DIRECTIVE.match(line):
            # A bracket left open by mistake: the text continues outside.
            while stack and stack[-1].indent > indent:
                stack.pop()
        for mark in found.marks:
            if mark.opens:
                last = self.syntax.tags or mark.at == len(line[: found.code].rstrip()) - 1
                stack.append(Bracket(mark.closing, indent, number, last))
            elif mark.closing == "/>":
                del stack[-1:]
            else:
                match = next(
                    (index for index in range(len(stack) - 1, -1, -1) if stack[index].closing == mark.closing), None
                )
                if match is not None:
                    start = min(start, self._starts[stack[match].line] if stack[match].line < number else number)
                    del stack[match:]
        self._starts.append(start)
        self.brackets = tuple(stack)

    @property
    def number(self) -> int:
        return len(self._lines.texts) - 1

    @property
    def in_text(self) -> bool:
        last = self._lines.scans[-1]
        return self.inside is not None or self.quoted or last.code < len(self.left)

    @property
    def quoted(self) -> bool:
        """True if the cursor is in a string that must end on the same line."""
        return self._lines.scans[-1].quoted

    @property
    def begins_text(self) -> bool:
        """True if a comment or string begins at the cursor, as after three quotes."""
        begins = [re.escape(begin) for begin, end in self.syntax.spans if end == self.inside]
        return any(re.search(rf"{begin}[*!]*\s*$", self.left) for begin in begins)

    @cached_property
    def opener(self) -> int | None:
        """The number of the line that opens a block at the cursor, if any.

        This is the cursor's line or, if the cursor's line is blank, the line above.
        """
        if self.in_text:
            return None
        if self.left.strip():
            return self.number if self._lines.opens(self.number) else None
        above = self._lines.skip_docstring(self._lines.above(self.number))
        return above if above is not None and self._lines.opens(above) else None

    @cached_property
    def opener_indent(self) -> int | None:
        return None if self.opener is None else indentation(self._lines.texts[self._starts[self.opener]])

    @cached_property
    def opener_brackets(self) -> bool:
        return any(bracket.line == self.opener for bracket in self.brackets)

    @property
    def above(self) -> str | None:
        number = self._lines.above(self.number)
        return None if number is None else self._lines.texts[number]

    @property
    def begins_section(self) -> bool:
        """True at the margin, below a blank line or at the beginning of the file."""
        return not self.left and not self.brackets and not any(line.strip() for line in self._lines.texts[-2:])

    def scan_on(self, line: str) -> LineScan:
        """Scan the cursor's line with an answer; in a comment or string, scan only the answer."""
        if self.inside is None:
            return scan_line(line, self.line_began_inside, self.syntax)
        size = len(self.left)
        found = scan_line(line[size:], self.inside, self.syntax)
        marks = tuple(replace(mark, at=mark.at + size) for mark in found.marks)
        return replace(
            found, marks=marks, left=None if found.left is None else found.left + size, code=found.code + size
        )

    @property
    def indent(self) -> int:
        """The minimum indentation of the block around the cursor."""
        opened = 0 if self.opener_indent is None else self.opener_indent + (not self.opener_brackets)
        return max(indentation(self.left), opened)

    def lines_above(self) -> list[str]:
        return [line for line in self._lines.texts[:-1] if line.strip()]

    def lines_below(self) -> Iterator[str]:
        for line in self.cursor.after[len(self.right) :][:MAX_CHARACTERS_BELOW].split("\n"):
            if line.strip():
                yield line.rstrip("\r")

    def is_closed(self, bracket: Bracket) -> bool:
        """Return whether an open bracket is closed after the cursor.

        Brackets right of the cursor decide first, and alone if text follows the bracket on the
        cursor's line. Otherwise, the first line below with at most the bracket's indentation
        decides.
        """
        here = [other for other in self.brackets if other.line == self.number]
        if self._closings_right > len(here) or bracket in here[: self._closings_right]:
            return True
        if bracket.line == self.number and not bracket.last:
            return False
        for line in self.lines_below():
            if indentation(line) <= bracket.indent:
                return indentation(line) == bracket.indent and line.lstrip().startswith(bracket.closing)
        return False

    @cached_property
    def _closings_right(self) -> int:
        depth = closed = 0
        for mark in scan_line(self.right[:MAX_LINE], None, self.syntax).marks:
            if mark.opens:
                depth += 1
            elif depth:
                depth -= 1
            else:
                closed += 1
        return closed


def _inside_after(text: str, syntax: Syntax) -> str | None:
    """Return the closing text of the comment or string open at the end, if any.

    Scan only the lines with a begin or end mark, because the text may be long.
    """
    marks = [part for span in syntax.spans for part in span]
    inside = None
    for line in text.split("\n") if marks else ():
        if any(part in line for part in marks):
            inside = scan_line(line[-MAX_LINE:], inside, syntax).inside
    return inside
