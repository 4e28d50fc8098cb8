"""When a server that died may be started again."""

from __future__ import annotations

from collections.abc import Callable

FIRST_SECONDS = 0.5
MOST_SECONDS = 30.0
MOST_SECONDS_ONCE_READY = 4.0
"""A server that got as far as answering is worth having back soon."""

SOUND_SECONDS = 60.0
"""A server that was ready for so long was sound: what came before it is forgotten."""


class Backoff:
    """Starts are 0.5, 1, 2, 4 ... seconds apart, as long as none of them brings a sound server. Times are those of ``clock``."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._starts = 0
        self._started = 0.0
        self._ready: float | None = None

    @property
    def seconds(self) -> float:
        """How long to wait before the next start."""
        if not self._starts:
            return 0.0
        most = MOST_SECONDS if self._ready is None else MOST_SECONDS_ONCE_READY
        apart = min(FIRST_SECONDS * 2.0 ** (self._starts - 1), most)
        return max(0.0, self._started + apart - self._clock())

    def started(self) -> None:
        """A server is started."""
        self._starts += 1
        self._started, self._ready = self._clock(), None

    def ready(self) -> None:
        """It is ready."""
        self._ready = self._clock()

    def lost(self) -> None:
        """It is gone."""
        if self._ready is not None and self._clock() - self._ready >= SOUND_SECONDS:
            self.reset()

    def reset(self) -> None:
        """The next start may be at once."""
        self._starts = 0
