"""Where an answer can be cut and gone on with: between whole characters, and with another alternative in the place of a token."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from pellucid.errors import InvalidRequestError
from pellucid.tokens import Token


def open_bytes(tokens: Iterable[Token]) -> Iterator[bytes]:
    """After each token the bytes of a character that it has begun and not completed."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for token in tokens:
        decoder.decode(token.bytes)
        yield decoder.getstate()[0]


def whole_characters(tokens: Sequence[Token]) -> list[Token]:
    """The tokens up to the last one that does not end inside a character."""
    length = 0
    for count, rest in enumerate(open_bytes(tokens), 1):
        if not rest:
            length = count
    return list(tokens[:length])


def with_alternative(tokens: Sequence[Token], index: int, alternative: int) -> list[Token]:
    """The tokens up to ``index``, then another alternative of that one.

    Raises InvalidRequestError where there is none, or where a character would stay half.
    """
    if not (0 <= index < len(tokens) and 0 <= alternative < len(tokens[index].top)):
        raise InvalidRequestError("There is no such alternative: look at the token again.")
    token, other = tokens[index], tokens[index].top[alternative]
    begun = [b"", *open_bytes(tokens[:index])][-1]
    try:
        text = (begun + other.bytes).decode()
    except UnicodeDecodeError as error:
        raise InvalidRequestError("With this alternative a character would stay half: choose another one, or another token.") from error
    if _loses_space(token):
        text = text.removeprefix(" ")
    said = replace(token, id=other.id, text=text, bytes=other.bytes, logprob=other.logprob, rank=alternative + 1, sampled=None)
    return [*tokens[:index], said]


def _loses_space(token: Token) -> bool:
    """Whether the tokenizer's own space in front of the text is not part of it: then it is none of an alternative's text either."""
    return token.bytes.startswith(b" ") and not token.text.startswith(" ")
