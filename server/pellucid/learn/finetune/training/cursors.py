"""Picks cursors in a document, and the text to fill in."""

from __future__ import annotations

import ast
import re
import warnings
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Literal

Kind = Literal["rest of line", "line", "block", "random"]

SHARES: dict[Kind, float] = {"rest of line": 0.3, "line": 0.2, "block": 0.3, "random": 0.2}
"""Half of the completions in editors are lines."""

MAX_BLOCK = 10

MAX_RANDOM = 160
"""Maximum characters."""

_TRIES = 20
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class TextSpan:
    """Characters ``begin`` to ``end`` of a document, to be filled in. Not empty."""

    begin: int
    end: int
    kind: Kind


class SourcePage:
    def __init__(self, name: str, text: str) -> None:
        self.text = text
        self._is_python = name.endswith((".py", ".pyi"))
        self.starts = [0, *(match.end() for match in _LINE_END.finditer(text))]
        self._makers: dict[Kind, Callable[[Random, range], TextSpan | None]] = {
            "rest of line": self._rest_of_line,
            "line": self._line,
            "block": self._block,
            "random": self._random,
        }

    def line_of(self, at: int) -> int:
        return bisect_right(self.starts, at) - 1

    def line(self, number: int) -> str:
        begin, end = self._bounds(number)
        return self.text[begin:end]

    def choose(self, random: Random, begin: int, end: int) -> TextSpan | None:
        """Return a span that begins between two characters, of a kind drawn by ``SHARES``.

        None if no span with text is found.
        """
        lines = range(self.line_of(begin), self.line_of(max(begin, end - 1)) + 1)
        kind: Kind = random.choices(list(SHARES), list(SHARES.values()))[0]
        for wanted in (kind, "line"):  # Not every text has blocks.
            for _ in range(_TRIES):
                span = self._makers[wanted](random, lines)
                if span is not None and begin <= span.begin < end and self.text[span.begin : span.end].strip():
                    return span
        return None

    def _bounds(self, number: int) -> tuple[int, int]:
        begin = self.starts[number]
        end = self.starts[number + 1] if number + 1 < len(self.starts) else len(self.text)
        return begin, begin + len(self.text[begin:end].rstrip("\r\n"))

    def _written(self, number: int) -> tuple[int, int]:
        begin, end = self._bounds(number)
        line = self.text[begin:end]
        return begin + len(line) - len(line.lstrip()), begin + len(line.rstrip())

    def _line(self, random: Random, lines: range) -> TextSpan | None:
        begin, end = self._written(random.choice(lines))
        return TextSpan(begin, end, "line") if begin < end else None

    def _rest_of_line(self, random: Random, lines: range) -> TextSpan | None:
        begin, end = self._written(random.choice(lines))
        return TextSpan(random.randrange(begin + 1, end), end, "rest of line") if end - begin > 1 else None

    def _random(self, random: Random, lines: range) -> TextSpan | None:
        low, high = self.starts[lines[0]], self._bounds(lines[-1])[1]
        if low >= high:
            return None
        begin = random.randrange(low, high)
        return TextSpan(begin, min(len(self.text), begin + random.randint(1, MAX_RANDOM)), "random")

    def _block(self, random: Random, lines: range) -> TextSpan | None:
        first, after = (
            bisect_right(self._blocks, (self.starts[lines[0]],)),
            bisect_right(self._blocks, (self._bounds(lines[-1])[1],)),
        )
        if first < after:
            return TextSpan(*random.choice(self._blocks[first:after]), "block")
        return None

    @cached_property
    def _blocks(self) -> list[tuple[int, int]]:
        """Sorted bounds of statements or indented blocks."""
        found = self._statements() if self._is_python else None
        return sorted(set(self._indented() if found is None else found))

    def _statements(self) -> list[tuple[int, int]] | None:
        """Return the bounds of Python statements; None for invalid Python."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(self.text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
        places = []
        for node in ast.walk(tree):
            if isinstance(node, ast.stmt):
                first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
                if last - first < MAX_BLOCK and last < len(self.starts):
                    places.append((self._at(first, node.col_offset), self._at(last, node.end_col_offset or 0)))
        return [(begin, end) for begin, end in places if begin < end]

    def _at(self, line: int, column: int) -> int:
        """Return the character position of a column in bytes, as in ast."""
        return self.starts[line] + len(self.line(line).encode()[:column].decode(errors="ignore"))

    def _indented(self) -> list[tuple[int, int]]:
        """Return runs of lines that end before a line with less indentation."""
        places = []
        for number in range(len(self.starts)):
            begin, end = self._written(number)
            if begin == end:
                continue
            indent = begin - self.starts[number]
            for following in range(number + 1, min(len(self.starts), number + MAX_BLOCK)):
                at, stop = self._written(following)
                if at == stop or at - self.starts[following] < indent:
                    break
                end = stop
            places.append((begin, end))
        return places
