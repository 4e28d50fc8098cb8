"""Generates one answer at a time before it is asked for, and stops when the model is needed for a request."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from pellucid.completion.suggestion import DocumentCursor


class Prefetch:
    """The running task, and the cursor that it generates for."""

    def __init__(self) -> None:
        self._cursor: DocumentCursor | None = None
        self._task: asyncio.Task[None] | None = None

    def is_for(self, cursor: DocumentCursor) -> bool:
        """Return whether the answer at this cursor is being generated."""
        return self._is_running and self._cursor == cursor

    async def start(self, cursor: DocumentCursor, work: Coroutine[Any, Any, None]) -> None:
        """Generate for a cursor, and cancel the task for another one."""
        former = self._task
        self._cursor, self._task = cursor, asyncio.create_task(work)
        await _cancel(former)

    async def stop(self) -> bool:
        """Cancel the task, which keeps the tokens that it has. Return whether it was running."""
        running = self._is_running
        former, self._task, self._cursor = self._task, None, None
        await _cancel(former)
        return running

    @property
    def _is_running(self) -> bool:
        return self._task is not None and not self._task.done()


async def _cancel(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.wait([task])
