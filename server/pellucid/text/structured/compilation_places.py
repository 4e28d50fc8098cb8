"""A limit for simultaneous grammar compilations, first come, first served."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future

from pellucid.errors import QueueFullError


class CompilationPlaces:
    """Places, taken on any event loop and given back on any thread."""

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._free = count
        self._waiting: deque[Future[None]] = deque()

    async def take(self, seconds: float) -> None:
        """Wait for a place. Raises QueueFullError after ``seconds`` without a free place."""
        turn: Future[None] = Future()
        with self._lock:
            self._waiting.append(turn)
            self._give()
        try:
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(turn)), seconds)
        except BaseException as error:  # A cancelled request must not keep a place.
            if not turn.cancel():
                self.give_back()
            if isinstance(error, TimeoutError):
                raise QueueFullError("The server is compiling other grammars: try again later.") from None
            raise

    def give_back(self) -> None:
        with self._lock:
            self._free += 1
            self._give()

    def _give(self) -> None:
        while self._free and self._waiting:
            turn = self._waiting.popleft()
            if turn.set_running_or_notify_cancel():
                self._free -= 1
                turn.set_result(None)
