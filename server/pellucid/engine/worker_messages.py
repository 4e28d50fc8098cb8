"""Messages to the engine's thread, and the delivery of results to event loops."""

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
    number: int
    model: str
    request: Request
    deliver: Callable[[Item], None]


@dataclass(frozen=True, slots=True)
class Cancel:
    number: int


@dataclass(frozen=True, slots=True)
class Add:
    """Run a new worker, or replace the worker with the same name."""

    name: str
    worker: ModelWorker
    done: Future[None]


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a worker. New requests are refused; ``done`` is set after the last old request."""

    name: str
    done: Future[None]


@dataclass(frozen=True, slots=True)
class Close:
    """End the thread: the last message."""


Message: TypeAlias = Submit | Cancel | Add | Remove | Close


def promise() -> Future[None]:
    """Return a future that the waiter cannot cancel, so the setting thread cannot fail."""
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()
    return future


class Outbox:
    """Collects a step's results to wake each event loop once."""

    def __init__(self) -> None:
        self._pending: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Queue[Item], Item]]] = {}

    def sender(self, loop: asyncio.AbstractEventLoop, inbox: asyncio.Queue[Item]) -> Callable[[Item], None]:
        """Return a function that queues an item. Only the engine's thread may call the function."""
        return lambda item: self._pending.setdefault(loop, []).append((inbox, item))

    def flush(self) -> None:
        for loop, items in self._pending.items():
            try:
                loop.call_soon_threadsafe(_put_all, items)
            except RuntimeError:  # The loop is closed.
                continue
        self._pending = {}


def _put_all(items: list[tuple[asyncio.Queue[Item], Item]]) -> None:
    for inbox, item in items:
        inbox.put_nowait(item)
