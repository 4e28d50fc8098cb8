"""Tokens of an answer as single units, and the tokens with the calls found in the units."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pellucid.vocabulary.token import CallDelta, CallPart, Token

CONTENT = -1
"""Owner of the message's text. The owner of a call's units is the call's index."""

DROPPED = -2


@dataclass(slots=True)
class _Addition:
    index: int
    arguments: str = ""
    id: str | None = None
    name: str | None = None


class TokenUnits:
    """The units of an answer: characters, tags that are markers, and "" for empty tokens.

    A token is released when all units of the token are decided.
    """

    def __init__(self, tags: Mapping[int, str]) -> None:
        self.units: list[str] = []
        self._tags = tags
        self._waiting: deque[tuple[Token, int, int]] = deque()
        self._owners: deque[tuple[int, int]] = deque()  # (First position, owner), in order.
        self._owner = CONTENT
        self._additions: dict[int, list[_Addition]] = {}
        self._partial: set[int] = set()

    def add(self, tokens: Iterable[Token]) -> None:
        for token in tokens:
            begin = len(self.units)
            tag = self._tags.get(token.id)
            self.units += [tag] if tag is not None else list(token.text) or [""]
            if not token.text and tag is None and _ends_inside_character(token.bytes):
                self._partial.add(begin)
            self._waiting.append((token, begin, len(self.units)))

    def own(self, position: int, owner: int) -> None:
        """Assign all units from ``position`` on to ``owner``, until the next assignment."""
        while self._owners and self._owners[-1][0] >= position:
            self._owners.pop()
        self._owners.append((position, owner))

    def name_call(self, position: int, index: int, id: str, name: str) -> None:
        self._additions.setdefault(position, []).append(_Addition(index, id=id, name=name))

    def add_arguments(self, position: int, index: int, text: str) -> None:
        """Add a unit's text to a call's arguments.

        Earlier tokens with a part of the same character belong to the call, too.
        """
        before = position - 1
        while before in self._partial:
            self._partial.discard(before)
            self._additions.setdefault(before, []).append(_Addition(index))
            before -= 1
        self._additions.setdefault(position, []).append(_Addition(index, text))

    def release(self, decided: int) -> list[Token]:
        out = []
        while self._waiting and self._waiting[0][2] <= decided:
            out.append(self._released(*self._waiting.popleft()))
        return out

    def _released(self, token: Token, begin: int, end: int) -> Token:
        text, call = [], None
        additions: list[_Addition] = []
        for position in range(begin, end):
            while self._owners and self._owners[0][0] <= position:
                self._owner = self._owners.popleft()[1]
            if self._owner == CONTENT and len(self.units[position]) == 1:
                text.append(self.units[position])
            elif self._owner >= 0 and call is None:
                call = self._owner
            additions += self._additions.pop(position, ())
        joined = "".join(text)
        if call is None:
            return token if joined == token.text else replace(token, text=joined)
        return replace(token, text=joined, part=CallPart(call, _merged(additions)))


def _merged(additions: Iterable[_Addition]) -> tuple[CallDelta, ...]:
    calls: dict[int, _Addition] = {}
    for one in additions:
        call = calls.setdefault(one.index, _Addition(one.index))
        call.arguments += one.arguments
        call.id, call.name = call.id or one.id, call.name or one.name
    return tuple(CallDelta(call.index, call.arguments, call.id, call.name) for call in calls.values())


def _ends_inside_character(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return True
    return False
