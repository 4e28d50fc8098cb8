"""Answers with tool calls as tokens, and the calls read from tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.text.tool_calls.call_reader import CallReader, Format
from pellucid.text.tool_calls.calls_of_answer import calls_of
from pellucid.vocabulary.token import Token

MARKERS = {
    "<tool_call>": 900,
    "</tool_call>": 901,
    "[TOOL_CALLS]": 902,
    "[ARGS]": 903,
    "<|python_tag|>": 904,
    "<|other|>": 905,
}


def function(name: str, **properties: Any) -> dict[str, Any]:
    """Return a function with these parameters, in OpenAI's shape."""
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": properties}}}


WEATHER = function(
    "weather", city={"type": "string"}, days={"type": "integer"}, hourly={"type": "boolean"}, tags={"type": "array"}
)
OFFERED = [WEATHER, function("f")]


def tokens_of(pieces: Iterable[str], logprob: float = -0.5) -> list[Token]:
    """Return a token for each piece; a piece that spells a marker is the marker, without a text."""
    return [
        Token(MARKERS.get(piece, 1), "" if piece in MARKERS else piece, piece.encode(), position, logprob, 1, 0.5)
        for position, piece in enumerate(pieces)
    ]


def split_at_markers(text: str) -> list[str]:
    """Return the pieces of a text, with each marker as a separate piece."""
    pieces = [text]
    for marker in MARKERS:
        pieces = [
            part
            for piece in pieces
            for part in (
                [piece] if piece in MARKERS else [one for cut in piece.split(marker) for one in (cut, marker)][:-1]
            )
        ]
    return [piece for piece in pieces if piece]


@dataclass(frozen=True)
class Found:
    """The text and the calls of an answer."""

    content: str
    calls: list[tuple[str, str]]


def read(
    format: Format,
    tokens: Sequence[Token],
    *,
    markers: bool = True,
    bare: bool = True,
    parallel: bool = True,
    at_a_time: int = 1,
) -> list[Token]:
    """Return an answer's tokens as released by a reader that receives a few tokens at a time."""
    reader = CallReader(
        format, MARKERS if markers else {}, OFFERED, lambda index: f"id{index}", bare=bare, single=not parallel
    )
    out: list[Token] = []
    for begin in range(0, len(tokens), at_a_time):
        out += reader.feed(tokens[begin : begin + at_a_time])
        if reader.closed:
            break
    return out + reader.finish()


def found(tokens: Sequence[Token]) -> Found:
    """Return the text and calls in released tokens."""
    return Found("".join(token.text for token in tokens), [(call.name, call.arguments) for call in calls_of(tokens)])
