"""Measurement of an event loop's lag, as a limit on the requests of a front."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection

TICK_SECONDS = 0.05
"""Time between two measurements."""

MEASUREMENTS = 4
"""Number of measurements; the lag is the minimum."""


class LoopLag:
    """Measures the lag of the running event loop while there are ``requests``.

    The minimum of several measurements distinguishes an overloaded loop from a single interruption
    by a long task or another process. CoDel does the same for queueing time (Nichols and Jacobson
    2012).
    """

    def __init__(self, requests: Collection[object]) -> None:
        self._requests = requests
        self._timer: asyncio.TimerHandle | None = None
        self._late: deque[float] = deque(maxlen=MEASUREMENTS)

    def start(self) -> None:
        if self._timer is None:
            self._late.clear()
            self._wait()

    def seconds(self) -> float:
        """Return the lag in seconds (0 without enough measurements)."""
        if self._timer is None or not self._requests:
            self._late.clear()  # The lag of ended requests does not count.
        return min(self._late) if len(self._late) == MEASUREMENTS else 0.0

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(TICK_SECONDS, self._measure, loop.time() + TICK_SECONDS)

    def _measure(self, due: float) -> None:
        self._late.append(asyncio.get_running_loop().time() - due)
        self._timer = None
        if self._requests:
            self._wait()
