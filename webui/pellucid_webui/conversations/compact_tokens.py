"""Conversion between tokens and the compact JSON that the browser draws and the store keeps.

The keys of a record (null for None):

- ``i``: id
- ``t``: text
- ``b``: base64 of the bytes, if different from the text's bytes
- ``l``: logprob
- ``r``: rank
- ``e``: entropy; ``h``: ``[least, most]``, if the exact entropy is not known
- ``s``: the sampler's probability
- ``o``: the mass of all tokens not listed
- ``a``: the alternatives, each ``[id, text, logprob]`` or ``[id, text, logprob, bytes]``, with the
  bytes in base64
- ``c``: the probability of all allowed tokens, where token healing limited the choice
- ``g``: ``[mass, allowed, logprob]`` as in ``GrammarScore``, where a grammar limited the choice
- ``q``: the text, for a token of the reasoning before an answer; ``t`` is then empty
- ``p``: for a token of a tool call, the index of the call, then the additions to calls: each
  ``[index, arguments]``, or ``[index, arguments, id, name]`` for the first part of a call
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pellucid.client.token_json import clamped
from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.token import Alternative, CallDelta, CallPart, GrammarScore, Token
from pellucid_webui.conversations.turn_settings import LARGEST

DIGITS = 6

_ROUNDING = 1e-3
"""Maximum distance by which rounding may move a probability or a logprob beyond the bound."""

_MAX_SHOWN = 200


def pack(tokens: Iterable[Token]) -> str:
    return json.dumps([record(token) for token in tokens], ensure_ascii=False, separators=(",", ":"))


def unpack(batches: Iterable[str], first: int = 0) -> list[Token]:
    """Return the tokens of batches, with positions from ``first`` on."""
    records = [found for batch in batches for found in records_in(batch)]
    return [token_of(found, first + index) for index, found in enumerate(records)]


def records_in(batch: str) -> list[Any]:
    try:
        found = json.loads(batch)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"This is not a batch of tokens ({error}): {batch[:_MAX_SHOWN]}") from error
    if not isinstance(found, list):
        raise InvalidRequestError(f"A batch of tokens is a list, not {batch[:_MAX_SHOWN]}")
    return found


def record_at(batches: Iterable[str], index: int) -> dict[str, Any] | None:
    """Return the record at an index across batches."""
    for batch in batches:
        records = records_in(batch)
        if index < len(records):
            found: dict[str, Any] = records[index]
            return found
        index -= len(records)
    return None


def record(token: Token) -> dict[str, Any]:
    found: dict[str, Any] = {
        "i": token.id,
        "t": token.text,
        "l": None if token.logprob is None else rounded(clamped(token.logprob)),
        "r": token.rank,
        "e": None if token.entropy is None else rounded(token.entropy),
        "s": None if token.sampled is None else rounded(token.sampled),
        "o": rounded(token.rest),
        "a": [_alternative(one) for one in token.top],
    }
    if token.entropy_range is not None:
        found["h"] = entropy_bounds(token.entropy_range)
    if token.allowed != 1.0:
        found["c"] = rounded(token.allowed)
    if token.grammar is not None:
        found["g"] = [rounded(token.grammar.mass), token.grammar.allowed, rounded(clamped(token.grammar.logprob))]
    if token.part is not None:
        found["p"] = [token.part.call, *(_delta(one) for one in token.part.deltas)]
    if token.reasoning is not None:
        found["q"] = token.reasoning
    if token.bytes != token.text.encode():
        found["b"] = b64encode(token.bytes).decode()
    return found


def token_of(found: Mapping[str, Any], position: int) -> Token:
    try:
        return Token(
            id=_whole(found["i"]),
            text=found["t"],
            bytes=_bytes(found["t"], found.get("b")),
            position=position,
            logprob=None if found["l"] is None else _logprob(found["l"]),
            rank=None if found["r"] is None else _whole(found["r"]),
            entropy=None if found["e"] is None else _number(found["e"], 0, LARGEST),
            top=tuple(
                Alternative(_whole(id), text, _bytes(text, *rest), _logprob(logprob))
                for id, text, logprob, *rest in found["a"]
            ),
            rest=_number(found["o"], 0, 1),
            sampled=None if found["s"] is None else _number(found["s"], 0, 1),
            allowed=_number(found.get("c", 1.0), 0, 1),
            part=_read_part(*found["p"]) if "p" in found else None,
            grammar=_read_grammar(*found["g"]) if "g" in found else None,
            entropy_range=_read_range(*found["h"]) if "h" in found else None,
            reasoning=_text(found["q"]) if "q" in found else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InvalidRequestError(f"This is not a token record ({error!r}): {str(found)[:_MAX_SHOWN]}") from error


def entropy_bounds(bounds: tuple[float, float]) -> list[float]:
    return [rounded(bound) for bound in bounds]


def _alternative(one: Alternative) -> list[Any]:
    short = [one.id, one.text, rounded(clamped(one.logprob))]
    return short if one.bytes == one.text.encode() else [*short, b64encode(one.bytes).decode()]


def _delta(one: CallDelta) -> list[Any]:
    short: list[Any] = [one.index, one.arguments]
    return short if one.id is None else [*short, one.id, one.name]


def _read_part(call: object, *deltas: Sequence[Any]) -> CallPart:
    return CallPart(_whole(call), tuple(_read_delta(*one) for one in deltas))


def _read_delta(index: object, arguments: object, id: object = None, name: object = None) -> CallDelta:
    if (id is None) is not (name is None):
        raise TypeError("a call has an id and a name")
    begun = {} if id is None else {"id": _text(id), "name": _text(name)}
    return CallDelta(_whole(index), _text(arguments), **begun)


def _read_range(least: object, most: object) -> tuple[float, float]:
    low = _number(least, 0, LARGEST)
    return low, _number(most, low, LARGEST)


def _read_grammar(mass: object, allowed: object, logprob: object) -> GrammarScore:
    return GrammarScore(_number(mass, 0, 1), _whole(allowed), _logprob(logprob))


def rounded(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")


def _bytes(text: str, found: str | None = None) -> bytes:
    plain = text.encode()  # Raises for lone surrogates, even if the bytes are given.
    return plain if found is None else b64decode(found, validate=True)


def _text(found: object) -> str:
    if not isinstance(found, str):
        raise TypeError(f"{found!r} is not a text")
    found.encode()  # Raises for lone surrogates.
    return found


def _whole(found: object) -> int:
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= LARGEST:
        raise TypeError(f"{found!r} is not a whole number from 0 to {LARGEST}")
    return found


def _logprob(found: object) -> float:
    return _number(found, -LARGEST, 0)


def _number(found: object, least: float, most: float) -> float:
    if (
        not isinstance(found, int | float)
        or isinstance(found, bool)
        or not least - _ROUNDING <= found <= most + _ROUNDING
    ):
        raise TypeError(f"{found!r} is not a number between {least} and {most}")
    return float(found)
