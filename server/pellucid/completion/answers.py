"""The pool of recent and growing answers.

Typing the text of an answer, or returning to the answer's cursor, needs no request.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

from pellucid.completion.cursor_keys import CHARACTERS_AFTER, CHARACTERS_BEFORE, CursorKey, key_of, put, shorten_cursor
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.explanation import Explanation
from pellucid.completion.settings import SuggestionShape
from pellucid.completion.suggestion import TrimmedAnswer, drop_typed, join_texts, truncate
from pellucid.vocabulary.token import Token

MAX_CLOSED = 20
"""Maximum number of brackets and quotes closed by an editor since an answer was generated."""

MAX_ANSWERS = 60

SECONDS_UNATTENDED = 0.5
"""Seconds for which an answer grows without a waiting request."""

PAIRS = {"(": ")", "[": "]", "{": "}", '"': '"', "'": "'", "`": "`"}
"""Brackets and quotes closed automatically by editors."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer at a cursor, perhaps unfinished.

    Attributes:
        complete: The model ended the answer, or the token limit was reached; otherwise the stream
            was closed and more may follow.
        cut_off: The answer ended at the token limit.
        prefetched: The answer was generated before a request.
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
        return join_texts(self.tokens)


@dataclass(frozen=True, slots=True)
class RemainingAnswer:
    """The ``tokens`` of an answer after the cursor, and the ``typed`` beginning."""

    answer: Answer
    typed: str
    tokens: tuple[Token, ...]

    @property
    def text(self) -> str:
        return join_texts(self.tokens)


@dataclass(frozen=True, slots=True)
class UsableAnswer:
    """An answer and its suggested part. ``final``: more tokens would not change the part."""

    answer: Answer
    trimmed: TrimmedAnswer
    final: bool


OnGrowth = Callable[[Answer], None]
"""Receives the answer so far after each token."""

Generation = Callable[[OnGrowth], Coroutine[Any, Any, UsableAnswer]]


class GrowingAnswer:
    """An answer during generation.

    A keystroke cancels the request. The answer grows for SECONDS_UNATTENDED more, because the user
    may be typing the answer's text.

    Attributes:
        explanation: The explanation of the first request, with the prompt and the cost.
        has_grown: The model has added a token to the known beginning.
        part_shown_at: The last cursor with a suggested part; the next request at this cursor waits
            for the whole answer.
    """

    def __init__(self, cursor: DocumentCursor, known: str, explanation: Explanation, generate: Generation) -> None:
        self.explanation = explanation
        self.has_grown = False
        self.part_shown_at: DocumentCursor | None = None
        self._cursor = cursor
        self._text = known
        self._grown = asyncio.Event()
        self._unattended: asyncio.TimerHandle | None = None
        self._task = asyncio.create_task(generate(self._note))
        # Read the error, to avoid asyncio's warning; the next request raises the error again.
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def result(self) -> UsableAnswer:
        """Return the whole answer; cancelling the caller has the effect of ``leave``."""
        try:
            return await asyncio.shield(self._task)
        except asyncio.CancelledError:
            self.leave()
            raise

    def continues_at(self, cursor: DocumentCursor) -> bool:
        typed = self._typed(cursor)
        return (
            not self._task.done()
            and typed is not None
            and (self._text.startswith(typed) or typed.startswith(self._text))
        )

    async def grow(self) -> None:
        """Wait for the next token or the end; cancelling the caller has the effect of ``leave``."""
        self._attend()
        self._grown.clear()
        grown = asyncio.ensure_future(self._grown.wait())
        try:
            await asyncio.wait({self._task, grown}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.leave()
            raise
        finally:
            grown.cancel()

    def leave(self) -> None:
        """Cancel the generation after SECONDS_UNATTENDED, unless a new request arrives."""
        self._attend()
        self._unattended = asyncio.get_running_loop().call_later(SECONDS_UNATTENDED, self._task.cancel)

    async def stop(self) -> None:
        """Stop generating; the generated tokens stay in the pool."""
        self._attend()
        self._task.cancel()
        await asyncio.wait([self._task])

    def _note(self, answer: Answer) -> None:
        self._text = answer.text
        self.has_grown = True
        self._grown.set()

    def _typed(self, cursor: DocumentCursor) -> str | None:
        """Return the text typed since the request, or None after changes at other places.

        A bracket closed by the editor is not a change.
        """
        former = self._cursor
        typed = cursor.before[len(former.before) :]
        closed = PAIRS.get(typed[-1:], "") + former.after
        same = (
            cursor.uri == former.uri
            and cursor.before.startswith(former.before)
            and cursor.after in (former.after, closed)
        )
        return typed if same else None

    def _attend(self) -> None:
        if self._unattended is not None:
            self._unattended.cancel()
            self._unattended = None


class Answers:
    """The most recent answers, with at most one growing answer per document and one prefetch."""

    def __init__(self) -> None:
        self._answers: OrderedDict[CursorKey, Answer] = OrderedDict()
        self._growing: dict[str, GrowingAnswer] = {}
        self._ahead: tuple[DocumentCursor, asyncio.Task[None]] | None = None

    def keep(self, answer: Answer) -> Answer:
        """Replace an older answer at the same cursor. Return the answer with a shortened cursor."""
        answer = replace(answer, cursor=shorten_cursor(answer.cursor))
        put(self._answers, key_of(answer.cursor), answer, MAX_ANSWERS)
        return answer

    def at(self, cursor: DocumentCursor) -> RemainingAnswer | None:
        """Return the rest of the newest answer that continues at this cursor, or None."""
        for answer in reversed(self._answers.values()):
            remaining = continue_answer(answer, cursor)
            if remaining is not None:
                return remaining
        return None

    def growing_at(self, cursor: DocumentCursor) -> GrowingAnswer | None:
        growing = self._growing.get(cursor.uri)
        return growing if growing is not None and growing.continues_at(cursor) else None

    def start(
        self, cursor: DocumentCursor, known: str, explanation: Explanation, generate: Generation
    ) -> GrowingAnswer:
        """Begin an answer at a cursor; ``known`` is the already generated beginning."""
        self._growing[cursor.uri] = growing = GrowingAnswer(cursor, known, explanation, generate)
        return growing

    async def start_ahead(self, cursor: DocumentCursor, work: Coroutine[Any, Any, None]) -> None:
        former, self._ahead = self._ahead, (cursor, asyncio.create_task(work))
        await _cancel(former)

    def is_ahead_at(self, cursor: DocumentCursor) -> bool:
        return self._ahead is not None and self._ahead[0] == cursor and not self._ahead[1].done()

    async def stop_ahead(self) -> bool:
        """Cancel the prefetch, because a request needs the model. Return whether a prefetch ran."""
        former, self._ahead = self._ahead, None
        grew = former is not None and not former[1].done()
        await _cancel(former)
        return grew

    async def stop(self) -> None:
        await self.stop_ahead()
        for growing in self._growing.values():
            await growing.stop()
        self._growing.clear()

    def forget(self) -> None:
        self._answers.clear()


def text_after(answer: Answer, cursor: DocumentCursor) -> str:
    """Return the whole text after an answer's cursor; the answer keeps only the first part.

    ``cursor`` is the current cursor, perhaps in front of brackets closed by the editor.
    """
    kept = answer.cursor.after
    found = cursor.after.find(kept, 0, len(kept) + MAX_CLOSED) if len(kept) == CHARACTERS_AFTER else -1
    return kept if found < 0 else cursor.after[found:]


def continue_answer(answer: Answer, cursor: DocumentCursor) -> RemainingAnswer | None:
    """Return the rest of an answer at a cursor after typing the beginning, or None.

    The answer's own cursor must be shortened.
    """
    if answer.cursor.uri != cursor.uri:
        return None
    text, tail = answer.text, answer.cursor.before
    for length in range(min(len(text), len(cursor.before) + 1)):
        typed, end = text[:length], len(cursor.before) - length
        if not (cursor.before.endswith(typed) and cursor.before.endswith(tail, 0, end)):
            continue
        if len(tail) not in (CHARACTERS_BEFORE, end):  # Neither shortened nor the whole text before.
            continue
        if cursor.after[:CHARACTERS_AFTER] == answer.cursor.after:
            return RemainingAnswer(answer, typed, drop_typed(answer.tokens, length))
        closer = PAIRS.get(typed[-1:], "")
        if closer and cursor.after.startswith(closer) and cursor.after[1 : CHARACTERS_AFTER + 1] == answer.cursor.after:
            rest = text[length : length + _find_closer(text[length:], closer)]
            if rest:
                return RemainingAnswer(answer, typed, truncate(drop_typed(answer.tokens, length), len(rest)))
    return None


def _find_closer(text: str, closer: str) -> int:
    """Return the index of the closer of a bracket or quote opened before the text.

    Return the length of the text without a closer.
    """
    opener = next(left for left, right in PAIRS.items() if right == closer)
    depth = 0
    for index, character in enumerate(text):
        if character == closer and depth == 0:
            return index
        if opener != closer:
            depth += (character == opener) - (character == closer)
    return len(text)


async def _cancel(ahead: tuple[DocumentCursor, asyncio.Task[None]] | None) -> None:
    if ahead is not None:
        ahead[1].cancel()
        await asyncio.wait([ahead[1]])
