"""Other ways that an answer could have gone: at one of its tokens, by one of that token's alternatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pellucid.tokens import Token


def alternatives(tokens: Sequence[Token]) -> list[tuple[float, int, int]]:
    """For each alternative that would read otherwise: the logprob of the way to it, its token's index and its own."""
    found = []
    way = 0.0
    for index, token in enumerate(tokens):
        for number, alternative in enumerate(token.top):
            if alternative.id != token.id and force_alternative(tokens, index, number) is not None and alternative.text.strip():
                found.append((way + alternative.logprob, index, number))
        way += token.logprob or 0.0
    return found


def force_alternative(tokens: Sequence[Token], index: int, alternative: int) -> tuple[Token, ...] | None:
    """The tokens up to ``index``, and the alternative in that one's place.

    None where there is no such alternative, or where it does not agree with what the token has in the document already,
    or is not whole characters.
    """
    if not (0 <= index < len(tokens) and 0 <= alternative < len(tokens[index].top)):
        return None
    token, other = tokens[index], tokens[index].top[alternative]
    data = token.text.encode()
    if not token.bytes.endswith(data):  # cut at its end, where the suggestion ends, or half a character
        data = b"" if not token.bytes.decode(errors="replace").startswith(token.text) else token.bytes
    typed = token.bytes[: len(token.bytes) - len(data)]
    if not other.bytes.startswith(typed):
        return None
    try:
        text = other.bytes[len(typed) :].decode()
    except UnicodeDecodeError:
        return None
    if not text:
        return None
    other_way = replace(token, id=other.id, text=text, bytes=other.bytes, logprob=other.logprob, rank=alternative + 1, sampled=None)
    return (*tokens[:index], other_way)
