"""A stream of server-sent events to a disconnected client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from pellucid.door.event_stream import Event, EventStream

READY = 1000
"""Events ready at once, like the tokens of a scored text."""


def test_stream_ends_soon_after_the_client_has_gone() -> None:
    """Of a thousand ready events, few are written to a closed connection."""
    # From 5 on, asyncio logs each write as a warning.
    assert asyncio.run(_written_to_a_closed_connection()) < 5


async def _written_to_a_closed_connection() -> int:
    gone, written = asyncio.Event(), 0

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal written
        written += message["type"] == "http.response.body"
        gone.set()

    async def events() -> AsyncGenerator[Event]:
        for number in range(READY):
            yield {"number": number}

    first: Event = {"number": -1}
    await EventStream(first, events(), lambda: None, asyncio.Event())({"type": "http"}, receive, send)
    return written
