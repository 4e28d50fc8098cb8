"""The lag of a front's event loop, and the requests that it refuses because of it."""

from __future__ import annotations

import asyncio
import time

import pytest

from pellucid.engine.request import Request
from pellucid.errors import QueueFullError
from pellucid.fleet.fleet import MAX_LAG_SECONDS, Fleet
from pellucid.fleet.loop_lag import TICK_SECONDS, LoopLag
from pellucid.tokens import SamplingParams

BLOCKED = 4 * TICK_SECONDS


async def test_a_busy_loop_is_late() -> None:
    """Work that holds up the event loop counts as lag while requests run."""
    needed = [True, False]
    lag = LoopLag(lambda: needed.pop(0))
    lag.start()
    assert lag.seconds() == 0
    asyncio.get_running_loop().call_soon(time.sleep, BLOCKED)  # as work does that is too much for the processor
    while needed:
        await asyncio.sleep(TICK_SECONDS)
    assert lag.seconds() > 0


async def test_requests_beyond_the_processor_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A front that is late refuses a request with a sentence instead of adding it to the pile."""
    fleet = Fleet({"far": 256}, 128)
    monkeypatch.setattr(LoopLag, "seconds", lambda _: 2 * MAX_LAG_SECONDS)
    with pytest.raises(QueueFullError, match="more requests than its processor carries: try again later, or start another front"):
        await anext(fleet.generate("far", Request([1, 2], SamplingParams(max_tokens=1))))
    assert fleet.running("far") == 0
