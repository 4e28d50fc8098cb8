"""Delays between restarts of a server that exits repeatedly."""

from __future__ import annotations

from collections.abc import Callable

FIRST_SECONDS = 0.5
MAX_SECONDS = 30.0
MAX_SECONDS_ONCE_READY = 4.0
"""Maximum delay after a server was ready: the next start probably works."""

STABLE_SECONDS = 60.0
"""Time until a ready server counts as stable."""


class Backoff:
    """Spaces starts 0.5, 1, 2, 4 ... seconds apart until a server is stable.

    ``clock`` returns seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._starts = 0
        self._started = 0.0
        self._ready: float | None = None

    @property
    def seconds(self) -> float:
        if not self._starts:
            return 0.0
        most = MAX_SECONDS if self._ready is None else MAX_SECONDS_ONCE_READY
        apart = min(FIRST_SECONDS * 2.0 ** (self._starts - 1), most)
        return max(0.0, self._started + apart - self._clock())

    def started(self) -> None:
        self._starts += 1
        self._started, self._ready = self._clock(), None

    def ready(self) -> None:
        self._ready = self._clock()

    def lost(self) -> None:
        """Record the server's exit, and forget former starts if the server was stable."""
        if self._ready is not None and self._clock() - self._ready >= STABLE_SECONDS:
            self.reset()

    def reset(self) -> None:
        self._starts = 0
