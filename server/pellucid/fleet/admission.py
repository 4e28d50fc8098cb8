"""A limit on the concurrent requests of a replica: completions never wait behind chats."""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count

from pellucid.errors import QueueFullError
from pellucid.vocabulary.query import Priority


class GateClosedError(Exception):
    """Raised in waiting requests, which then choose another gate."""


class Gate:
    """Admits at most ``slots`` requests at once, by priority, then in order of arrival.

    At most ``queue`` completions and ``queue`` other requests may wait. Chats and background work
    leave a quarter of the slots (at least one of several) to completions, because an engine does
    not interrupt a chat for a completion. Use the gate from a single event loop.
    """

    def __init__(self, slots: int, queue: int) -> None:
        self.slots = slots
        self._queue = queue
        self._running: Counter[Priority] = Counter()
        self._waiting: list[tuple[Priority, int, asyncio.Future[None]]] = []
        self._numbers = count()

    @property
    def limit(self) -> int:
        return self.slots + self._queue

    @property
    def running(self) -> int:
        return self._running.total()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def has_room(self, priority: Priority) -> bool:
        patient = self.running - self._running[Priority.COMPLETION]
        limit = max(self.slots - max(self.slots // 4, 1), 1)
        return self.running < self.slots and (priority is Priority.COMPLETION or patient < limit)

    def is_full(self, priority: Priority) -> bool:
        return self._ahead(priority) >= self._queue

    def dismiss(self) -> None:
        for entry in self._waiting:
            turn = entry[2]
            if not turn.cancelled():
                turn.set_exception(GateClosedError)
        self._waiting.clear()

    @asynccontextmanager
    async def admitted(
        self, priority: Priority, wait: Callable[[Awaitable[None]], Awaitable[None]]
    ) -> AsyncIterator[None]:
        """Wait for a slot by ``wait``, and hold the slot.

        Raises QueueFullError, and GateClosedError on ``dismiss``.
        """
        if self.has_room(priority):
            self._running[priority] += 1
        else:
            await wait(self._turn(priority))
        try:
            yield
        finally:
            self._running[priority] -= 1
            self._admit_waiting()

    async def _turn(self, priority: Priority) -> None:
        if self.is_full(priority):
            raise QueueFullError(
                f"{self._ahead(priority)} requests are already waiting: try again later, or add an engine."
            )
        turn = asyncio.get_running_loop().create_future()
        entry = (priority, next(self._numbers), turn)
        insort(self._waiting, entry)
        try:
            await turn
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
            elif not turn.cancelled() and turn.exception() is None:  # Admitted at the same time
                self._running[priority] -= 1
            self._admit_waiting()
            raise

    def _ahead(self, priority: Priority) -> int:
        return sum(
            (waiting is Priority.COMPLETION) == (priority is Priority.COMPLETION) for waiting, _, _ in self._waiting
        )

    def _admit_waiting(self) -> None:
        for entry in [*self._waiting]:
            priority, _, turn = entry
            if turn.cancelled():
                continue  # The cancelled request removes its own entry.
            if not self.has_room(priority):
                return
            self._waiting.remove(entry)
            self._running[priority] += 1
            turn.set_result(None)
