"""The limits of a replica's requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import AsyncExitStack

import pytest

from pellucid.errors import QueueFullError
from pellucid.fleet.admission import Gate, GateClosedError
from pellucid.vocabulary.query import Priority


async def wait(awaitable: Awaitable[None]) -> None:
    await awaitable


async def hold(gate: Gate, priority: Priority, order: list[str], name: str, release: asyncio.Event) -> None:
    async with gate.admitted(priority, wait):
        order.append(name)
        await release.wait()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_completions_never_wait_behind_chats() -> None:
    """A completion is admitted at once among many chats, since chats leave slots free."""
    gate, order, release = Gate(4, 100), list[str](), asyncio.Event()
    chats = [asyncio.create_task(hold(gate, Priority.CHAT, order, "chat", release)) for _ in range(20)]
    await settle()
    assert (gate.running, gate.waiting) == (3, 17)
    completion = asyncio.create_task(hold(gate, Priority.COMPLETION, order, "completion", release))
    await settle()
    assert order == ["chat"] * 3 + ["completion"]
    release.set()
    await asyncio.gather(*chats, completion)
    assert (gate.running, gate.waiting) == (0, 0)


async def test_those_that_wait_are_admitted_by_priority() -> None:
    """A free slot goes to the most urgent request, and among equals to the first."""
    gate, order = Gate(1, 10), list[str]()
    releases = {name: asyncio.Event() for name in ("running", "background", "chat 1", "chat 2", "completion")}
    priorities = [Priority.COMPLETION, Priority.BACKGROUND, Priority.CHAT, Priority.CHAT, Priority.COMPLETION]
    tasks = []
    for (name, release), priority in zip(releases.items(), priorities, strict=True):
        tasks.append(asyncio.create_task(hold(gate, priority, order, name, release)))
        await settle()
    for release in releases.values():
        release.set()
    await asyncio.gather(*tasks)
    assert order == ["running", "completion", "chat 1", "chat 2", "background"]


async def test_a_full_queue_refuses() -> None:
    """A request beyond the queue is refused with a remedy; the queued requests are served."""
    gate, order, release = Gate(1, 1), list[str](), asyncio.Event()
    kinds = [Priority.CHAT, Priority.CHAT, Priority.COMPLETION]
    tasks = [asyncio.create_task(hold(gate, priority, order, "one", release)) for priority in kinds]
    await settle()
    assert gate.waiting == 2
    for priority in (Priority.BACKGROUND, Priority.COMPLETION):
        with pytest.raises(QueueFullError, match="1 requests are already waiting"):
            await hold(gate, priority, order, "another", release)
    release.set()
    await asyncio.gather(*tasks)


async def test_chats_take_no_place_of_a_completion_in_the_queue() -> None:
    """Waiting chats take no place of completions in the queue."""
    gate, order, release = Gate(2, 20), list[str](), asyncio.Event()
    chats = [asyncio.create_task(hold(gate, Priority.CHAT, order, "chat", release)) for _ in range(30)]
    await settle()
    completions = [
        asyncio.create_task(hold(gate, Priority.COMPLETION, order, "completion", release)) for _ in range(20)
    ]
    await settle()
    release.set()
    ends = await asyncio.gather(*chats, *completions, return_exceptions=True)
    refused = [isinstance(end, QueueFullError) for end in ends]
    assert (refused[:30].count(True), refused[30:].count(True)) == (9, 0)
    assert order.count("completion") == 20


async def test_those_that_wait_are_dismissed() -> None:
    """Waiting requests are dismissed at once; a just admitted request keeps the slot."""
    gate, order, release = Gate(1, 10), list[str](), asyncio.Event()
    async with AsyncExitStack() as holding:
        await holding.enter_async_context(gate.admitted(Priority.CHAT, wait))
        tasks = [
            asyncio.create_task(hold(gate, Priority.CHAT, order, name, release))
            for name in ("first", "second", "third", "fourth")
        ]
        await settle()
        tasks[1].cancel()
    gate.dismiss()
    release.set()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [type(None), asyncio.CancelledError, GateClosedError, GateClosedError]
    assert (order, gate.running, gate.waiting) == (["first"], 0, 0)


async def test_one_that_gives_up_leaves_no_gap() -> None:
    """A request cancelled while waiting or being admitted holds no slot."""
    gate = Gate(1, 10)
    async with AsyncExitStack() as holding:
        await holding.enter_async_context(gate.admitted(Priority.CHAT, wait))
        tasks = [asyncio.create_task(hold(gate, Priority.CHAT, [], "chat", asyncio.Event())) for _ in range(3)]
        await settle()
        tasks[0].cancel()
        await settle()
        assert gate.waiting == 2
    tasks[1].cancel()  # Admitted, but not yet running.
    await settle()
    tasks[2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (gate.running, gate.waiting) == (0, 0)


async def test_a_slot_that_becomes_free_as_one_gives_up() -> None:
    """A slot freed as the first request gives up goes to the next request."""
    gate, order, release = Gate(1, 10), list[str](), asyncio.Event()
    async with AsyncExitStack() as holding:
        await holding.enter_async_context(gate.admitted(Priority.CHAT, wait))
        tasks = [asyncio.create_task(hold(gate, Priority.CHAT, order, name, release)) for name in ("first", "second")]
        await settle()
        tasks[0].cancel()  # The slot becomes free before the task runs.
    await settle()
    assert (order, gate.running, gate.waiting) == (["second"], 1, 0)
    release.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert gate.running == 0
