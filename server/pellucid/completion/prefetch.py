"""What is generated before it is asked for: one answer at a time, which makes room for whatever is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from pellucid.completion.suggestion import DocumentCursor


class Prefetch:
    """The one task, and the place that it is for."""

    def __init__(self) -> None:
        self._cursor: DocumentCursor | None = None
        self._task: asyncio.Task[None] | None = None

    def is_for(self, cursor: DocumentCursor) -> bool:
        """Whether this place's answer is being generated."""
        return self._task is not None and not self._task.done() and self._cursor == cursor

    async def start(self, cursor: DocumentCursor, work: Coroutine[Any, Any, None]) -> None:
        """Generate for a place, in the stead of another one."""
        former = self._task
        self._cursor, self._task = cursor, asyncio.create_task(work)
        await _end(former)

    async def stop(self) -> None:
        """Generate nothing; what has come so far is kept by whoever generated it."""
        former, self._task, self._cursor = self._task, None, None
        await _end(former)


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.wait([task])
