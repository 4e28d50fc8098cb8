"""What is sent to the engine's thread, and how it answers: by the event loops of those who asked."""

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
    """A request for a model; ``deliver`` takes what comes of it."""

    number: int
    model: str
    request: Request
    deliver: Callable[[Item], None]


@dataclass(frozen=True, slots=True)
class Cancel:
    """The request of this number is wanted no more."""

    number: int


@dataclass(frozen=True, slots=True)
class Add:
    """A lane to work on from now on, in the place of the one of that name if there is one."""

    name: str
    lane: ModelWorker
    done: Future[None]


@dataclass(frozen=True, slots=True)
class Remove:
    """A lane that takes no new requests; ``done`` once those that it has are served."""

    name: str
    done: Future[None]


@dataclass(frozen=True, slots=True)
class Close:
    """The last message."""


Message: TypeAlias = Submit | Cancel | Add | Remove | Close


def promise() -> Future[None]:
    """A future that whoever waits for it cannot cancel: closing a connection must not trip the thread that fulfils it."""
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()
    return future


class PostOffice:
    """Collects a step's deliveries and wakes each event loop once for all of them."""

    def __init__(self) -> None:
        self._letters: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Queue[Item], Item]]] = {}

    def box(self, loop: asyncio.AbstractEventLoop, inbox: asyncio.Queue[Item]) -> Callable[[Item], None]:
        """Where a sequence drops its items; only the engine's thread calls it."""
        return lambda item: self._letters.setdefault(loop, []).append((inbox, item))

    def send(self) -> None:
        """Hand everything over to the loops."""
        for loop, letters in self._letters.items():
            try:
                loop.call_soon_threadsafe(_put_all, letters)
            except RuntimeError:  # that loop is closed: nobody listens any more
                continue
        self._letters = {}


def _put_all(letters: list[tuple[asyncio.Queue[Item], Item]]) -> None:
    for inbox, item in letters:
        inbox.put_nowait(item)
