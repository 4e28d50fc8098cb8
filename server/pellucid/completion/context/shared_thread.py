"""Work on another thread for all waiting callers, stopped when no caller waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Event

Work = Callable[[Callable[[], bool]], None]


class SharedThread:
    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._stopped = Event()
        self._waiting = 0

    async def wait(self, work: Work) -> None:
        """Wait for the running work, or begin. The last cancelled caller stops the work."""
        if self._task is None or self._task.done() or self._stopped.is_set():
            stopped = self._stopped = Event()
            self._task = asyncio.create_task(asyncio.to_thread(work, lambda: not stopped.is_set()))
            self._waiting = 0
        task, stopped = self._task, self._stopped
        self._waiting += 1
        try:
            await asyncio.shield(task)
        finally:
            if stopped is self._stopped:
                self._waiting -= 1
                if not self._waiting:
                    stopped.set()
