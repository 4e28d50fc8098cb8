"""Syntax that all formats of tool calls share: white space, tags, JSON strings and objects.

The methods are generators, and yield to wait for further units of the answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Generator, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from pellucid.text.tool_calls.token_units import CONTENT, TokenUnits

T = TypeVar("T")
Reading = Generator[None, None, T]

END = "end of the answer"

ARGUMENTS = ("arguments", "parameters")


@dataclass(slots=True)
class Draft:
    """A call that is being read. Before the beginning of the call, the units may still be text.

    A ``live`` draft begins as soon as the name is known and the arguments begin. ``offered`` lists
    the permitted names.
    """

    start: int
    live: bool = True
    offered: Collection[str] | None = None
    name: str | None = None
    index: int | None = None
    has_arguments: bool = False
    pieces: list[tuple[int, str]] = field(default_factory=list)


class CallSyntax:
    """A cursor in the units of an answer.

    All units before ``hold`` are decided; without ``hold``, all units before the cursor.
    """

    def __init__(self, units: TokenUnits, markers: Collection[str], call_id: Callable[[int], str]) -> None:
        self.at = 0
        self.hold: int | None = None
        self.ended = False
        self.begun = 0
        self._units = units
        self.markers = markers
        self._call_id = call_id

    @property
    def decided(self) -> int:
        return self.at if self.hold is None else self.hold

    # Calls.

    def begin(self, draft: Draft) -> None:
        assert draft.name is not None
        draft.index, self.begun = self.begun, self.begun + 1
        self._units.own(draft.start, draft.index)
        self._units.name_call(draft.start, draft.index, self._call_id(draft.index), draft.name)
        for position, text in draft.pieces:
            self._units.add_arguments(position, draft.index, text)
        draft.pieces.clear()
        if draft.live:
            self.hold = None

    def emit(self, draft: Draft, position: int, text: str) -> None:
        draft.has_arguments = True
        if draft.index is None and draft.live and draft.name is not None:
            self.begin(draft)
        if draft.index is None:
            draft.pieces.append((position, text))
        else:
            self._units.add_arguments(position, draft.index, text)

    def end(self) -> None:
        self._units.own(self.at, CONTENT)

    # Units.

    def peek(self) -> Reading[str]:
        """Return the unit at the cursor, or END, and skip empty units before the unit."""
        units, at = self._units.units, self.at
        while True:
            while at < len(units) and not units[at]:
                at += 1
            if at < len(units) or self.ended:
                self.at = at
                return units[at] if at < len(units) else END
            yield

    def take(self, characters: str) -> Reading[bool]:
        unit = yield from self.peek()
        if unit not in characters:
            return False
        self.at += 1
        return True

    def spaces(self) -> Reading[None]:
        while (yield from self.peek()).isspace():
            self.at += 1

    def tag(self, *tags: str) -> Reading[str | None]:
        """Pass over the first tag that is next; tags in ``markers`` must be markers."""
        unit = yield from self.peek()
        for tag in tags:
            if tag in self.markers:
                if unit == tag:
                    self.at += 1
                    return tag
            elif tag[0] == unit and (yield from self.text(tag)):
                return tag
        return None

    def text(self, text: str) -> Reading[bool]:
        """Pass over a text if it is next. A partial match stays undecided."""
        begin, held = self.at, self.hold
        self.hold = begin if held is None else held
        for character in text:
            if (yield from self.peek()) != character:
                self.at = begin
                break
            self.at += 1
        self.hold = held
        return self.at > begin

    def until(self, *stops: str) -> Reading[str]:
        """Pass over and return characters up to a stop, a marker or the end."""
        out = ""
        while len(unit := (yield from self.peek())) == 1 and unit not in stops:
            out += unit
            self.at += 1
        return out

    # JSON.

    def string(self) -> Reading[str | None]:
        characters = yield from self._string_characters()
        return None if characters is None else "".join(text for _, text in characters)

    def call_object(self, draft: Draft) -> Reading[bool]:
        """Read an object with a call's name and arguments, and return whether the object is a call.

        A call that has begun counts even if the object or the arguments are not closed. A draft
        with ``offered`` names must have arguments and no further fields.
        """
        if not (yield from self.take("{")):
            return False
        while not (yield from self._closes("}")):
            key = yield from self.string()
            yield from self.spaces()
            if key is None or not (yield from self.take(":")):
                return draft.index is not None
            yield from self.spaces()
            if not (yield from self._member(draft, key)):
                return draft.index is not None
            yield from self.spaces()
            if not (yield from self.take(",")) and (yield from self.peek()) != "}":
                return draft.index is not None
        if not draft.has_arguments and draft.offered is None and draft.name is not None:
            self.emit(draft, self.at - 1, "{}")
        return draft.name is not None and draft.has_arguments

    def value(self, draft: Draft | None) -> Reading[bool]:
        """Pass over a JSON object or array, and add its text to the arguments of ``draft``."""
        depth, in_string, escaped = 0, False, False
        while True:
            unit = yield from self.peek()
            if len(unit) > 1:  # A tag or the end.
                return False
            if draft is not None:
                self.emit(draft, self.at, json.dumps(unit)[1:-1] if in_string and unit < " " else unit)
            self.at += 1
            if in_string:
                in_string = escaped or unit != '"'
                escaped = unit == "\\" and not escaped
            elif unit == '"':
                in_string = True
            elif unit in "{[":
                depth += 1
            elif unit in "}]":
                depth -= 1
                if depth == 0:
                    return True

    def _closes(self, bracket: str) -> Reading[bool]:
        yield from self.spaces()
        return (yield from self.take(bracket))

    def _member(self, draft: Draft, key: str) -> Reading[bool]:
        if key == "name":
            draft.name = yield from self.string()
            if draft.name and draft.live and draft.has_arguments:
                self.begin(draft)
            return bool(draft.name) and (draft.offered is None or draft.name in draft.offered)
        if key in ARGUMENTS:
            return (yield from self._arguments(draft))
        if draft.offered is not None:
            return False
        unit = yield from self.peek()
        if unit in "{[":
            return (yield from self.value(None))
        if unit == '"':
            return (yield from self.string()) is not None
        return bool((yield from self.until(",", "}")))

    def _arguments(self, draft: Draft) -> Reading[bool]:
        """Read the arguments of a call: an object, a string with an object, or null."""
        unit = yield from self.peek()
        if unit == "{":
            return (yield from self.value(draft))
        if unit == '"':
            characters = yield from self._string_characters()
            if characters is None or not "".join(text for _, text in characters).lstrip().startswith("{"):
                return False
            for position, text in characters:
                self.emit(draft, position, text)
            return True
        return (yield from self.text("null"))

    def _string_characters(self) -> Reading[list[tuple[int, str]] | None]:
        """Pass over a JSON string; return its characters with the positions of their last units."""
        if not (yield from self.take('"')):
            return None
        raw: list[tuple[int, str]] = []
        escape = ""
        while (unit := (yield from self.peek())) != '"' or escape:
            if len(unit) > 1:
                return None
            escape += unit
            if not _is_partial_escape(escape):
                raw.append((self.at, escape))
                escape = ""
            self.at += 1
        self.at += 1
        return _decoded(raw)


def _is_partial_escape(text: str) -> bool:
    """Return whether the text begins an escape; half a surrogate pair is a beginning, too."""
    if text[0] != "\\":
        return False
    if text[1:2] != "u":
        return len(text) == 1
    if text[2:4].lower() in ("d8", "d9", "da", "db"):
        return len(text) < 12 and (len(text) < 7 or text[6] == "\\") and (len(text) < 8 or text[7] == "u")
    return len(text) < 6


def _decoded(raw: Iterable[tuple[int, str]]) -> list[tuple[int, str]] | None:
    try:
        decoded = [(position, json.loads(f'"{text}"', strict=False)) for position, text in raw]
        "".join(text for _, text in decoded).encode()
    except ValueError:  # A wrong escape, or half of a surrogate pair.
        return None
    return decoded
