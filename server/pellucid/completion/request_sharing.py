"""At most 1 request per document, shared by identical callers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class _SharedRequest(Generic[T]):
    key: Hashable
    task: asyncio.Task[T]
    waiting: int = 0


class SharedRequests(Generic[T]):
    """The running request of each document.

    A request is cancelled by a request with a different key, and after the last caller's
    cancellation.
    """

    def __init__(self) -> None:
        self._requests: dict[str, _SharedRequest[T]] = {}

    async def run(self, document: str, key: Hashable, start: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
        """Return the result of ``start``, or None after a newer request with a different key."""
        current = self._requests.get(document)
        if current is None or current.key != key or current.task.done():
            self.cancel(document)
            current = self._requests[document] = _SharedRequest(key, asyncio.create_task(start()))
        current.waiting += 1
        try:
            return await asyncio.shield(current.task)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if current.task.cancelled() and (caller is None or not caller.cancelling()):
                return None
            raise
        finally:
            current.waiting -= 1
            if not current.waiting:
                current.task.cancel()
                if self._requests.get(document) is current:
                    del self._requests[document]

    def cancel(self, document: str) -> None:
        current = self._requests.pop(document, None)
        if current is not None:
            current.task.cancel()

    def cancel_all(self) -> None:
        for document in list(self._requests):
            self.cancel(document)
