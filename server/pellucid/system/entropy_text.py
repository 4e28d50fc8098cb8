"""Entropy in bits, for people."""

from __future__ import annotations

from math import log

from pellucid.vocabulary.token import Token


def entropy_in_bits(token: Token) -> str:
    """Return a token's entropy in bits, as a number, a range ("1.90 to 2.60") or "" if unknown."""
    known = token.entropy_range if token.entropy is None else (token.entropy, token.entropy)
    if known is None:
        return ""
    low, high = (f"{nats / log(2):.2f}" for nats in known)
    return low if low == high else f"{low} to {high}"
