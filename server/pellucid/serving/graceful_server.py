"""A uvicorn server with a grace time for running answers at shutdown."""

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
from pellucid.door.http_connections import IDLE_SECONDS, AcceptErrors, LimitedConnection, allow_files

FAREWELL_SECONDS = 2
"""Time after the grace time in which answers send their last event."""


def uvicorn_config(app: ASGIApp, trusted_proxies: Sequence[str] = (), **rest: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=LimitedConnection,
        ws="none",
        timeout_keep_alive=IDLE_SECONDS,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        **rest,
    )


class GracefulServer(uvicorn.Server):
    """A uvicorn server that calls ``leave`` when no new requests are accepted.

    ``leave`` sets ``closing`` after the grace time.
    """

    def __init__(self, app: ASGIApp, settings: Settings, leave: Callable[[], None], closing: asyncio.Event) -> None:
        self._served = app
        self._is_shutting_down = False
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
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(AcceptErrors())
        allow_files()
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._is_shutting_down = True
        self._leave()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Shut down at the first signal, end the grace time at the second, exit at the third."""
        self._signals += 1
        if self._signals == 1:
            self.should_exit = True
        elif self._signals == 2 and self._loop is not None:
            self._loop.call_soon_threadsafe(self._insist, self._loop)
        else:
            os._exit(128 + sig)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; during shutdown, mark its response as the connection's last.

        Uvicorn closes the known connections at shutdown, but not a connection accepted at this
        moment.
        """

        async def send_and_close(message: Message) -> None:
            if self._is_shutting_down and message["type"] == "http.response.start":
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        await self._served(scope, receive, send_and_close)

    def _insist(self, loop: asyncio.AbstractEventLoop) -> None:
        self._closing.set()
        loop.call_later(FAREWELL_SECONDS, setattr, self, "force_exit", True)
