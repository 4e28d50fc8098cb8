"""Measures how late an event loop is, so that a front takes no more requests than its processor carries."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

TICK_SECONDS = 0.05
"""Time between two measurements."""

MEASUREMENTS = 4
"""Measurements of which the lag is the least."""


class LoopLag:
    """Measures by how many seconds the running event loop is late, for as long as ``is_needed`` returns true.

    The least of several measurements tells a loop that has more to do than it can from one that
    another process, or a single long task, has stopped once (as CoDel does with the time in a
    queue; Nichols and Jacobson 2012).
    """

    def __init__(self, is_needed: Callable[[], bool]) -> None:
        self._is_needed = is_needed
        self._timer: asyncio.TimerHandle | None = None
        self._late: deque[float] = deque(maxlen=MEASUREMENTS)

    def start(self) -> None:
        """Measure from now on, unless it is measured already."""
        if self._timer is None:
            self._late.clear()
            self._wait()

    def seconds(self) -> float:
        """Return by how much the loop is late: 0 while that is not measured, or not often enough."""
        if self._timer is None or not self._is_needed():
            self._late.clear()  # what has ended makes nothing late that begins now
        return min(self._late) if len(self._late) == MEASUREMENTS else 0.0

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(TICK_SECONDS, self._measure, loop.time() + TICK_SECONDS)

    def _measure(self, due: float) -> None:
        self._late.append(asyncio.get_running_loop().time() - due)
        self._timer = None
        if self._is_needed():
            self._wait()
