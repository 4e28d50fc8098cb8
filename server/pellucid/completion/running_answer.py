"""Continues an answer after a keystroke has cancelled its request, as long as the user types what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from pellucid.completion.recent_answers import PAIRS
from pellucid.completion.suggestion import DocumentCursor
from pellucid.completion.suggestion_stream import OnToken, UsableAnswer
from pellucid.tokens import Token

SECONDS_UNATTENDED = 0.5
"""How long an answer is continued while no request waits for it."""

Generation = Callable[[OnToken], Coroutine[Any, Any, UsableAnswer]]
"""Generates an answer, and reports each of its tokens."""


class RunningAnswer:
    """An answer that is being generated at a cursor. ``known`` is the beginning of it that was generated before."""

    def __init__(self, cursor: DocumentCursor, known: str, generate: Generation) -> None:
        self._cursor = cursor
        self._text = known
        self._grown = asyncio.Event()
        self._unattended: asyncio.TimerHandle | None = None
        self._task = asyncio.create_task(generate(self._note))
        self._task.add_done_callback(_retrieve_error)

    async def result(self) -> UsableAnswer:
        """Return the answer. If the caller is cancelled, it is continued for a short while."""
        try:
            return await asyncio.shield(self._task)
        except asyncio.CancelledError:
            self._stop_later()
            raise

    async def follow(self, cursor: DocumentCursor) -> None:
        """Wait for the end of the answer. Stop it as soon as it differs from what was typed up to this cursor."""
        if self._unattended is not None:
            self._unattended.cancel()
        typed = self._typed(cursor)
        try:
            while typed is not None and self._agrees(typed) and not self._task.done():
                self._grown.clear()
                grown = asyncio.ensure_future(self._grown.wait())
                try:
                    await asyncio.wait({self._task, grown}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    grown.cancel()
        except asyncio.CancelledError:
            self._stop_later()
            raise
        await self.stop()

    async def stop(self) -> None:
        """Stop generating. The tokens so far are kept among the recent answers."""
        self._task.cancel()
        await asyncio.wait([self._task])

    def _note(self, token: Token) -> None:
        self._text += token.text
        self._grown.set()

    def _typed(self, cursor: DocumentCursor) -> str | None:
        """Return the text that was typed since, or None if the document has changed elsewhere. The editor may have closed a bracket."""
        former = self._cursor
        typed = cursor.before[len(former.before) :]
        closed = PAIRS.get(typed[-1:], "") + former.after
        same = cursor.uri == former.uri and cursor.before.startswith(former.before) and cursor.after in (former.after, closed)
        return typed if same else None

    def _agrees(self, typed: str) -> bool:
        return self._text.startswith(typed) or typed.startswith(self._text)

    def _stop_later(self) -> None:
        self._unattended = asyncio.get_running_loop().call_later(SECONDS_UNATTENDED, self._task.cancel)


def _retrieve_error(task: asyncio.Task[UsableAnswer]) -> None:
    """Read the error of a task that perhaps no request waits for: the next request meets it again."""
    if not task.cancelled():
        task.exception()
