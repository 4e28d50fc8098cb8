"""A server exits after the idle time, and never during an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
from hypothesis import given
from hypothesis import strategies as st

from pellucid.api.idle_exit import Idleness
from support.servers.http_servers import ScriptedAssistant, application, scripted_state


class Time:
    """A clock and a timer advanced by the test."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.looks = 0

    def __call__(self) -> float:
        return self.now

    def call_later(self, delay: float, what: Callable[[], None]) -> None:
        self.timers.append((self.now + delay, what))

    def run(self, seconds: float) -> None:
        """Advance the clock, and call due timers."""
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer[0] <= end]:
            timer = min(due, key=lambda timer: timer[0])
            self.timers.remove(timer)
            self.now = timer[0]
            self.looks += 1
            timer[1]()
        self.now = end


def watched(time: Time, limit: float) -> tuple[Idleness, list[float]]:
    """Return a watched idleness, and the times of the server's stops."""
    idleness = Idleness(time)
    left: list[float] = []
    idleness.watch(limit, lambda: left.append(time.now), time.call_later)
    return idleness, left


def test_leaves_once_when_the_time_is_over() -> None:
    """Without a request the server exits after the limit, once."""
    time = Time()
    _, left = watched(time, 30)

    time.run(29)
    assert left == []
    time.run(1000)
    assert left == [130]


def test_never_while_a_request_runs() -> None:
    """A long request keeps the server running, and the idle time counts from the request's end."""
    time = Time()
    idleness, left = watched(time, 30)

    idleness.begin()
    time.run(1000)
    idleness.end()
    time.run(29)
    assert left == []
    time.run(31)
    assert left == [1130]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=20))
def test_leaves_at_the_very_time(requests: list[tuple[int, int]]) -> None:
    """The server exits exactly after the limit without a request, with few checks."""
    time = Time()
    idleness, left = watched(time, 30)
    expected = None
    for pause, length in requests:
        if expected is None and pause >= 30:
            expected = time.now + 30
        time.run(pause)
        idleness.begin()
        time.run(length)
        idleness.end()
    expected = time.now + 30 if expected is None else expected
    time.run(100)

    assert left == [expected]
    assert time.looks <= 1 + len(requests) + (expected - 100) / 30


async def test_requests_count_until_their_stream_has_ended() -> None:
    """A stream counts to the end; /health, /metrics and page polling do not count."""
    time, going, hold = Time(), asyncio.Event(), asyncio.Event()

    async def before(index: int) -> None:
        if index == 1:
            going.set()
            await hold.wait()

    state = scripted_state(ScriptedAssistant(before=before), clock=time)
    state.idleness.overlook(lambda path: path.startswith("/beat/"))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(application(state)), base_url="http://localhost"
    ) as client:
        time.run(10)
        for path, status in (("/health", 200), ("/metrics", 200), ("/beat/x", 404)):
            assert (await client.get(path)).status_code == status
        assert state.idleness.seconds == 10

        stream = asyncio.create_task(client.post("/v1/completions", json={"prompt": "x", "stream": True}))
        await going.wait()
        time.run(10)
        assert state.idleness.seconds == 0
        hold.set()
        await stream
        time.run(3)
        assert state.idleness.seconds == 3

        await client.get("/v1/models")
        assert state.idleness.seconds == 0


async def test_refused_requests_do_not_count() -> None:
    """A page of another site cannot keep a server awake."""
    time = Time()
    state = scripted_state(clock=time)
    time.run(10)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(application(state)), base_url="http://localhost"
    ) as client:
        assert (await client.get("/v1/models", headers={"origin": "https://evil.example"})).status_code == 403

    assert state.idleness.seconds == 10


async def test_loading_does_not_count() -> None:
    """The idle time counts from the end of loading."""
    time = Time()
    state = scripted_state(clock=time)
    time.run(10)
    assistant, engine = state._assistant, state._engine
    assert assistant is not None
    assert engine is not None

    state.open(assistant, engine)

    assert state.idleness.seconds == 0
