"""A scored text in little memory, with compressed alternatives."""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pellucid.client.token_json import clamped
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.compact_tokens import entropy_bounds, pack, records_in, rounded, token_of
from pellucid_webui.inspection.reading_figures import ReadingFigures

PART_TOKENS = 256
"""The page requests the alternatives of a whole part at once."""

BATCH_TOKENS = 4096


@dataclass(eq=False)
class CompressedReading:
    """A text as read so far.

    The alternatives of 60,000 tokens take 6 MB here, and 150 MB as objects.
    """

    model: str = ""
    tokens: list[Token] = field(default_factory=list)
    _parts: list[bytes] = field(default_factory=list)
    _last: list[Token] = field(default_factory=list)

    def append(self, token: Token) -> None:
        self.tokens.append(replace(token, top=()))
        self._last.append(token)
        if len(self._last) == PART_TOKENS:
            self._parts.append(zlib.compress(pack(self._last).encode()))
            self._last.clear()

    def columns(self, start: int) -> dict[str, Any]:
        """Return the fields of the tokens from ``start``, without alternatives."""
        tokens = self.tokens[start : start + BATCH_TOKENS]
        ranges = {
            str(at): entropy_bounds(token.entropy_range)
            for at, token in enumerate(tokens)
            if token.entropy_range is not None
        }
        return {
            "t": [token.text for token in tokens],
            "l": [None if token.logprob is None else rounded(clamped(token.logprob)) for token in tokens],
            "r": [token.rank for token in tokens],
            "e": [None if token.entropy is None else rounded(token.entropy) for token in tokens],
            **({"h": ranges} if ranges else {}),
            "b": {
                str(at): b64encode(token.bytes).decode()
                for at, token in enumerate(tokens)
                if token.bytes != token.text.encode()
            },
        }

    def part(self, number: int) -> str:
        """Return a part with alternatives, as JSON of token records."""
        if 0 <= number < len(self._parts):
            return zlib.decompress(self._parts[number]).decode()
        return pack(self._last if number == len(self._parts) else ())

    def figures(self) -> ReadingFigures:
        return ReadingFigures(self.model, tuple(self.tokens))

    def with_alternatives(self) -> ReadingFigures:
        found: list[Token] = []
        for number in range(len(self._parts) + 1):
            for record in records_in(self.part(number)):
                at = len(found)
                found.append(replace(self.tokens[at], top=token_of(record, at).top))
        return ReadingFigures(self.model, tuple(found))


def as_json(columns: Any) -> str:
    """Return JSON. Columns of a long text take 0.1 s: too long for the event loop."""
    return json.dumps(columns, ensure_ascii=False, separators=(",", ":"))


def numbers(values: Sequence[float]) -> list[float]:
    """Round to the precision of the page."""
    return [round(value, 3) for value in values]
