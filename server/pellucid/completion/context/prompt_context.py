"""What the model gets to read: the lines around the cursor, and chunks of other files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.completion.context.chunk_ring import CHARACTERS_PER_TOKEN, ChunkRing
from pellucid.completion.settings import ContextSettings
from pellucid.completion.suggestion import DocumentCursor, Prompt
from pellucid.tokens import Extra

SLACK = 0.5
"""How far, as a part of its budget, the window before the cursor may grow or shrink before it slides."""

LANDMARK = 200
"""Characters at the start of a window by which it is found again after an edit above it."""

WINDOWS = 4
"""How many windows of a document are remembered: who jumps back finds the prompt of before, which the cache still holds."""

DOCUMENTS = 50
"""How many documents have windows that are remembered: a late request for one that was closed makes one of its own again."""

_END_OF_LINE = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class ContextWindow:
    """Where the text before the cursor begins, how long the document was then, and the chunks that were sent with it.

    ``landmark`` is the character in front of the window, if any, and how the window begins; ``version`` is the ring's.
    """

    start: int
    length: int
    landmark: str
    extra: tuple[Extra, ...]
    version: int


class PromptContext:
    """Makes the prompt of each place.

    Models read the text before the cursor last, so typing only appends to the prompt, and all that was read before comes
    from the cache, as long as the window does not slide. So its start, at a line, is kept while what it
    holds stays between half of the budget and one and a half; then it slides by half a budget at once.
    The end of the text after the cursor depends on that text alone, which typing leaves as it is.
    """

    def __init__(self, settings: ContextSettings, ring: ChunkRing) -> None:
        self._prefix = int(settings.prefix_tokens * CHARACTERS_PER_TOKEN)
        self._suffix = int(settings.suffix_tokens * CHARACTERS_PER_TOKEN)
        self._ring = ring
        self._windows: dict[str, tuple[ContextWindow, ...]] = {}

    def prompt(self, cursor: DocumentCursor) -> Prompt:
        """What is sent for a place. Where more was typed since, it is what was sent before, and more at the end of the prefix.

        Without the chunks of other files, though, that may not be sent any more.
        """
        self._ring.check()
        before, after, version = cursor.before, cursor.after, self._ring.version
        known = self._windows.pop(cursor.uri, ())
        last, start = self._found_again(known, cursor) or (None, window_start(before, self._prefix))
        prefix, suffix = before[start:], after[: window_end(after, self._suffix)]
        extra = last.extra if last is not None and last.version == version else self._ring.chunks(prefix + suffix, cursor.uri)
        window = ContextWindow(start, len(before) + len(after), before[max(start - 1, 0) : start + LANDMARK], extra, version)
        others = (one for one in known if one is not last and one.start != start)
        self._windows[cursor.uri] = (window, *others)[:WINDOWS]
        if len(self._windows) > DOCUMENTS:
            del self._windows[next(iter(self._windows))]
        return Prompt(prefix, suffix, extra)

    def forget(self, uri: str) -> None:
        """The document was closed."""
        self._windows.pop(uri, None)

    def _found_again(self, windows: Sequence[ContextWindow], cursor: DocumentCursor) -> tuple[ContextWindow, int] | None:
        """The latest window of the document that is still there and of a good size, and where it begins now."""
        for window in windows:
            grown = len(cursor.before) + len(cursor.after) - window.length
            starts = (window.start, window.start + grown) if window.start else (0,)  # the second: something changed above it
            for start in starts:
                if self._fits(cursor.before, start, window.landmark):
                    return window, start
        return None

    def _fits(self, before: str, start: int, landmark: str) -> bool:
        least, most = self._prefix * (1 - SLACK) if start else 0, self._prefix * (1 + SLACK)
        return least <= len(before) - start <= most and start >= 0 and before.startswith(landmark, max(start - 1, 0))


def window_start(before: str, most: int) -> int:
    """Where to begin to read ``before`` to have at most ``most`` characters: at a line, if one begins in the first half of them."""
    if len(before) <= most:
        return 0
    first = len(before) - most
    end_of_line = _END_OF_LINE.search(before, first - 1, len(before) - most // 2)
    return _past_line_end(before, end_of_line.end() if end_of_line else first)


def window_end(after: str, most: int) -> int:
    """Where to stop to read ``after`` to have about ``most`` characters: behind a line, if one ends in the second half of them."""
    if len(after) <= most or not most:
        return min(len(after), most)
    end_of_line = max(after.rfind("\n", most // 2, most), after.rfind("\r", most // 2, most))
    return _past_line_end(after, end_of_line + 1 if end_of_line >= 0 else most)


def _past_line_end(text: str, index: int) -> int:
    r"""The index, or the one after it where that is between ``\r`` and ``\n``."""
    return index + (text[index - 1 : index + 1] == "\r\n")
