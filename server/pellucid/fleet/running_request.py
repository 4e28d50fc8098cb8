"""The state of a request to the fleet: progress, cost and end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from typing import TypeVar

from pellucid.engine.request import Request
from pellucid.vocabulary.finish import FinishReason, Usage

T = TypeVar("T")


class RequestEndError(Exception):
    """The early end of a request."""

    def __init__(self, reason: FinishReason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(eq=False)
class RunningRequest:
    """A request to ``model``, and its progress.

    Attributes:
        capacity: Maximum length of prompt and answer together.
        answer: Ids received so far, from all replicas.
        is_read: Whether the prompt scores were delivered.
        deadline: A time of the event loop.
        moves: Number of times that the request was lost with a replica.
        left: Addresses of the lost replicas.
        busy: Addresses of the busy replicas.
    """

    model: str
    request: Request
    capacity: int
    key: str
    deadline: float | None = None
    answer: list[int] = field(default_factory=list)
    is_read: bool = False
    cached: int = 0
    moves: int = 0
    left: set[str] = field(default_factory=set)
    busy: set[str] = field(default_factory=set)
    submitted: float = field(default_factory=time.monotonic)
    admitted: float | None = None
    first_token: float | None = None
    _ending: FinishReason | None = None
    _timeout: asyncio.Timeout | None = None

    @property
    def session(self) -> str:
        """The session for routers, changed after a loss so that a router chooses a new engine."""
        return f"{self.key}-{self.moves}" if self.moves else self.key

    @property
    def has_delivered(self) -> bool:
        return self.is_read or bool(self.answer)

    @property
    def room(self) -> int:
        most = min(self.request.params.max_tokens, self.capacity - len(self.request.prompt))
        return max(most - len(self.answer), 0)

    def end(self, reason: FinishReason) -> None:
        self._ending = self._ending or reason
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time())

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """Return the result of ``awaitable``. When the request ends, raise RequestEndError."""
        self._timeout = timeout = asyncio.timeout_at(self.deadline if self._ending is None else 0)
        try:
            async with timeout:
                return await awaitable
        except TimeoutError:
            if not timeout.expired():
                raise
            raise RequestEndError(self._ending or FinishReason.DEADLINE) from None
        finally:
            self._timeout = None

    async def each(self, items: AsyncIterator[T]) -> AsyncIterator[T]:
        """Yield items. When the request ends, raise RequestEndError."""
        while True:
            try:
                item = await self.wait(anext(items))
            except StopAsyncIteration:
                return
            yield item

    def usage(self) -> Usage:
        now = time.monotonic()
        admitted = now if self.admitted is None else self.admitted
        first = now if self.first_token is None else self.first_token
        return Usage(
            cached=self.cached,
            computed=len(self.request.prompt) - self.cached,
            generated=len(self.answer),
            queued=admitted - self.submitted,
            prefill=first - admitted,
            decode=now - first,
            moves=self.moves,
        )
