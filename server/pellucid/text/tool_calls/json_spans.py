"""The character spans of the values in a JSON text."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_SPACES = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SCALAR = re.compile(r"[^\s,\]}]+")


@dataclass(frozen=True, slots=True)
class JsonSpan:
    """A value's JSON pointer (RFC 6901), and the characters that decide the value.

    For a text: the contents and the closing quote.
    """

    pointer: str
    begin: int
    end: int


def json_spans(text: str) -> list[JsonSpan]:
    """Return the spans of texts, numbers, constants and empty containers; [] for invalid JSON."""
    spans: list[JsonSpan] = []
    try:
        json.loads(text)
        _add_value(text, 0, "", spans)
    except (ValueError, RecursionError):
        return []
    return spans


def _add_value(text: str, at: int, pointer: str, spans: list[JsonSpan]) -> int:
    at = _skip_spaces(text, at)
    if text[at] not in "{[":
        is_text = text[at] == '"'
        end = _end(_STRING if is_text else _SCALAR, text, at)
        spans.append(JsonSpan(pointer, at + is_text, end))
        return end
    keyed, begin = text[at] == "{", at
    at = _skip_spaces(text, at + 1)
    if text[at] in "}]":
        spans.append(JsonSpan(pointer, begin, at + 1))
        return at + 1
    count = 0
    while True:
        key = str(count)
        if keyed:
            end = _end(_STRING, text, at)
            key = json.loads(text[at:end])
            at = _skip_spaces(text, end) + 1  # The colon.
        at = _skip_spaces(text, _add_value(text, at, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}", spans))
        if text[at] in "}]":
            return at + 1
        at = _skip_spaces(text, at + 1)
        count += 1


def _skip_spaces(text: str, at: int) -> int:
    return _end(_SPACES, text, at)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    assert match is not None, "the text is valid JSON"
    return match.end()
