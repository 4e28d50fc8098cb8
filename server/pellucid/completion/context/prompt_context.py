"""Prompts from the lines around the cursor, chunks of other files, and definitions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pellucid.completion.context.chunk_ring import CHARACTERS_PER_TOKEN, ChunkRing
from pellucid.completion.context.definitions import Definitions
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.settings import ContextSettings
from pellucid.completion.suggestion import Prompt
from pellucid.vocabulary.query import Extra

SLACK = 0.5
"""Share of its budget by which the prefix may grow or shrink before sliding."""

LANDMARK_CHARACTERS = 200
"""Characters at a window's start that identify the window after an edit above."""

MAX_WINDOWS = 4
"""Number of windows per document: after a jump back, the prompt is still in the KV cache."""

MAX_DOCUMENTS = 50
"""Maximum number of documents with windows: a late request may add a closed document again."""

_END_OF_LINE = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class ContextWindow:
    """The prefix's start, the document's length at that time, and the sent chunks.

    ``landmark``: the character before the window and the window's beginning. ``version``: of the
    chunks.
    """

    start: int
    length: int
    landmark: str
    extra: tuple[Extra, ...]
    version: int


class PromptContext:
    """Prompts with a stable beginning, for the KV cache.

    Models read the text before the cursor last, so typing only appends to the prompt, and
    everything before comes from the KV cache until the window slides. The window's start, at the
    beginning of a line, is kept between half and one and a half of the budget; then the window
    slides by half a budget at once. The suffix's end depends on the suffix alone, which typing does
    not change.
    """

    def __init__(self, settings: ContextSettings, ring: ChunkRing, definitions: Definitions | None = None) -> None:
        self._prefix = int(settings.prefix_tokens * CHARACTERS_PER_TOKEN)
        self._suffix = int(settings.suffix_tokens * CHARACTERS_PER_TOKEN)
        self._ring = ring
        self._definitions = definitions or Definitions(settings)
        self._windows: dict[str, tuple[ContextWindow, ...]] = {}

    @property
    def version(self) -> int:
        """The number of changes of the chunks of other files."""
        return self._ring.version + self._definitions.version

    def prompt(self, cursor: DocumentCursor) -> Prompt:
        """Return the prompt at a cursor: after typing, the last prompt with a longer prefix.

        Chunks that must no longer be sent are always dropped.
        """
        self._ring.check()
        self._definitions.check()
        before, after, version = cursor.before, cursor.after, self.version
        known = self._windows.pop(cursor.uri, ())
        last, prompt = self._around(known, cursor)
        extra = last.extra if last is not None and last.version == version else self._extra(prompt, cursor.uri)
        start = len(before) - len(prompt.prefix)
        window = ContextWindow(
            start, len(before) + len(after), before[max(start - 1, 0) : start + LANDMARK_CHARACTERS], extra, version
        )
        others = (one for one in known if one is not last and one.start != start)
        self._windows[cursor.uri] = (window, *others)[:MAX_WINDOWS]
        if len(self._windows) > MAX_DOCUMENTS:
            del self._windows[next(iter(self._windows))]
        return replace(prompt, extra=extra)

    def prepared_prompt(self, cursor: DocumentCursor) -> Prompt:
        """Return the prompt as it will be when the prepared definitions are adopted."""
        _, prompt = self._around(self._windows.get(cursor.uri, ()), cursor)
        return replace(prompt, extra=self._extra(prompt, cursor.uri, prepared=True))

    def _around(self, known: Sequence[ContextWindow], cursor: DocumentCursor) -> tuple[ContextWindow | None, Prompt]:
        """Return the last window at a cursor, if any, and the prompt without chunks."""
        before, after = cursor.before, cursor.after
        last, start = self._find_window(known, cursor) or (None, window_start(before, self._prefix))
        return last, Prompt(before[start:], after[: window_end(after, self._suffix)], ())

    def _extra(self, prompt: Prompt, uri: str, *, prepared: bool = False) -> tuple[Extra, ...]:
        around = prompt.prefix + prompt.suffix
        chunks = self._ring.chunks(around, uri)
        around = "\n".join((around, *(chunk.text for chunk in chunks)))
        return (*chunks, *self._definitions.chunks(around, uri, prepared=prepared))

    def forget(self, uri: str) -> None:
        self._windows.pop(uri, None)

    def _find_window(
        self, windows: Sequence[ContextWindow], cursor: DocumentCursor
    ) -> tuple[ContextWindow, int] | None:
        """Return the latest window still in the document with a good size, and its start."""
        for window in windows:
            grown = len(cursor.before) + len(cursor.after) - window.length
            # The second start follows a change above the window.
            starts = (window.start, window.start + grown) if window.start else (0,)
            for start in starts:
                least, most = self._prefix * (1 - SLACK) if start else 0, self._prefix * (1 + SLACK)
                has_size = start >= 0 and least <= len(cursor.before) - start <= most
                if has_size and cursor.before.startswith(window.landmark, max(start - 1, 0)):
                    return window, start
        return None


def window_start(before: str, most: int) -> int:
    """Return the start of the last ``most`` characters, at a line start if in the first half."""
    if len(before) <= most:
        return 0
    first = len(before) - most
    end_of_line = _END_OF_LINE.search(before, first - 1, len(before) - most // 2)
    return _past_line_end(before, end_of_line.end() if end_of_line else first)


def window_end(after: str, most: int) -> int:
    """Return the end of the first ``most`` characters, at a line end if in the second half."""
    if len(after) <= most or not most:
        return min(len(after), most)
    end_of_line = max(after.rfind("\n", most // 2, most), after.rfind("\r", most // 2, most))
    return _past_line_end(after, end_of_line + 1 if end_of_line >= 0 else most)


def _past_line_end(text: str, index: int) -> int:
    r"""Return the index, or the next index if between ``\r`` and ``\n``."""
    return index + (text[index - 1 : index + 1] == "\r\n")
