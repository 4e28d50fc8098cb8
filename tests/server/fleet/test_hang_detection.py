"""The condition for a hung engine; the ticks come from the tests."""

from __future__ import annotations

import asyncio

import pytest

from pellucid.fleet import hang_detection
from pellucid.fleet.hang_detection import GAP_FACTOR, LEAST_SECONDS, READING_RATE, TICK_SECONDS, HangDetector, HangError

MOST = 120.0
LEAST = round(LEAST_SECONDS / TICK_SECONDS)
"""Ticks without a token until an engine without earlier long gaps hangs."""


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> HangDetector:
    """A detector with ticks from the test only."""
    monkeypatch.setattr(HangDetector, "schedule", lambda _: None)
    return HangDetector(MOST)


def tick(detector: HangDetector, times: int) -> None:
    """Let the time of some ticks pass."""
    for _ in range(times):
        detector.tick()


async def waiting(detector: HangDetector, reading: int = 0) -> asyncio.Task[None]:
    """Return a request without an end."""
    task = asyncio.create_task(detector.wait(asyncio.Event().wait(), reading))
    await asyncio.sleep(0)
    return task  # type: ignore[return-value]


async def test_no_request_gets_a_token(detector: HangDetector) -> None:
    """All requests of an engine without tokens end together, and not a tick earlier."""
    tasks = [await waiting(detector) for _ in range(3)]
    tick(detector, LEAST - 1)
    await asyncio.sleep(0.01)
    assert not any(task.done() for task in tasks)
    tick(detector, 1)
    for task in tasks:
        with pytest.raises(HangError) as hung:
            await task
        assert hung.value.seconds == LEAST_SECONDS


async def test_one_request_gets_tokens(detector: HangDetector) -> None:
    """A token for any request proves a working engine for all waiting requests."""
    task = await waiting(detector)
    for _ in range(10):
        tick(detector, LEAST - 1)
        detector.note_token()
    await asyncio.sleep(0.01)
    assert not task.done()
    task.cancel()


async def test_a_slow_engine_has_longer(detector: HangDetector) -> None:
    """An engine gets a multiple of the longest earlier gap, up to the limit of a request."""
    task = await waiting(detector)
    for gap, limit in ((3, LEAST_SECONDS), (8, GAP_FACTOR * 8.0), (5, GAP_FACTOR * 8.0), (30, MOST)):
        tick(detector, gap)
        detector.note_token()
        assert detector.limit() == limit
    task.cancel()


async def test_a_long_prompt_is_no_hang(detector: HangDetector) -> None:
    """While an engine reads a long prompt, all requests get more time, and only then."""
    short, long = await waiting(detector, 100), await waiting(detector, 60 * READING_RATE)
    tick(detector, LEAST + 1)
    await asyncio.sleep(0.01)
    assert not short.done()
    long.cancel()
    await asyncio.wait([long])
    tick(detector, LEAST - 1)
    await asyncio.sleep(0.01)
    assert not short.done()
    tick(detector, 1)
    with pytest.raises(HangError):
        await short


async def test_requests_that_are_cancelled(detector: HangDetector) -> None:
    """Cancelled requests do not reset the time without a token; without requests the time stops."""
    for _ in range(LEAST - 1):
        task = await waiting(detector)
        tick(detector, 1)
        task.cancel()
        await asyncio.sleep(0)
        tick(detector, 100)
    last = await waiting(detector)
    tick(detector, 1)
    with pytest.raises(HangError):
        await last


async def test_after_a_hang(detector: HangDetector) -> None:
    """After a hang an engine gets the whole time again."""
    for _ in range(2):
        task = await waiting(detector)
        tick(detector, LEAST - 1)
        await asyncio.sleep(0.01)
        assert not task.done()
        tick(detector, 1)
        with pytest.raises(HangError):
            await task


async def test_ticks_come_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a request waits, the event loop counts the time."""
    monkeypatch.setattr(hang_detection, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(hang_detection, "LEAST_SECONDS", 0.05)
    with pytest.raises(HangError):
        await HangDetector(MOST).wait(asyncio.Event().wait(), 0)


async def test_an_error_of_the_engine(detector: HangDetector) -> None:
    """A `TimeoutError` of the awaited call is passed on unchanged."""

    async def late() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await detector.wait(late(), 0)


async def test_reading_is_no_gap_between_tokens(detector: HangDetector) -> None:
    """The time of reading a long prompt does not extend later limits."""
    reading = asyncio.create_task(detector.wait(asyncio.Event().wait(), 8_000))
    await asyncio.sleep(0)
    tick(detector, LEAST)
    detector.note_token()
    assert detector.limit() == 80, "of the prompt"
    reading.cancel()
    await asyncio.wait([reading])
    assert detector.limit() == LEAST_SECONDS
