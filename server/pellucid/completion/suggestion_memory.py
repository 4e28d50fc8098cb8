"""Recent suggestions, and the user's decisions: shown, accepted or dismissed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace

from pellucid.completion.cursor_keys import CursorKey, key_of, key_with_text, put, shorten_cursor
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.suggestion import Suggestion, truncate

MAX_SUGGESTIONS = 250


class SuggestionMemory:
    def __init__(self) -> None:
        self._suggestions: OrderedDict[str, Suggestion] = OrderedDict()
        self._dismissed: OrderedDict[CursorKey, None] = OrderedDict()
        self._accepted: OrderedDict[str, int] = OrderedDict()
        self._last_accepted: Suggestion | None = None
        self._last_shown: Suggestion | None = None

    def add(self, suggestion: Suggestion) -> None:
        suggestion = replace(suggestion, cursor=shorten_cursor(suggestion.cursor))
        put(self._suggestions, suggestion.id, suggestion, MAX_SUGGESTIONS)

    def get(self, id: str) -> Suggestion | None:
        return self._suggestions.get(id)

    def note_shown(self, suggestion: Suggestion) -> bool:
        """Note that a suggestion is shown.

        Return False for a repetition or the rest of the last shown suggestion.
        """
        last, self._last_shown = self._last_shown, replace(suggestion, cursor=shorten_cursor(suggestion.cursor))
        return last is None or not _is_rest(suggestion, last)

    def doubtful_suggestion(self, cursor: DocumentCursor) -> tuple[str, int] | None:
        """Return the rest of the last shown suggestion, and the number of sure characters.

        The beginning has been accepted or typed. Return None for a suggestion without a doubtful
        rest or for a different cursor.
        """
        last, here = self._last_shown, key_of(shorten_cursor(cursor))
        if last is None or not last.doubtful:
            return None
        for typed in range(1, len(last.text)):
            if key_with_text(last.cursor, last.text[:typed]) == here:
                return last.text[typed:], max(len(last.sure.text) - typed, 0)
        return None

    def dismiss(self, suggestion: Suggestion) -> None:
        """Do not offer this text or the text's sure beginning at this cursor again."""
        for text in filter(None, (suggestion.text, suggestion.sure.text)):
            put(self._dismissed, key_with_text(suggestion.cursor, text), None, MAX_SUGGESTIONS)

    def is_dismissed(self, cursor: DocumentCursor, text: str) -> bool:
        return key_with_text(shorten_cursor(cursor), text) in self._dismissed

    def accept(self, suggestion: Suggestion, length: int) -> bool:
        """Note that the first ``length`` characters were accepted.

        Return False if the user accepted a part before, or if this suggestion is the rest of the
        last accepted suggestion.
        """
        last, self._last_accepted = self._last_accepted, replace(suggestion, cursor=shorten_cursor(suggestion.cursor))
        known = suggestion.id in self._accepted or (last is not None and _is_rest(suggestion, last))
        put(self._accepted, suggestion.id, length, MAX_SUGGESTIONS)
        return not known

    def is_accepted(self, id: str) -> bool:
        """Return whether a suggestion was accepted, at least in part."""
        return id in self._accepted

    def accepted_part(self, suggestion: Suggestion) -> Suggestion:
        """Return the accepted part of a suggestion, or an unaccepted suggestion as a whole."""
        length = self._accepted.get(suggestion.id, len(suggestion.text))
        return replace(suggestion, text=suggestion.text[:length], tokens=truncate(suggestion.tokens, length))

    def accepted(self, uri: str) -> Iterator[Suggestion]:
        for id in reversed(self._accepted):
            suggestion = self._suggestions.get(id)
            if suggestion is not None and suggestion.cursor.uri == uri:
                yield self.accepted_part(suggestion)


def _is_rest(suggestion: Suggestion, former: Suggestion) -> bool:
    """Return whether both suggestions end at the same place.

    If ``former`` is partial, ``suggestion`` may continue after the end of ``former``.
    """
    cursor, key = shorten_cursor(suggestion.cursor), key_with_text(former.cursor, former.text)
    ends = range(len(suggestion.text) + 1) if former.partial else [len(suggestion.text)]
    return any(key_with_text(cursor, suggestion.text[:end]) == key for end in ends)
