"""Continues an answer after a keystroke has cancelled its request, as long as the user types what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from pellucid.completion.explanation import Explanation
from pellucid.completion.recent_answers import PAIRS, RecentAnswer, RemainingAnswer, continue_answer, shorten_cursor
from pellucid.completion.suggestion import DocumentCursor
from pellucid.completion.suggestion_stream import OnGrowth, UsableAnswer

SECONDS_UNATTENDED = 0.5
"""How long an answer is continued while no request waits for it."""

Generation = Callable[[OnGrowth], Coroutine[Any, Any, UsableAnswer]]
"""Generates an answer, and reports each of its tokens."""


class RunningAnswer:
    """An answer that is being generated at a cursor.

    ``known`` is the beginning of it that was generated before.

    ``explanation`` is that of the request that began it, with the prompt and its cost.
    """

    def __init__(self, cursor: DocumentCursor, known: str, explanation: Explanation, generate: Generation) -> None:
        self.explanation = explanation
        self.part_shown_at: DocumentCursor | None = None
        """The last cursor at which a part of the answer was suggested: the next request there waits
        for the whole.
        """
        self._cursor = cursor
        self._text = known
        self._answer: RecentAnswer | None = None
        self._grown = asyncio.Event()
        self._unattended: asyncio.TimerHandle | None = None
        self._task = asyncio.create_task(generate(self._note))
        self._task.add_done_callback(_retrieve_error)

    async def result(self) -> UsableAnswer:
        """Return the whole answer.

        If the caller is cancelled, it is continued for a short while.
        """
        try:
            return await asyncio.shield(self._task)
        except asyncio.CancelledError:
            self.leave()
            raise

    def continues_at(self, cursor: DocumentCursor) -> bool:
        """Return whether the answer is still growing, and agrees so far with what was typed up to this cursor."""
        typed = self._typed(cursor)
        return (
            not self._task.done()
            and typed is not None
            and (self._text.startswith(typed) or typed.startswith(self._text))
        )

    def remaining(self, cursor: DocumentCursor) -> RemainingAnswer | None:
        """Return what follows a cursor of the tokens so far, if there are any."""
        return None if self._answer is None else continue_answer(self._answer, cursor)

    async def grow(self) -> None:
        """Wait for the next token, or for the end.

        If the caller is cancelled, the answer is continued for a short while.
        """
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
        """Continue the answer for a short while without a request that waits for it."""
        self._attend()
        self._unattended = asyncio.get_running_loop().call_later(SECONDS_UNATTENDED, self._task.cancel)

    async def stop(self) -> None:
        """Stop generating. The tokens so far are kept among the recent answers."""
        self._attend()
        self._task.cancel()
        await asyncio.wait([self._task])

    def _note(self, answer: RecentAnswer) -> None:
        self._answer = replace(answer, cursor=shorten_cursor(answer.cursor))
        self._text = answer.text
        self._grown.set()

    def _typed(self, cursor: DocumentCursor) -> str | None:
        """Return the text that was typed since, or None if the document has changed elsewhere.

        The editor may have closed a bracket.
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


def _retrieve_error(task: asyncio.Task[UsableAnswer]) -> None:
    """Read the error of a task that perhaps no request waits for: the next request meets it again."""
    if not task.cancelled():
        task.exception()
