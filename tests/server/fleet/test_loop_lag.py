"""The lag of a front's event loop, and the refusal of requests by a late front."""

from __future__ import annotations

import asyncio

import pytest

from pellucid.engine.request import Request
from pellucid.errors import QueueFullError
from pellucid.fleet.fleet import MAX_LAG_SECONDS, Fleet
from pellucid.fleet.loop_lag import MEASUREMENTS, TICK_SECONDS, LoopLag
from pellucid.vocabulary.query import SamplingParams


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
