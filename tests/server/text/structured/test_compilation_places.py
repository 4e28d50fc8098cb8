"""Tests of the places for the compilation of grammars."""

from __future__ import annotations

import asyncio

import pytest

from pellucid.errors import QueueFullError
from pellucid.text.structured.grammar_cache import CompilationPlaces


async def test_places_are_given_in_order() -> None:
    """Requests get places in order, however many requests wait."""
    places, order = CompilationPlaces(1), []

    async def ask(number: int) -> None:
        await places.take(60)
        order.append(number)
        await asyncio.sleep(0)
        places.give_back()

    await asyncio.gather(*(ask(number) for number in range(20)))
    assert order == list(range(20))


async def test_waiting_ends() -> None:
    """A request that waits in vain is refused, and the next request gets the place."""
    places = CompilationPlaces(1)
    await places.take(60)
    with pytest.raises(QueueFullError, match="try again later"):
        await places.take(0.01)
    places.give_back()
    await places.take(60)


async def test_a_cancelled_request_keeps_no_place() -> None:
    """Requests cancelled while waiting, or on getting a place, keep no place."""
    places = CompilationPlaces(1)
    await places.take(60)
    waiting = [asyncio.create_task(places.take(60)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    places.give_back()  # The second request gets the place, and is cancelled before running.
    waiting[1].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert [task.cancelled() for task in waiting] == [True, True, False]
    places.give_back()
    await places.take(60)
