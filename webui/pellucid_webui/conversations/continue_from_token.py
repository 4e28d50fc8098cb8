"""Continuing an answer after a whole character, or after an alternative."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.token import Token


def open_bytes(tokens: Iterable[Token]) -> Iterator[bytes]:
    """Yield, for each token, the bytes of a character left incomplete after the token."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for token in tokens:
        decoder.decode(token.bytes)
        yield decoder.getstate()[0]


def whole_characters(tokens: Sequence[Token]) -> list[Token]:
    """Return the tokens up to the last token that ends with a whole character."""
    length = 0
    for count, rest in enumerate(open_bytes(tokens), 1):
        if not rest:
            length = count
    return list(tokens[:length])


def text_before(tokens: Sequence[Token], index: int) -> str:
    """Return the text before a token, which must not begin inside a character."""
    if not 0 <= index < len(tokens):
        raise InvalidRequestError("This answer has no such token: open it again.")
    _refuse_reasoning(tokens[index])
    if [b"", *open_bytes(tokens[:index])][-1]:
        raise InvalidRequestError("This token begins inside a character: choose the token before it.")
    return "".join(token.text for token in tokens[:index])


def with_alternative(tokens: Sequence[Token], index: int, alternative: int) -> list[Token]:
    """Return the tokens before ``index``, then the given alternative (-1: the token itself).

    Raises InvalidRequestError if the result would leave a character incomplete.
    """
    if not (0 <= index < len(tokens) and -1 <= alternative < len(tokens[index].top)):
        raise InvalidRequestError("This token has no such alternative: open it again.")
    token = tokens[index]
    _refuse_reasoning(token)
    other = token if alternative == -1 else token.top[alternative]
    incomplete = [b"", *open_bytes(tokens[:index])][-1]
    try:
        text = (incomplete + other.bytes).decode()
    except UnicodeDecodeError as error:
        raise InvalidRequestError(
            "This alternative would leave a character incomplete: choose another alternative, or another token."
        ) from error
    if other is token:
        return list(tokens[: index + 1])
    if token.bytes.startswith(b" ") and not token.text.startswith(" "):
        # The token's text omits the tokenizer's leading space, as the alternative must.
        text = text.removeprefix(" ")
    replaced = replace(
        token, id=other.id, text=text, bytes=other.bytes, logprob=other.logprob, rank=alternative + 1, sampled=None
    )
    return [*tokens[:index], replaced]


def _refuse_reasoning(token: Token) -> None:
    if token.reasoning is not None:
        raise InvalidRequestError(
            "Nothing can continue from inside the reasoning: choose a token of the answer, or regenerate the answer."
        )
