"""The text around a cursor, as a key for a place in a document."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TypeVar

from pellucid.completion.document_cursor import DocumentCursor

K = TypeVar("K")
V = TypeVar("V")

CursorKey = tuple[str, str, str]
"""Document, text before and text after."""

CHARACTERS_BEFORE = 2_000
"""Characters before a cursor in a key: edits further above do not matter."""

CHARACTERS_AFTER = 500
"""Characters after a cursor in a key."""


def shorten_cursor(cursor: DocumentCursor) -> DocumentCursor:
    """Return the cursor with only the text of a key."""
    return replace(cursor, before=cursor.before[-CHARACTERS_BEFORE:], after=cursor.after[:CHARACTERS_AFTER])


def key_of(cursor: DocumentCursor) -> CursorKey:
    return cursor.uri, cursor.before, cursor.after


def key_with_text(cursor: DocumentCursor, text: str) -> CursorKey:
    return cursor.uri, (cursor.before + text)[-CHARACTERS_BEFORE:], cursor.after


def put(kept: OrderedDict[K, V], key: K, value: V, limit: int) -> None:
    """Put a value at the end, and drop the oldest value beyond the limit."""
    kept.pop(key, None)
    kept[key] = value
    if len(kept) > limit:
        kept.popitem(last=False)
