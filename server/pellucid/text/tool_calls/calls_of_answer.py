"""The tool calls of an answer, with the probability of each argument."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import exp

from pellucid.text.tool_calls.json_spans import json_spans
from pellucid.vocabulary.message import ToolCall
from pellucid.vocabulary.token import Token


@dataclass(frozen=True, slots=True)
class CallDetails:
    """A tool call of an answer.

    ``complete``: the arguments are a JSON object. ``enforced``: a grammar constrained the arguments
    to the function's schema. ``probabilities`` and ``tokens`` map the JSON pointer of each value to
    its probability and to token indices.
    """

    call: ToolCall
    complete: bool
    enforced: bool
    probabilities: dict[str, float]
    tokens: dict[str, list[int]]


def call_details(tokens: Sequence[Token], loose_functions: Collection[str]) -> list[CallDetails]:
    return [
        CallDetails(
            call,
            is_whole(call),
            call.name not in loose_functions and is_enforced(tokens, index),
            field_probabilities(tokens, index),
            argument_tokens(tokens, index),
        )
        for index, call in enumerate(calls_of(tokens))
    ]


def calls_of(tokens: Iterable[Token]) -> list[ToolCall]:
    calls: list[ToolCall] = []
    pieces: list[list[str]] = []
    for token in tokens:
        for delta in token.part.deltas if token.part is not None else ():
            if delta.id is not None and delta.name is not None:
                calls.append(ToolCall(delta.id, delta.name, ""))
                pieces.append([])
            pieces[delta.index].append(delta.arguments)
    return [ToolCall(call.id, call.name, "".join(texts)) for call, texts in zip(calls, pieces, strict=True)]


def is_whole(call: ToolCall) -> bool:
    """Return whether the arguments are a JSON object; not so after an early end or a mistake."""
    try:
        return isinstance(json.loads(call.arguments), dict)
    except (ValueError, RecursionError):
        return False


def is_enforced(tokens: Iterable[Token], index: int) -> bool:
    return all(
        token.grammar is not None
        for token in tokens
        for delta in (token.part.deltas if token.part is not None else ())
        if delta.index == index and delta.arguments
    )


def field_probabilities(tokens: Sequence[Token], index: int) -> dict[str, float]:
    """Return the probability of each argument value by JSON pointer; empty for invalid JSON.

    Each probability is the product of the model's token probabilities, without forced tokens.
    """
    logprobs = [0.0 if token.logprob is None or _is_forced(token) else token.logprob for token in tokens]
    return {
        pointer: exp(sum(logprobs[place] for place in places))
        for pointer, places in argument_tokens(tokens, index).items()
    }


def argument_tokens(tokens: Sequence[Token], index: int) -> dict[str, list[int]]:
    """Return the token indices of each argument value by JSON pointer; empty for invalid JSON.

    The closing quote of a text counts, because it decides that the text is complete.
    """
    places: list[tuple[int, int, int]] = []
    arguments = ""
    for place, token in enumerate(tokens):
        for delta in token.part.deltas if token.part is not None else ():
            if delta.index == index and (delta.arguments or delta.id is None):
                places.append((len(arguments), len(arguments) + len(delta.arguments), place))
                arguments += delta.arguments
    ends = [end for _, end, _ in places]
    fields = {}
    for span in json_spans(arguments):
        first = bisect_right(ends, span.begin)
        while first and places[first - 1][:2] == (
            span.begin,
            span.begin,
        ):  # A token with a part of the first character.
            first -= 1
        last = bisect_left(places, span.end, first, key=lambda place: place[0])
        fields[span.pointer] = [place for _, _, place in places[first:last]]
    return fields


def _is_forced(token: Token) -> bool:
    return token.grammar is not None and token.grammar.forced
