"""Notices an engine that hangs: no request that waits for a token gets a token."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")

TICK_SECONDS = 1.0
"""Time between two looks at the requests that wait."""

LEAST_SECONDS = 20.0
"""Time without a token in which an engine may read a long prompt of another front, or compile a
kernel.
"""

GAP_FACTOR = 5
"""Factor by which a hang exceeds the longest gap so far: a slow engine has had long gaps before."""

READING_RATE = 100
"""Minimum of prompt tokens that an engine reads in a second. vLLM on two busy cores read 200, with
135 million parameters.
"""


class HangError(Exception):
    """An engine that gave no token to any request for ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class HangDetector:
    """Watches all requests that wait for tokens of one engine. Use it from one event loop.

    The time without a token is counted in ticks while a request waits, so that it neither grows
    while this process is stopped nor begins again with each request that is cancelled. No limit is
    larger than ``most`` seconds.
    """

    def __init__(self, most: float) -> None:
        self._most = most
        self._waits: dict[asyncio.Timeout, int] = {}  # with the tokens of a prompt that is being read
        self._silent = 0.0
        self._longest = 0.0
        self._hung_for = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def limit(self) -> float:
        """Return how many seconds without a token are a hang: more for an engine with long gaps, and while it reads a long prompt."""
        reading = max(self._waits.values(), default=0) / READING_RATE
        return min(max(LEAST_SECONDS, GAP_FACTOR * self._longest, reading), self._most)

    async def wait(self, awaitable: Awaitable[T], reading: int) -> T:
        """Return the engine's reply. The engine may read ``reading`` tokens before.

        Raises HangError if the engine hangs.
        """
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
                self._silent = 0.0  # of a silence that a long prompt excused, nothing counts against the others

    def note_token(self) -> None:
        """Note that a request got a token.

        A gap in which a prompt was read is no gap between tokens.
        """
        if not any(self._waits.values()):
            self._longest = max(self._longest, self._silent)
        self._silent = 0.0

    def tick(self) -> None:
        """Count a tick without a token, and end all waits after too many ticks."""
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
        """Let the next tick come, unless it is due already."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self.tick)
