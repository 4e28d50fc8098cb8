"""Runs several coroutines concurrently, and streams what a coroutine produces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def run_all(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run coroutines concurrently until all have ended. If one fails, the others are cancelled and its error is raised."""
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


async def stream_from(produce: Callable[[Callable[[T], None]], Coroutine[Any, Any, None]]) -> AsyncGenerator[T]:
    """Yield the items that ``produce`` passes to its argument. Its error is raised after them.

    It never waits for the reader, and closing the generator cancels it. No item is None.
    """
    items: asyncio.Queue[T | None] = asyncio.Queue()  # None marks the end
    task = asyncio.create_task(produce(items.put_nowait))
    task.add_done_callback(lambda _: items.put_nowait(None))
    try:
        while (item := await items.get()) is not None:
            yield item
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
