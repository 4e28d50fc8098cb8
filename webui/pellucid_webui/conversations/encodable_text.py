"""Makes any text of a browser or a model one that a file can hold."""

from __future__ import annotations


def encodable(text: str) -> str:
    """Return the text with U+FFFD for lone surrogates, which browsers may send but UTF-8 cannot encode."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
