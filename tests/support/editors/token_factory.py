"""Makes tokens for tests, from texts and probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import log

from pellucid.vocabulary.token import Alternative, Token


def make_tokens(*texts: str, p: float = 0.9, other: tuple[str, float] = ("other", 0.05)) -> tuple[Token, ...]:
    """Return a token for each text, with the same probability and alternative each."""
    return tuple(token(text, p, index, other) for index, text in enumerate(texts))


def token(text: str, p: float = 0.9, position: int = 0, other: tuple[str, float] = ("other", 0.05)) -> Token:
    """Return a token of this text and probability, with rank 1 of two."""
    data, name = text.encode(), other[0].encode()
    top = (Alternative(position, text, data, log(p)), Alternative(1000 + position, other[0], name, log(other[1])))
    return Token(position, text, data, position, log(p), 1, 0.3, top, rest=max(0.0, 1 - p - other[1]), sampled=1.0)


def healed(text: str, p: float, allowed: float, others: Mapping[str, float]) -> Token:
    """Return a token that repeats typed text; ``allowed`` is the probability of all such tokens."""
    top = (
        Alternative(0, text, text.encode(), log(p)),
        *(Alternative(1 + n, name, name.encode(), log(share)) for n, (name, share) in enumerate(others.items())),
    )
    return replace(token(text, p), top=top, rest=1 - p - sum(others.values()), allowed=allowed)


def joined(tokens: tuple[Token, ...]) -> str:
    """Return the text of tokens."""
    return "".join(one.text for one in tokens)


def in_words(text: str, size: int = 4) -> tuple[Token, ...]:
    """Return tokens of a few characters, as from a model."""
    return make_tokens(*(text[at : at + size] for at in range(0, len(text), size)))
