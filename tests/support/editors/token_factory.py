"""Makes tokens for tests, from texts and probabilities."""

from __future__ import annotations

from math import log

from pellucid.tokens import Alternative, Token


def make_tokens(*texts: str, p: float = 0.9, other: tuple[str, float] = ("other", 0.05)) -> tuple[Token, ...]:
    """One token for each text, all with the same probability, and one other alternative each."""
    return tuple(token(text, p, index, other) for index, text in enumerate(texts))


def token(text: str, p: float = 0.9, position: int = 0, other: tuple[str, float] = ("other", 0.05)) -> Token:
    """A token of this text and probability, rank 1 of two."""
    data, name = text.encode(), other[0].encode()
    top = (Alternative(position, text, data, log(p)), Alternative(1000 + position, other[0], name, log(other[1])))
    return Token(position, text, data, position, log(p), 1, 0.3, top, rest=max(0.0, 1 - p - other[1]), sampled=1.0)


def joined(tokens: tuple[Token, ...]) -> str:
    """Return the text of tokens."""
    return "".join(one.text for one in tokens)
