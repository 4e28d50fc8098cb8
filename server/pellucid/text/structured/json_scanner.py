"""The values of a JSON text that may end early, with character positions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

_SPACE = re.compile(r"[ \t\n\r]*")
_LITERAL = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\d.eE+-])|true|false|null")
_DECODER = json.JSONDecoder()

MAX_DEPTH = 200


@dataclass(frozen=True, slots=True)
class JsonValue:
    """A scalar ``text[begin:end]``; ``path`` is a JSON pointer."""

    path: str
    value: str | int | float | bool | None
    begin: int
    end: int


class _EndedError(Exception):
    """The text ends here, or is not JSON from here on."""


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def scan(text: str, begin: int = 0) -> list[JsonValue]:
    """Return the scalars of a JSON text from ``begin`` on, in order.

    Of a text that ends early, whole values are returned, without a number at the end, which might
    continue.
    """
    found: list[JsonValue] = []
    try:
        for value in _Scanner(text).values(begin, "", 0):
            found.append(value)  # noqa: PERF402 - values before an error are kept
    except _EndedError:
        pass
    return found


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self.at = 0

    def values(self, begin: int, path: str, depth: int) -> Iterator[JsonValue]:
        """Yield the scalars of the value at ``begin``, and move ``at`` to the value's end."""
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
        except ValueError:  # More digits than Python converts.
            raise _EndedError from None

    def _expect(self, character: str) -> None:
        if self._text[self.at : self.at + 1] != character:
            raise _EndedError
        self.at += 1

    def _skip_space(self) -> None:
        match = _SPACE.match(self._text, self.at)
        assert match is not None
        self.at = match.end()
