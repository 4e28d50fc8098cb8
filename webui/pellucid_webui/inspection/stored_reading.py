"""Keeps a scored text in little memory: its tokens without alternatives, and the alternatives compressed in parts."""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pellucid.client.token_json import clamped
from pellucid.tokens import Token
from pellucid_webui.conversations.compact_tokens import entropy_bounds, pack, records_in, rounded, token_of
from pellucid_webui.inspection.reading_figures import ReadingFigures

PART_TOKENS = 256
"""Tokens of a part, whose alternatives the page asks for when it shows one of them."""

BATCH_TOKENS = 4096
"""Most tokens that are sent to the page at once."""


@dataclass(eq=False)
class StoredReading:
    """A text as a model has read it so far.

    The alternatives of 60,000 tokens would take 150 MB as objects, and take 6 MB here.
    """

    model: str = ""
    tokens: list[Token] = field(default_factory=list)
    _parts: list[bytes] = field(default_factory=list)
    _last: list[Token] = field(default_factory=list)

    def append(self, token: Token) -> None:
        """Add the next token of the text."""
        self.tokens.append(replace(token, top=()))
        self._last.append(token)
        if len(self._last) == PART_TOKENS:
            self._parts.append(zlib.compress(pack(self._last).encode()))
            self._last.clear()

    def columns(self, start: int) -> dict[str, Any]:
        """Return what the page needs to draw the tokens from ``start``: a list for each field, without alternatives."""
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
        """Return a part with its alternatives, as JSON of token records; an empty list for a part that does not exist."""
        if 0 <= number < len(self._parts):
            return zlib.decompress(self._parts[number]).decode()
        return pack(self._last if number == len(self._parts) else ())

    def figures(self) -> ReadingFigures:
        """Return the figures, which need no alternatives."""
        return ReadingFigures(self.model, tuple(self.tokens))

    def with_alternatives(self) -> ReadingFigures:
        """Return the figures of the tokens with their alternatives, for an export."""
        found: list[Token] = []
        for number in range(len(self._parts) + 1):
            for record in records_in(self.part(number)):
                at = len(found)
                found.append(replace(self.tokens[at], top=token_of(record, at).top))
        return ReadingFigures(self.model, tuple(found))


def as_json(columns: Any) -> str:
    """Return columns as compact JSON, which Gradio passes on as one string instead of comparing every number in it."""
    return json.dumps(columns, ensure_ascii=False, separators=(",", ":"))


def numbers(values: Sequence[float]) -> list[float]:
    """Return numbers with as many digits as the page shows."""
    return [round(value, 3) for value in values]
