"""Tests that the page and the API use separate threads."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

from pellucid_webui.page_threads import MAX_THREADS, in_page_thread

LONG_SECONDS = 60.0
"""Reached only if a test fails."""

API_THREADS = 64
"""More than asyncio's default on any machine."""


async def test_occupied_threads() -> None:
    """Occupied threads of the page do not delay the API's work, and vice versa."""
    for occupy, other, count in (
        (in_page_thread, asyncio.to_thread, MAX_THREADS),
        (asyncio.to_thread, in_page_thread, API_THREADS),
    ):
        go_on = threading.Event()
        waiting = [asyncio.create_task(occupy(go_on.wait, LONG_SECONDS)) for _ in range(2 * count)]
        await asyncio.sleep(0)
        assert await asyncio.wait_for(other(lambda: "done"), LONG_SECONDS / 2) == "done"
        go_on.set()
        assert all(await asyncio.gather(*waiting))


async def test_context() -> None:
    """Work sees the context variables of the caller, for example the user of the request."""
    user: ContextVar[str] = ContextVar("user")
    user.set("anna")
    assert await in_page_thread(user.get) == "anna"
