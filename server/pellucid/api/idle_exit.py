"""How long nobody has asked anything, so that a server that an editor started can leave by itself."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

QUIET = frozenset({"/health", "/metrics"})
"""Paths that are asked by what only watches: they keep no server awake."""


class Idleness:
    """The requests that run, and when the last of them ended. Belongs to the event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._running = 0
        self._since = clock()
        self._watches: Callable[[str], bool] = lambda path: False

    @property
    def seconds(self) -> float:
        """How long no request has run; 0 while one does."""
        return 0.0 if self._running else self._clock() - self._since

    def overlook(self, watches: Callable[[str], bool]) -> None:
        """Requests for the paths of which this is true keep no server awake either."""
        self._watches = watches

    def counts(self, path: str) -> bool:
        """Whether requests for a path count."""
        return path not in QUIET and not self._watches(path)

    def restart(self) -> None:
        """Count from now."""
        self._since = self._clock()

    def begin(self) -> None:
        """A request begins."""
        self._running += 1

    def end(self) -> None:
        """A request has ended, its stream included."""
        self._running -= 1
        assert self._running >= 0, "every end has its beginning"
        self.restart()

    def watch(self, limit: float, leave: Callable[[], None], call_later: Callable[[float, Callable[[], None]], object]) -> None:
        """Call ``leave`` once after ``limit`` seconds without a request; it looks only when they can be over."""
        left = limit - self.seconds
        if left <= 0:
            leave()
        else:
            call_later(left, lambda: self.watch(limit, leave, call_later))


class IdlenessCounter:
    """ASGI middleware that tells an Idleness of requests."""

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
