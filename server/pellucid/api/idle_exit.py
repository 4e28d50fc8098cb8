"""Idle time of a server. A server started by an editor can exit when idle."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

QUIET = frozenset({"/health", "/metrics", "/v1/health", "/api/version"})
"""Paths for monitors: requests for these paths do not count as use."""


class Idleness:
    """Counts running requests, and notes when the last request ended. Event loop only."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._running = 0
        self._since = clock()
        self._watches: Callable[[str], bool] = lambda path: False

    @property
    def seconds(self) -> float:
        """Seconds since the last request ended; 0 during a request."""
        return 0.0 if self._running else self._clock() - self._since

    def overlook(self, watches: Callable[[str], bool]) -> None:
        """Ignore requests for paths for which ``watches`` returns True."""
        self._watches = watches

    def counts(self, path: str) -> bool:
        return path not in QUIET and not self._watches(path)

    def restart(self) -> None:
        self._since = self._clock()

    def begin(self) -> None:
        self._running += 1

    def end(self) -> None:
        """Note that a request has ended, including its stream."""
        self._running -= 1
        assert self._running >= 0, "a request that ends has begun"
        self.restart()

    def watch(
        self, limit: float, leave: Callable[[], None], call_later: Callable[[float, Callable[[], None]], object]
    ) -> None:
        """Call ``leave`` once after ``limit`` seconds without a request.

        Checks happen only when the limit can have passed.
        """
        left = limit - self.seconds
        if left <= 0:
            leave()
        else:
            call_later(left, lambda: self.watch(limit, leave, call_later))


class IdlenessCounter:
    def __init__(self, app: ASGIApp, idleness: Idleness) -> None:
        self._app = app
        self._idleness = idleness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._idleness.counts(scope["path"]):
            await self._app(scope, receive, send)
            return
        self._idleness.begin()
        try:
            await self._app(scope, receive, send)
        finally:
            self._idleness.end()
