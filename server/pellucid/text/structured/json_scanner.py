"""Finds the values of a JSON text, with their places in it, as far as the text goes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

_SPACE = re.compile(r"[ \t\n\r]*")
_LITERAL = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\d.eE+-])|true|false|null")
_DECODER = json.JSONDecoder()

MAX_DEPTH = 200
"""Deeper values are not looked for."""


@dataclass(frozen=True, slots=True)
class JsonValue:
    """A value that is neither an object nor an array: its place is a JSON pointer, and its text is that of ``begin`` to ``end``."""

    path: str
    value: str | int | float | bool | None
    begin: int
    end: int


class _EndedError(Exception):
    """The text is not JSON from here on, or ends here."""


def scan(text: str, begin: int = 0) -> list[JsonValue]:
    """Return the values of a JSON text that begins at ``begin``, in order.

    If it ends early, its whole values are returned.

    A number at the end of a text that is not whole is left out, as it might continue.
    """
    found: list[JsonValue] = []
    try:
        for value in _Scanner(text).values(begin, "", 0):
            found.append(value)  # noqa: PERF402 - those before an error are kept
    except _EndedError:
        pass
    return found


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self.at = 0

    def values(self, begin: int, path: str, depth: int) -> Iterator[JsonValue]:
        """Yield the values of the JSON value at ``begin``; ``at`` is then its end."""
        self.at = begin
        self._skip_space()
        match self._text[self.at : self.at + 1]:
            case "{" if depth < MAX_DEPTH:
                yield from self._members(path, depth)
            case "[" if depth < MAX_DEPTH:
                yield from self._items(path, depth)
            case '"':
                start = self.at
                yield JsonValue(path, self._string(), start, self.at)
            case _:
                yield self._literal(path, depth)

    def _members(self, path: str, depth: int) -> Iterator[JsonValue]:
        while self._follows("{,", "}"):
            self._skip_space()
            key = self._string()
            self._skip_space()
            self._expect(":")
            yield from self.values(self.at, f"{path}/{key.replace('~', '~0').replace('/', '~1')}", depth + 1)
            self._skip_space()

    def _items(self, path: str, depth: int) -> Iterator[JsonValue]:
        index = 0
        while self._follows("[,", "]"):
            yield from self.values(self.at, f"{path}/{index}", depth + 1)
            index += 1
            self._skip_space()

    def _follows(self, before: str, after: str) -> bool:
        """Return whether another part follows ``before``; false at the end ``after``."""
        opened = self._text[self.at : self.at + 1] == before[0]
        if not opened and self._text[self.at : self.at + 1] == after:
            self.at += 1
            return False
        if self._text[self.at : self.at + 1] not in tuple(before):
            raise _EndedError
        self.at += 1
        self._skip_space()
        if opened and self._text[self.at : self.at + 1] == after:
            self.at += 1
            return False
        return True

    def _string(self) -> str:
        if self._text[self.at : self.at + 1] != '"':
            raise _EndedError
        try:
            value, self.at = _DECODER.raw_decode(self._text, self.at)
        except json.JSONDecodeError:
            raise _EndedError from None
        return str(value)

    def _literal(self, path: str, depth: int) -> JsonValue:
        match = _LITERAL.match(self._text, self.at)
        if match is None or (match.end() == len(self._text) and depth):
            raise _EndedError
        self.at = match.end()
        try:
            return JsonValue(path, json.loads(match[0]), match.start(), match.end())
        except ValueError:  # more digits than Python converts
            raise _EndedError from None

    def _expect(self, character: str) -> None:
        if self._text[self.at : self.at + 1] != character:
            raise _EndedError
        self.at += 1

    def _skip_space(self) -> None:
        match = _SPACE.match(self._text, self.at)
        assert match is not None
        self.at = match.end()
