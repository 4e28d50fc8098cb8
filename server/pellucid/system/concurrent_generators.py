"""Runs several coroutines concurrently, and merges several async generators into one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


async def run_all(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run coroutines side by side until all have ended. If one fails, the others are cancelled and its error is raised."""
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


async def merge(sources: Sequence[AsyncGenerator[T]]) -> AsyncGenerator[T]:
    """Yield the items of all sources as they come. Closing it closes them; so does an error in one."""
    queue: asyncio.Queue[T | _End] = asyncio.Queue()

    async def pump(source: AsyncGenerator[T]) -> None:
        error: Exception | None = None
        try:
            async with aclosing(source):
                async for item in source:
                    queue.put_nowait(item)
        except Exception as failure:
            error = failure
        queue.put_nowait(_End(error))

    tasks = [asyncio.create_task(pump(source)) for source in sources]
    running = len(tasks)
    try:
        while running:
            item = await queue.get()
            if not isinstance(item, _End):
                yield item
                continue
            if item.error is not None:
                raise item.error
            running -= 1
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _End:
    """The end of one of several sources, and the error that it ended with."""

    error: Exception | None
