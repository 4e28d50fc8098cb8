"""Runs several coroutines concurrently, and streams what a coroutine produces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

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

    It never waits for the reader, and closing the generator cancels it.
    """
    items: asyncio.Queue[_Item[T] | None] = asyncio.Queue()
    task = asyncio.create_task(produce(lambda item: items.put_nowait(_Item(item))))
    task.add_done_callback(lambda _: items.put_nowait(None))
    try:
        while (item := await items.get()) is not None:
            yield item.value
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Item(Generic[T]):
    value: T
