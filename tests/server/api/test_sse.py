"""Tests of server-sent events: a stream to a client that has gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from pellucid.api.sse import Event, EventStream

READY = 1000
"""Events that are ready at once, as the tokens of a text that was scored."""


def test_stream_ends_soon_after_the_client_has_gone() -> None:
    """Of a thousand events that are ready at once, few are written to a connection that was closed during the first of them."""
    assert asyncio.run(_written_to_a_closed_connection()) < 5  # from 5 on, asyncio logs each write as a warning


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
