"""Concurrent coroutines, and the stream of a coroutine's items."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import pytest

from pellucid.errors import PellucidError
from pellucid.system.concurrent_work import run_all, stream_from


async def test_stream_runs_ahead_of_its_reader() -> None:
    """The producer runs ahead of the reader; the waiting items come together."""
    finished = asyncio.Event()

    async def produce(send: Callable[[int], None]) -> None:
        for index in range(100):
            send(index)
            await asyncio.sleep(0)
        finished.set()

    async with aclosing(stream_from(produce)) as items:
        first = await anext(items)
        await asyncio.wait_for(finished.wait(), timeout=30)
        assert first == (0,)
        assert [batch async for batch in items] == [tuple(range(1, 100))]


async def test_closing_a_stream_cancels_its_producer() -> None:
    """Closing the stream cancels the producer, and waits for the cleanup."""
    cleaned = []

    async def produce(send: Callable[[int], None]) -> None:
        try:
            send(1)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    async with aclosing(stream_from(produce)) as items:
        assert await anext(items) == (1,)
    assert cleaned == [True]


async def test_stream_raises_its_producer_s_error() -> None:
    """The producer's error is raised after the sent items."""

    async def produce(send: Callable[[int], None]) -> None:
        send(1)
        raise PellucidError("broken")

    items = stream_from(produce)
    assert await anext(items) == (1,)
    with pytest.raises(PellucidError, match="broken"):
        await anext(items)


async def test_an_error_cancels_the_other_coroutines() -> None:
    """A failing coroutine cancels the remaining coroutines, and the error is raised."""
    cancelled = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    async def fails() -> None:
        raise PellucidError("broken")

    with pytest.raises(PellucidError, match="broken"):
        await run_all([waits(), fails()])
    assert cancelled == [True]
