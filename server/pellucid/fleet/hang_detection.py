"""Detection of a hanging engine: no waiting request receives a token."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")

TICK_SECONDS = 1.0
"""Time between two checks of the waiting requests."""

LEAST_SECONDS = 20.0
"""Time for reading a long prompt of another front, or for compiling a kernel."""

GAP_FACTOR = 5
"""Factor over the longest gap so far: a slow engine has long gaps."""

READING_RATE = 100
"""Minimum prompt tokens per second. vLLM read 200 on two busy cores (135 M parameters)."""


class HangError(Exception):
    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class HangDetector:
    """Watches all requests that wait for tokens of an engine. Use it from a single event loop.

    Silence is counted in ticks while a request waits, so the count does not grow while this process
    is stopped, nor restart with a cancelled request. No limit exceeds ``most`` seconds.
    """

    def __init__(self, most: float) -> None:
        self._most = most
        self._waits: dict[asyncio.Timeout, int] = {}  # Each wait's unread prompt tokens
        self._silent = 0.0
        self._longest = 0.0
        self._hung_for = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def limit(self) -> float:
        """Return the seconds without a token that count as a hang.

        Long gaps and the reading of a long prompt extend the limit.
        """
        reading = max(self._waits.values(), default=0) / READING_RATE
        return min(max(LEAST_SECONDS, GAP_FACTOR * self._longest, reading), self._most)

    async def wait(self, awaitable: Awaitable[T], reading: int) -> T:
        """Return the engine's reply, after up to ``reading`` prompt tokens. Raises HangError."""
        timeout = asyncio.timeout(None)
        self._waits[timeout] = reading
        self.schedule()
        try:
            async with timeout:
                return await awaitable
        except TimeoutError:
            if not timeout.expired():
                raise
            raise HangError(self._hung_for) from None
        finally:
            if self._waits.pop(timeout) > LEAST_SECONDS * READING_RATE:
                # Silence during a long prompt does not count against other requests.
                self._silent = 0.0

    def note_token(self) -> None:
        """Note that a request received a token. A gap while a prompt is read does not count."""
        if not any(self._waits.values()):
            self._longest = max(self._longest, self._silent)
        self._silent = 0.0

    def tick(self) -> None:
        self._timer = None
        if not self._waits:
            return
        self._silent += TICK_SECONDS
        if self._silent >= self.limit():
            self._hung_for, self._silent = self._silent, 0.0
            for timeout in self._waits:
                timeout.reschedule(asyncio.get_running_loop().time())
        self.schedule()

    def schedule(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self.tick)
