"""Delays the restarts of a server that exits again and again."""

from __future__ import annotations

from collections.abc import Callable

FIRST_SECONDS = 0.5
MAX_SECONDS = 30.0
MAX_SECONDS_ONCE_READY = 4.0
"""The longest delay after a server that was ready: it is likely to start again."""

STABLE_SECONDS = 60.0
"""The time after which a ready server counts as stable, and former starts are forgotten."""


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
        """The time to wait before the next start."""
        if not self._starts:
            return 0.0
        most = MAX_SECONDS if self._ready is None else MAX_SECONDS_ONCE_READY
        apart = min(FIRST_SECONDS * 2.0 ** (self._starts - 1), most)
        return max(0.0, self._started + apart - self._clock())

    def started(self) -> None:
        """Note that a server is started."""
        self._starts += 1
        self._started, self._ready = self._clock(), None

    def ready(self) -> None:
        """Note that the server is ready."""
        self._ready = self._clock()

    def lost(self) -> None:
        """Note that the server is gone."""
        if self._ready is not None and self._clock() - self._ready >= STABLE_SECONDS:
            self.reset()

    def reset(self) -> None:
        """Allow the next start at once."""
        self._starts = 0
