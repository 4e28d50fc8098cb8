"""Builds the prompt: the lines around the cursor, and chunks of other files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.completion.context.chunk_ring import CHARACTERS_PER_TOKEN, ChunkRing
from pellucid.completion.settings import ContextSettings
from pellucid.completion.suggestion import DocumentCursor, Prompt
from pellucid.tokens import Extra

SLACK = 0.5
"""The share of its budget by which the window before the cursor may grow or shrink before it
slides.
"""

LANDMARK_CHARACTERS = 200
"""Characters at the start of a window by which it is recognised after an edit above it."""

MAX_WINDOWS = 4
"""The most windows remembered per document, so that jumping back finds a prompt that is still in
the KV cache.
"""

MAX_DOCUMENTS = 50
"""The most documents with remembered windows: a late request for a closed document adds it again."""

_END_OF_LINE = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class ContextWindow:
    """The start of the text before the cursor, the document's length at that time, and the chunks that were sent with it.

    ``landmark`` is the character before the window, if any, and the beginning of the window;
    ``version`` is the ring's.
    """

    start: int
    length: int
    landmark: str
    extra: tuple[Extra, ...]
    version: int


class PromptContext:
    """Builds the prompt at each cursor.

    Models read the text before the cursor last. Typing therefore only appends to the prompt, and
    everything before comes from the KV cache, as long as the window does not slide. The window's
    start, at the beginning of a line, is kept while the window has between half of its budget and
    one and a half; then it slides by half a budget at once. The end of the text after the cursor
    depends on that text alone, which typing does not change.
    """

    def __init__(self, settings: ContextSettings, ring: ChunkRing) -> None:
        self._prefix = int(settings.prefix_tokens * CHARACTERS_PER_TOKEN)
        self._suffix = int(settings.suffix_tokens * CHARACTERS_PER_TOKEN)
        self._ring = ring
        self._windows: dict[str, tuple[ContextWindow, ...]] = {}

    def prompt(self, cursor: DocumentCursor) -> Prompt:
        """Return the prompt at a cursor.

        If the user has only typed since, it is the last prompt with a longer prefix.

        Chunks of other files that must no longer be sent are dropped in any case.
        """
        self._ring.check()
        before, after, version = cursor.before, cursor.after, self._ring.version
        known = self._windows.pop(cursor.uri, ())
        last, start = self._find_window(known, cursor) or (None, window_start(before, self._prefix))
        prefix, suffix = before[start:], after[: window_end(after, self._suffix)]
        extra = (
            last.extra
            if last is not None and last.version == version
            else self._ring.chunks(prefix + suffix, cursor.uri)
        )
        window = ContextWindow(
            start, len(before) + len(after), before[max(start - 1, 0) : start + LANDMARK_CHARACTERS], extra, version
        )
        others = (one for one in known if one is not last and one.start != start)
        self._windows[cursor.uri] = (window, *others)[:MAX_WINDOWS]
        if len(self._windows) > MAX_DOCUMENTS:
            del self._windows[next(iter(self._windows))]
        return Prompt(prefix, suffix, extra)

    def forget(self, uri: str) -> None:
        """Forget the windows of a closed document."""
        self._windows.pop(uri, None)

    def _find_window(
        self, windows: Sequence[ContextWindow], cursor: DocumentCursor
    ) -> tuple[ContextWindow, int] | None:
        """Return the latest window that is still in the document and of a good size, and its start."""
        for window in windows:
            grown = len(cursor.before) + len(cursor.after) - window.length
            starts = (
                (window.start, window.start + grown) if window.start else (0,)
            )  # the second one follows a change above the window
            for start in starts:
                if self._fits(cursor.before, start, window.landmark):
                    return window, start
        return None

    def _fits(self, before: str, start: int, landmark: str) -> bool:
        least, most = self._prefix * (1 - SLACK) if start else 0, self._prefix * (1 + SLACK)
        return least <= len(before) - start <= most and start >= 0 and before.startswith(landmark, max(start - 1, 0))


def window_start(before: str, most: int) -> int:
    """Return where the last ``most`` characters of ``before`` begin, moved to the start of a line if one begins in their first half."""
    if len(before) <= most:
        return 0
    first = len(before) - most
    end_of_line = _END_OF_LINE.search(before, first - 1, len(before) - most // 2)
    return _past_line_end(before, end_of_line.end() if end_of_line else first)


def window_end(after: str, most: int) -> int:
    """Return where the first ``most`` characters of ``after`` end, moved to the end of a line if one ends in their second half."""
    if len(after) <= most or not most:
        return min(len(after), most)
    end_of_line = max(after.rfind("\n", most // 2, most), after.rfind("\r", most // 2, most))
    return _past_line_end(after, end_of_line + 1 if end_of_line >= 0 else most)


def _past_line_end(text: str, index: int) -> int:
    r"""Return the index, or the next one if the index is between ``\r`` and ``\n``."""
    return index + (text[index - 1 : index + 1] == "\r\n")
