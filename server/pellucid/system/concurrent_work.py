"""Concurrent coroutines, and streams of a coroutine's items."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def run_all(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run coroutines concurrently until all have ended.

    An error cancels the remaining coroutines and is raised.
    """
    if len(works) == 1:
        await works[0]
        return
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def stream_from(
    produce: Callable[[Callable[[T], None]], Coroutine[Any, Any, None]],
) -> AsyncGenerator[tuple[T, ...]]:
    """Yield all ready items from ``produce``; an item must not be None.

    ``produce`` never waits for the reader, and is cancelled when the generator closes. An error is
    raised after the items.
    """
    items: asyncio.Queue[T | None] = asyncio.Queue()  # None marks the end.
    task = asyncio.create_task(produce(items.put_nowait))
    task.add_done_callback(lambda _: items.put_nowait(None))
    try:
        item = await items.get()
        while item is not None:
            ready = [item]
            while not items.empty() and (item := items.get_nowait()) is not None:
                ready.append(item)
            yield tuple(ready)
            if item is not None:
                item = await items.get()
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
