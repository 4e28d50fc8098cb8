"""A server's process that leaves in good order, whatever it serves."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import uvicorn
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pellucid.config import Settings
from pellucid.serving.http_connections import AcceptErrors, LimitedConnection, allow_files

FAREWELL_SECONDS = 2
"""What answers get after their grace time to send their last event."""


def uvicorn_config(app: ASGIApp, trusted_proxies: Sequence[str] = (), **rest: Any) -> uvicorn.Config:
    """Return Uvicorn's settings for a server of ours: limited connections, no WebSockets, proxy headers of named proxies only."""
    return uvicorn.Config(
        app,
        http=LimitedConnection,
        ws="none",
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        **rest,
    )


class GracefulServer(uvicorn.Server):
    """Uvicorn, with a way to leave that gives running answers their grace time.

    ``leave`` is called when no new requests are taken any more; it sets ``closing`` after the grace time.
    """

    def __init__(self, app: ASGIApp, settings: Settings, leave: Callable[[], None], closing: asyncio.Event) -> None:
        self._served = app
        self._is_leaving = False
        self._leave = leave
        self._closing = closing
        self._signals = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        super().__init__(
            uvicorn_config(
                self._answer,
                settings.trusted_proxies,
                interface="asgi3",
                log_config=None,
                log_level=settings.log_level,
                access_log=settings.log_level == "debug",
                server_header=False,
                timeout_graceful_shutdown=settings.grace + FAREWELL_SECONDS,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(AcceptErrors())
        allow_files()
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let running answers finish, then end them."""
        self._is_leaving = True
        self._leave()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal asks to leave, the second one ends the grace time, the third one is not argued with."""
        self._signals += 1
        if self._signals == 1:
            self.should_exit = True
        elif self._signals == 2 and self._loop is not None:
            self._loop.call_soon_threadsafe(self._insist, self._loop)
        else:
            os._exit(128 + sig)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application's answer, which is the last one on its connection once the server leaves.

        Uvicorn closes the connections that it knows then; one that is taken at that moment would stay as long as it is used.
        """

        async def noted(message: Message) -> None:
            if self._is_leaving and message["type"] == "http.response.start":
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        await self._served(scope, receive, noted)

    def _insist(self, loop: asyncio.AbstractEventLoop) -> None:
        self._closing.set()
        loop.call_later(FAREWELL_SECONDS, setattr, self, "force_exit", True)
