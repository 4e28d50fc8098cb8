"""Measures how late an event loop is, so that a front takes no more requests than its processor carries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

TICK_SECONDS = 0.05
"""Time between two measurements."""

SMOOTHING = 0.8
"""Weight of the lag so far; the newest measurement has the rest."""


class LoopLag:
    """Measures by how many seconds the running event loop is late, for as long as ``is_needed`` returns true."""

    def __init__(self, is_needed: Callable[[], bool]) -> None:
        self._is_needed = is_needed
        self._timer: asyncio.TimerHandle | None = None
        self._lag = 0.0

    def start(self) -> None:
        """Measure from now on, unless it is measured already."""
        if self._timer is None:
            self._lag = 0.0
            self._wait()

    def seconds(self) -> float:
        """Return by how much the loop is late: 0 while that is not measured."""
        return 0.0 if self._timer is None else self._lag

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(TICK_SECONDS, self._measure, loop.time() + TICK_SECONDS)

    def _measure(self, due: float) -> None:
        late = asyncio.get_running_loop().time() - due
        self._lag = SMOOTHING * self._lag + (1 - SMOOTHING) * late
        self._timer = None
        if self._is_needed():
            self._wait()
