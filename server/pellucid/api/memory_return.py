"""Return of memory to the system after large requests, against the allocator's retention."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pellucid.system.memory import return_free_memory

LARGE_BYTES = 2**20
"""Minimum body size; smaller bodies are not worth the milliseconds of a return."""

PAUSE_SECONDS = 0.2
"""Pause after a large request, so that a single return serves several requests."""


class MemoryReturn:
    """ASGI middleware for returning memory, in a thread, after each request with a large body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._is_due = False
        self._returning: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            return message

        try:
            await self._app(scope, counted if scope["type"] == "http" else receive, send)
        finally:
            if size >= LARGE_BYTES:
                self._is_due = True
                if self._returning is None or self._returning.done():
                    self._returning = asyncio.create_task(self._return())

    async def _return(self) -> None:
        while self._is_due:
            await asyncio.sleep(PAUSE_SECONDS)
            self._is_due = False
            await asyncio.to_thread(return_free_memory)
