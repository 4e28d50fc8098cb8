"""Uvicorn's HTTP connections with limits on idle and slow clients.

Uvicorn limits only the pause between two requests. Request bodies have limits in
``api.request_body``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from pellucid.door.error_replies import RequestTimeoutError, error_body, status_of
from pellucid.door.request_body import ADMIT
from pellucid.errors import InvalidRequestError, QueueFullError

HEADER_SECONDS = 15.0
"""Time limit for headers, from the first byte, or from the start of a connection."""

IDLE_SECONDS = 75
"""Time for which an idle connection is kept after a response.

Most clients close connections sooner (httpx after 5 seconds, aiohttp after 15). A close by the
server at the moment of a new request would fail the request.
"""

UNREAD_SECONDS = 5.0
"""Time for the rest of a body after the response: without this time, the client reads a reset
connection instead of the response.
"""

MAX_OUTSIDE = 1024
"""Maximum number of connections without an admitted request. Each further connection closes the
oldest idle connection.
"""

ARRIVAL_SECONDS = 0.1
"""Time for a new connection's request to arrive before other connections are closed: after a busy
moment, many connections have unread requests.
"""

MAX_PER_OWNER = 2000
"""Maximum number of connections with running requests per owner of a key, or a third of the open
files. A team may share a key.
"""

MAX_FILES = 8192
"""Requested limit of open files: many systems allow only 1,024 by default."""

STALLED_SECONDS = 60.0
"""Time limit for a client to read from a waiting response after the system's buffers are full."""

logger = logging.getLogger(__name__)


class ReaderWatch:
    """Aborts a connection if the client reads nothing for STALLED_SECONDS."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self.stop()
        self._timer = self._loop.call_later(STALLED_SECONDS, self._check, self._transport.get_write_buffer_size())

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self, waiting: int) -> None:
        if self._transport.get_write_buffer_size() < waiting:
            self.start()
        else:
            logger.info("A client read nothing for %g seconds, so its connection was closed.", STALLED_SECONDS)
            self._transport.abort()


class LimitedConnection(H11Protocol):
    """A connection with limits, which is outside except during an admitted request."""

    def __init__(self, config: uvicorn.Config, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self._application: ASGIApp = self.app
        self.app = self._answer
        self._outside = True
        self._since = self.loop.time()
        self._waits_for: object = None
        self._timer: asyncio.TimerHandle | None = None
        self._owner: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._reader = ReaderWatch(transport, self.loop)
        if len(self.connections) > within_file_limit(MAX_OUTSIDE, 2):
            self.loop.call_later(ARRIVAL_SECONDS, self._make_room)
        self._watch()

    def _make_room(self) -> None:
        outside = [one for one in self.connections if isinstance(one, LimitedConnection) and one._outside]
        surplus = max(len(outside) - within_file_limit(MAX_OUTSIDE, 2), 0)
        for one in sorted((one for one in outside if not one._has_asked), key=lambda one: one._since)[:surplus]:
            one._abort()

    @property
    def _has_asked(self) -> bool:
        """True while a whole request is answered and the client reads."""
        is_whole = (
            self.cycle is not None and not self.cycle.response_complete and self.conn.their_state is not h11.SEND_BODY
        )
        return is_whole and not self.flow.write_paused and not self.transport.is_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop()
        self._reader.stop()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reader.start()

    def resume_writing(self) -> None:
        """Stop the check, except on a closing connection."""
        super().resume_writing()
        self._reader.stop()
        if self.transport.is_closing():
            self._reader.start()

    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except h11.LocalProtocolError:  # Not HTTP, and the response has begun: no error can be sent.
            self._abort()
        self._watch()

    def on_response_complete(self) -> None:
        self._outside, self._since, self._owner = True, self.loop.time(), None
        super().on_response_complete()
        self._watch()
        if self.transport.is_closing():
            self._reader.start()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._abort_later()

    def send_400_response(self, msg: str) -> None:
        self._refuse(InvalidRequestError(msg))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A late server has requests of clients that have given up, and must not answer them. The
        # connection knows after two turns of the loop that the client is gone.
        for _ in range(2):
            await asyncio.sleep(0)
        if self.cycle.disconnected:
            return
        scope[ADMIT] = self._admit
        await self._application(scope, receive, send)

    def _admit(self, owner: str | None) -> None:
        if owner is not None and self._owner is None:
            most = within_file_limit(MAX_PER_OWNER, 3)
            if sum(isinstance(one, LimitedConnection) and one._owner == owner for one in self.connections) >= most:
                raise QueueFullError(f"You already have {most} open requests: wait for some to finish, or close them.")
            self._owner = owner
        self._outside = False

    def _watch(self) -> None:
        """Start a timer for the next event. Uvicorn's own timer ends an idle connection."""
        is_answering = self.cycle is not None and not self.cycle.response_complete
        has_begun = self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        is_idle = self.conn.their_state is h11.IDLE and self.cycle is not None and not has_begun
        is_closing = self.transport.is_closing()
        waits_for = None if is_answering or is_idle or is_closing else (self.cycle, self.conn.their_state)
        if waits_for == self._waits_for:
            return
        self._stop()
        self._waits_for = waits_for
        if waits_for is not None:
            seconds = HEADER_SECONDS if self.conn.their_state is h11.IDLE else UNREAD_SECONDS
            self._timer = self.loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        if self.transport.is_closing():
            return
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._refuse(RequestTimeoutError("The request headers did not arrive in time: send the request again."))
        else:
            self.timeout_keep_alive_handler()

    def _refuse(self, error: InvalidRequestError) -> None:
        body = json.dumps(error_body(error)).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        status = status_of(error)
        response = h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase.encode())
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
        self._abort_later()

    def _abort_later(self) -> None:
        self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def _abort(self) -> None:
        self._outside = False
        self._stop()
        self.transport.abort()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class AcceptErrors:
    """A loop exception handler that logs failed accepts at most once a minute.

    Asyncio's own handler logs a traceback for each waiting connection, many thousands a second.
    """

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not str(context.get("message", "")).startswith("socket.accept() out of system resource"):
            loop.default_exception_handler(context)
        elif loop.time() >= self._next:
            self._next = loop.time() + 60
            logger.warning(
                "No more connections can be accepted (%s): raise the limit of open files (ulimit -n).",
                context.get("exception"),
            )


def allow_files() -> None:
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # Some systems have a lower limit that they do not report.
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def within_file_limit(wanted: int, share: int) -> int:
    if sys.platform == "win32":
        return wanted
    import resource

    return min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // share)
