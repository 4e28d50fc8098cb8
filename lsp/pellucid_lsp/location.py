"""Where an accepted suggestion stands in a document that has changed since."""

from __future__ import annotations

from pellucid_lsp.suggestion import Suggestion

CONTEXT = 40
"""Characters before a suggestion by which it is told from another piece of text like it."""


def locate(text: str, suggestion: Suggestion) -> int | None:
    """The offset at which a suggestion stands in a text whose lines end with a line feed, or None.

    Of several places the one with the same text before it counts, then the one nearest to the line where it was inserted.
    """
    offsets = []
    start = text.find(suggestion.text)
    while start >= 0:
        offsets.append(start)
        start = text.find(suggestion.text, start + 1)
    before = suggestion.place.before[-CONTEXT:]
    line = suggestion.place.position[0]
    return min(offsets, key=lambda at: (not text.endswith(before, 0, at), abs(text.count("\n", 0, at) - line)), default=None)


def token_at(suggestion: Suggestion, offset: int) -> int | None:
    """The index of the token that holds the character at an offset from the suggestion's start, or None."""
    end = 0
    for index, token in enumerate(suggestion.tokens):
        end += len(token.text)
        if offset < end:
            return index if offset >= 0 else None
    return None
