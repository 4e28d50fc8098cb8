"""Messages to the engine's thread, and the delivery of its results through the callers' event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeAlias

from pellucid.engine.model_worker import ModelWorker
from pellucid.engine.request import Request
from pellucid.engine.sequence import Item


@dataclass(frozen=True, slots=True)
class Submit:
    """Run a request on a model; ``deliver`` takes its results."""

    number: int
    model: str
    request: Request
    deliver: Callable[[Item], None]


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel the request with this number."""

    number: int


@dataclass(frozen=True, slots=True)
class Add:
    """Run a new worker, which replaces the one of that name if there is one."""

    name: str
    worker: ModelWorker
    done: Future[None]


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a worker.

    It takes no new requests, and ``done`` is set once those that it has are served.
    """

    name: str
    done: Future[None]


@dataclass(frozen=True, slots=True)
class Close:
    """End the thread: the last message."""


Message: TypeAlias = Submit | Cancel | Add | Remove | Close


def promise() -> Future[None]:
    """Return a future that its waiter cannot cancel: closing a connection must not make the thread that sets it fail."""
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()
    return future


class Outbox:
    """Collects the results of a step and wakes each event loop once for all of them."""

    def __init__(self) -> None:
        self._pending: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Queue[Item], Item]]] = {}

    def sender(self, loop: asyncio.AbstractEventLoop, inbox: asyncio.Queue[Item]) -> Callable[[Item], None]:
        """Return a function that queues an item for an inbox of a loop.

        Only the engine's thread may call it.
        """
        return lambda item: self._pending.setdefault(loop, []).append((inbox, item))

    def flush(self) -> None:
        """Hand all queued items to their loops."""
        for loop, items in self._pending.items():
            try:
                loop.call_soon_threadsafe(_put_all, items)
            except RuntimeError:  # that loop is closed, so nothing reads its inboxes
                continue
        self._pending = {}


def _put_all(items: list[tuple[asyncio.Queue[Item], Item]]) -> None:
    for inbox, item in items:
        inbox.put_nowait(item)
