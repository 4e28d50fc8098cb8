"""The limits of a replica's requests."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from contextlib import AsyncExitStack

import pytest

from pellucid.engine.request import Request
from pellucid.errors import QueueFullError
from pellucid.fleet.admission import Gate, GateClosedError
from pellucid.fleet.fleet import MAX_LAG_SECONDS, Fleet
from pellucid.fleet.loop_lag import MEASUREMENTS, TICK_SECONDS, LoopLag
from pellucid.fleet.replicas import by_affinity
from pellucid.vocabulary.query import Priority, SamplingParams


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


ADDRESSES = [f"http://10.0.0.{number}:8000" for number in range(1, 9)]
KEYS = [f"editor-{number}" for number in range(4000)]


def test_the_order_of_the_addresses_does_not_matter() -> None:
    """Two fronts choose the same replica, in any order of the addresses."""
    assert all(by_affinity(key, ADDRESSES) == by_affinity(key, reversed(ADDRESSES)) for key in KEYS[:100])


def test_replicas_share_the_keys_evenly() -> None:
    """Each of eight replicas is preferred by about an eighth of the keys."""
    shares = Counter(by_affinity(key, ADDRESSES)[0] for key in KEYS)
    assert len(shares) == len(ADDRESSES)
    assert all(400 <= share <= 600 for share in shares.values())


def test_a_lost_replica_moves_only_its_own_keys() -> None:
    """Keys of a lost replica move to the second choice, and all other keys stay."""
    lost = ADDRESSES[3]
    remaining = [address for address in ADDRESSES if address != lost]
    for key in KEYS[:500]:
        first, second, *_ = by_affinity(key, ADDRESSES)
        assert by_affinity(key, remaining)[0] == (second if first == lost else first)


class Clock:
    """The methods of an event loop used by `LoopLag`, with a time set by the test."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: tuple[object, float] | None = None

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, measure: object, due: float) -> object:
        self.due = measure, due
        return self

    def tick(self, late: float) -> None:
        """Let the next measurement be late."""
        assert self.due is not None
        measure, due = self.due
        self.due, self.now = None, due + late
        assert callable(measure)
        measure(due)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock of the running loop."""
    found = Clock()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: found)
    return found


def test_a_busy_loop_is_late(clock: Clock) -> None:
    """The lag is the least lateness of the latest measurements."""
    lag = LoopLag(["request"])
    assert lag.seconds() == 0
    lag.start()
    for late in range(MEASUREMENTS - 1, 0, -1):
        clock.tick(late=late)
        assert lag.seconds() == 0
    clock.tick(late=3.0)
    assert lag.seconds() == pytest.approx(1.0)
    assert clock.due is not None
    assert clock.due[1] == pytest.approx(clock.now + TICK_SECONDS)


def test_a_loop_that_was_stopped_is_not_late(clock: Clock) -> None:
    """A single long stop, like a machine's sleep, is no lag."""
    lag = LoopLag(["request"])
    lag.start()
    for late in (*[0.0] * MEASUREMENTS, 60.0, 0.0, *[5.0] * (MEASUREMENTS - 2)):
        clock.tick(late=late)
        assert lag.seconds() == 0


def test_the_lag_ends_with_the_requests(clock: Clock) -> None:
    """Without a running request nothing is measured and the lag is 0."""
    requests = {"request"}
    lag = LoopLag(requests)
    lag.start()
    for _ in range(MEASUREMENTS):
        clock.tick(late=10.0)
    assert lag.seconds() == 10
    requests.clear()
    assert lag.seconds() == 0
    requests.add("request")
    assert lag.seconds() == 0
    requests.clear()
    clock.tick(late=10.0)
    assert lag.seconds() == 0
    assert clock.due is None
    lag.start()
    assert lag.seconds() == 0


async def test_requests_of_a_late_front_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A late front refuses a request with a sentence."""
    fleet = Fleet({"far": 256}, 128)
    monkeypatch.setattr(LoopLag, "seconds", lambda _: 2 * MAX_LAG_SECONDS)
    with pytest.raises(QueueFullError, match="overloaded: try again later, or start another front"):
        await anext(fleet.generate("far", Request([1, 2], SamplingParams(max_tokens=1))))
    assert fleet.running("far") == 0
