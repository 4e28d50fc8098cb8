"""Remembers recent answers, so that typing into one, or coming back to it, needs no request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from pellucid.completion.settings import SuggestionShape
from pellucid.completion.suggestion import DocumentCursor, Suggestion, drop_typed, join_texts, truncate
from pellucid.tokens import Token

K = TypeVar("K")
V = TypeVar("V")

CHARACTERS_BEFORE = 2_000
"""Characters before a cursor by which it is recognised.
Edits further above do not invalidate an answer.
"""

CHARACTERS_AFTER = 500
"""Characters after a cursor by which it is recognised."""

MAX_CLOSED = 20
"""Brackets and quotes that an editor may have closed since an answer was generated."""

MAX_ANSWERS = 60
MAX_SUGGESTIONS = 250

PAIRS = {"(": ")", "[": "]", "{": "}", '"': '"', "'": "'", "`": "`"}
"""The brackets and quotes that editors close automatically."""


@dataclass(frozen=True, slots=True)
class RecentAnswer:
    """A model's answer at a cursor.

    ``complete``: the model ended it; otherwise the stream was closed and more may follow.
    ``cut_off``: it ended at the limit of tokens. ``prefetched``: it was generated before it was
    asked for.
    """

    cursor: DocumentCursor
    tokens: tuple[Token, ...]
    shape: SuggestionShape
    complete: bool
    model: str
    prefetched: bool = False
    cut_off: bool = False

    @property
    def text(self) -> str:
        """The whole answer."""
        return join_texts(self.tokens)


@dataclass(frozen=True, slots=True)
class RemainingAnswer:
    """The ``tokens`` of an answer that follow the cursor after the user has ``typed`` its beginning."""

    answer: RecentAnswer
    typed: str
    tokens: tuple[Token, ...]

    @property
    def text(self) -> str:
        """The remaining text."""
        return join_texts(self.tokens)


class RecentAnswers:
    """The most recent answers, and the most recent suggestions by id."""

    def __init__(self) -> None:
        self._answers: OrderedDict[tuple[str, str, str], RecentAnswer] = OrderedDict()
        self._suggestions: OrderedDict[str, Suggestion] = OrderedDict()
        self._dismissed: OrderedDict[tuple[str, str, str], None] = OrderedDict()
        self._accepted: OrderedDict[str, int] = OrderedDict()
        self._last_accepted: Suggestion | None = None
        self._last_shown: Suggestion | None = None

    def keep(self, answer: RecentAnswer) -> RecentAnswer:
        """Remember an answer, replacing an older one at the same cursor.

        Return it as ``find`` returns it.
        """
        answer = replace(answer, cursor=shorten_cursor(answer.cursor))
        _put(self._answers, _key(answer.cursor), answer, MAX_ANSWERS)
        return answer

    def find(self, cursor: DocumentCursor) -> RemainingAnswer | None:
        """Return what remains at this cursor of the newest answer that continues here, or None."""
        for answer in reversed(self._answers.values()):
            remaining = continue_answer(answer, cursor)
            if remaining is not None:
                return remaining
        return None

    def add(self, suggestion: Suggestion) -> None:
        """Remember a suggestion by its id."""
        suggestion = replace(suggestion, cursor=shorten_cursor(suggestion.cursor))
        _put(self._suggestions, suggestion.id, suggestion, MAX_SUGGESTIONS)

    def get(self, id: str) -> Suggestion | None:
        """Return the suggestion with this id, or None if it is no longer remembered."""
        return self._suggestions.get(id)

    def note_shown(self, suggestion: Suggestion) -> bool:
        """Note that a suggestion is shown.

        Return False if it is the last one still, or the rest of it.
        """
        last, self._last_shown = self._last_shown, replace(suggestion, cursor=shorten_cursor(suggestion.cursor))
        return last is None or not _is_rest(suggestion, last)

    def doubtful_suggestion(self, cursor: DocumentCursor) -> tuple[str, int] | None:
        """Return what is left of the last suggestion, and how many characters of it are sure; None if it had no doubtful rest here.

        Its beginning may have been accepted or typed.
        """
        last, here = self._last_shown, _key(shorten_cursor(cursor))
        if last is None or not last.doubtful:
            return None
        for typed in range(1, len(last.text)):
            if _key_with_text(last.cursor, last.text[:typed]) == here:
                return last.text[typed:], max(len(last.sure.text) - typed, 0)
        return None

    def dismiss(self, suggestion: Suggestion) -> None:
        """Do not offer this text at its cursor again, nor its sure beginning."""
        for text in filter(None, (suggestion.text, suggestion.sure.text)):
            _put(self._dismissed, _key_with_text(suggestion.cursor, text), None, MAX_SUGGESTIONS)

    def is_dismissed(self, cursor: DocumentCursor, text: str) -> bool:
        """Return whether the user dismissed this text at this cursor."""
        return _key_with_text(shorten_cursor(cursor), text) in self._dismissed

    def forget_answers(self) -> None:
        """Forget all answers, because another model will answer."""
        self._answers.clear()

    def accept(self, suggestion: Suggestion, length: int) -> bool:
        """Note that the first ``length`` characters were accepted.

        Return whether none were accepted before, also not of the suggestion of which this one is
        the rest.
        """
        last, self._last_accepted = self._last_accepted, replace(suggestion, cursor=shorten_cursor(suggestion.cursor))
        known = suggestion.id in self._accepted or (last is not None and _is_rest(suggestion, last))
        _put(self._accepted, suggestion.id, length, MAX_SUGGESTIONS)
        return not known

    def is_accepted(self, id: str) -> bool:
        """Return whether the suggestion, or a part of it, was accepted."""
        return id in self._accepted

    def accepted_part(self, suggestion: Suggestion) -> Suggestion:
        """Return the accepted part of a suggestion, or all of it if nothing was accepted."""
        length = self._accepted.get(suggestion.id, len(suggestion.text))
        return replace(suggestion, text=suggestion.text[:length], tokens=truncate(suggestion.tokens, length))

    def accepted(self, uri: str) -> Iterator[Suggestion]:
        """Yield the accepted parts of suggestions in a document, the newest first."""
        for id in reversed(self._accepted):
            suggestion = self._suggestions.get(id)
            if suggestion is not None and suggestion.cursor.uri == uri:
                yield self.accepted_part(suggestion)


def text_after(answer: RecentAnswer, cursor: DocumentCursor) -> str:
    """Return the whole text that followed an answer's cursor, of which it keeps only the beginning.

    ``cursor`` is where its document is now, perhaps in front of brackets that the editor has
    closed.
    """
    kept = answer.cursor.after
    found = cursor.after.find(kept, 0, len(kept) + MAX_CLOSED) if len(kept) == CHARACTERS_AFTER else -1
    return kept if found < 0 else cursor.after[found:]


def shorten_cursor(cursor: DocumentCursor) -> DocumentCursor:
    """Return the cursor with only the text by which it is recognised."""
    return replace(cursor, before=cursor.before[-CHARACTERS_BEFORE:], after=cursor.after[:CHARACTERS_AFTER])


def continue_answer(answer: RecentAnswer, cursor: DocumentCursor) -> RemainingAnswer | None:
    """Return what remains of an answer at a cursor that was reached by typing its beginning, or None.

    The answer's own cursor must be a shortened one.
    """
    if answer.cursor.uri != cursor.uri:
        return None
    text = answer.text
    for length in range(min(len(text), len(cursor.before) + 1)):
        typed = text[:length]
        if not (
            cursor.before.endswith(typed)
            and _ends_with_tail(cursor.before, len(cursor.before) - length, answer.cursor.before)
        ):
            continue
        if cursor.after[:CHARACTERS_AFTER] == answer.cursor.after:
            return RemainingAnswer(answer, typed, drop_typed(answer.tokens, length))
        closer = PAIRS.get(typed[-1:], "")
        if closer and cursor.after.startswith(closer) and cursor.after[1 : CHARACTERS_AFTER + 1] == answer.cursor.after:
            rest = text[length : length + _find_closer(text[length:], closer)]
            if rest:
                return RemainingAnswer(answer, typed, truncate(drop_typed(answer.tokens, length), len(rest)))
    return None


def _ends_with_tail(before: str, end: int, tail: str) -> bool:
    """Return whether ``before[:end]`` shortens to ``tail``."""
    start = end - len(tail)
    return start >= 0 and before[start:end] == tail and (len(tail) == CHARACTERS_BEFORE or start == 0)


def _find_closer(text: str, closer: str) -> int:
    """Return where the text closes the bracket or quote that was opened before it, or its length."""
    opener = next(left for left, right in PAIRS.items() if right == closer)
    depth = 0
    for index, character in enumerate(text):
        if character == closer and depth == 0:
            return index
        if opener != closer:
            depth += (character == opener) - (character == closer)
    return len(text)


def _key(cursor: DocumentCursor) -> tuple[str, str, str]:
    return cursor.uri, cursor.before, cursor.after


def _key_with_text(cursor: DocumentCursor, text: str) -> tuple[str, str, str]:
    return cursor.uri, (cursor.before + text)[-CHARACTERS_BEFORE:], cursor.after


def _is_rest(suggestion: Suggestion, former: Suggestion) -> bool:
    """Return whether a suggestion is all that is left of a former one, or the whole of which that was the beginning."""
    cursor, key = shorten_cursor(suggestion.cursor), _key_with_text(former.cursor, former.text)
    ends = range(len(suggestion.text) + 1) if former.partial else [len(suggestion.text)]
    return any(_key_with_text(cursor, suggestion.text[:end]) == key for end in ends)


def _put(kept: OrderedDict[K, V], key: K, value: V, limit: int) -> None:
    kept.pop(key, None)
    kept[key] = value
    if len(kept) > limit:
        kept.popitem(last=False)
