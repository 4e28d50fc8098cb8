"""What the model said lately: typing into it, or coming back to it, answers without a request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from pellucid.completion.settings import SuggestionShape
from pellucid.completion.suggestion import DocumentCursor, Suggestion, truncate
from pellucid.tokens import Token

K = TypeVar("K")
V = TypeVar("V")

TAIL = 2_000
"""Characters before the cursor that make a place the same place; an edit further above changes nothing here."""

HEAD = 500
"""The same after the cursor."""

ANSWERS = 60
SUGGESTIONS = 250

PAIRS = {"(": ")", "[": "]", "{": "}", '"': '"', "'": "'", "`": "`"}
"""What editors close by themselves when it is opened."""


@dataclass(frozen=True, slots=True)
class RecentAnswer:
    """What the model said at a place.

    ``complete``: it has ended; else there may be more than was waited for. ``cut_off``: it has ended at the limit of tokens.
    """

    cursor: DocumentCursor
    tokens: tuple[Token, ...]
    shape: SuggestionShape
    complete: bool
    model: str
    ahead: bool = False
    cut_off: bool = False

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(token.text for token in self.tokens)


@dataclass(frozen=True, slots=True)
class RemainingAnswer:
    """An answer of which ``typed`` is in the document already; ``tokens`` are what is left of it."""

    answer: RecentAnswer
    typed: str
    tokens: tuple[Token, ...]

    @property
    def text(self) -> str:
        """What is left."""
        return "".join(token.text for token in self.tokens)


class RecentAnswers:
    """The last answers, and the last suggestions by their ids."""

    def __init__(self) -> None:
        self._answers: OrderedDict[tuple[str, str, str], RecentAnswer] = OrderedDict()
        self._suggestions: OrderedDict[str, Suggestion] = OrderedDict()
        self._dismissed: OrderedDict[tuple[str, str, str], None] = OrderedDict()
        self._accepted: OrderedDict[str, int] = OrderedDict()

    def keep(self, answer: RecentAnswer) -> None:
        """Remember an answer, in the stead of an older one at the same place."""
        answer = replace(answer, cursor=shorten_cursor(answer.cursor))
        _put(self._answers, _key(answer.cursor), answer, ANSWERS)

    def find(self, cursor: DocumentCursor) -> RemainingAnswer | None:
        """The newest answer that goes on from here, something of it being left."""
        for answer in reversed(self._answers.values()):
            found = _continue(answer, cursor)
            if found is not None:
                return found
        return None

    def add(self, suggestion: Suggestion) -> None:
        """Remember a suggestion by its id."""
        suggestion = replace(suggestion, cursor=shorten_cursor(suggestion.cursor))
        _put(self._suggestions, suggestion.id, suggestion, SUGGESTIONS)

    def get(self, id: str) -> Suggestion | None:
        """The suggestion with this id, if it is not forgotten."""
        return self._suggestions.get(id)

    def dismiss(self, suggestion: Suggestion) -> None:
        """Do not offer this text at its place again."""
        _put(self._dismissed, _with_text(suggestion.cursor, suggestion.text), None, SUGGESTIONS)

    def is_dismissed(self, cursor: DocumentCursor, text: str) -> bool:
        """Whether the user did not want this text here."""
        return _with_text(shorten_cursor(cursor), text) in self._dismissed

    def forget_answers(self) -> None:
        """Another model has its own."""
        self._answers.clear()

    def accept(self, suggestion: Suggestion, length: int) -> bool:
        """The first ``length`` characters of a suggestion are in the document now; whether none of it was before."""
        known = suggestion.id in self._accepted
        _put(self._accepted, suggestion.id, length, SUGGESTIONS)
        return not known

    def is_accepted(self, id: str) -> bool:
        """Whether the suggestion, or a part of it, was accepted."""
        return id in self._accepted

    def accepted_part(self, suggestion: Suggestion) -> Suggestion:
        """What of a suggestion was accepted; all of it, if nothing was."""
        length = self._accepted.get(suggestion.id, len(suggestion.text))
        return replace(suggestion, text=suggestion.text[:length], tokens=truncate(suggestion.tokens, length))

    def accepted(self, uri: str) -> Iterator[Suggestion]:
        """What was accepted in a document, the newest first."""
        for id in reversed(self._accepted):
            suggestion = self._suggestions.get(id)
            if suggestion is not None and suggestion.cursor.uri == uri:
                yield self.accepted_part(suggestion)


def shorten_cursor(cursor: DocumentCursor) -> DocumentCursor:
    """The place with as much text around it as tells it from others."""
    return replace(cursor, before=cursor.before[-TAIL:], after=cursor.after[:HEAD])


def drop_typed(tokens: tuple[Token, ...], length: int) -> tuple[Token, ...]:
    """The tokens without their first ``length`` characters; a token that was typed in part has the rest of its text."""
    left = list(tokens)
    while left and length > 0 and length >= len(left[0].text):
        length -= len(left.pop(0).text)
    if left and length:
        left[0] = replace(left[0], text=left[0].text[length:])
    return tuple(left)


def _continue(answer: RecentAnswer, cursor: DocumentCursor) -> RemainingAnswer | None:
    """What is left of an answer at a place that typing into it has reached."""
    if answer.cursor.uri != cursor.uri:
        return None
    text = answer.text
    for length in range(min(len(text), len(cursor.before) + 1)):
        typed = text[:length]
        if not (cursor.before.endswith(typed) and _stands_at(answer.cursor.before, cursor.before, len(cursor.before) - length)):
            continue
        if cursor.after[:HEAD] == answer.cursor.after:
            return RemainingAnswer(answer, typed, drop_typed(answer.tokens, length))
        closer = PAIRS.get(typed[-1:], "")
        if closer and cursor.after.startswith(closer) and cursor.after[1 : HEAD + 1] == answer.cursor.after:
            rest = text[length : length + _closing(text[length:], closer)]
            if rest:
                return RemainingAnswer(answer, typed, truncate(drop_typed(answer.tokens, length), len(rest)))
    return None


def _stands_at(tail: str, before: str, end: int) -> bool:
    """Whether the text before the cursor, up to ``end``, is the one whose tail this is."""
    start = end - len(tail)
    return start >= 0 and before[start:end] == tail and (len(tail) == TAIL or start == 0)


def _closing(text: str, closer: str) -> int:
    """Where the text closes what was opened before it."""
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


def _with_text(cursor: DocumentCursor, text: str) -> tuple[str, str, str]:
    return cursor.uri, (cursor.before + text)[-TAIL:], cursor.after


def _put(kept: OrderedDict[K, V], key: K, value: V, limit: int) -> None:
    kept.pop(key, None)
    kept[key] = value
    if len(kept) > limit:
        kept.popitem(last=False)
