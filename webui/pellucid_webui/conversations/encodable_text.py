"""Replacement of text without a UTF-8 encoding."""

from __future__ import annotations


def encodable(text: str) -> str:
    """Replace lone surrogates, which browsers may send, with U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
