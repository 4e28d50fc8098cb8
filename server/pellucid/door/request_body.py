"""Reading of whole request bodies, within limits of size, time and total memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from pellucid.door.error_replies import BodyTooLargeError, ClientGoneError, RequestTimeoutError
from pellucid.errors import UnavailableError

FIRST_SECONDS = 10.0
"""Minimum time for any body."""

SLOWEST_BYTES_PER_SECOND = 32 * 1024
"""Rate at which received bytes extend the time, so that slow networks can send large bodies."""

SMALL_BODY_BYTES = 64 * 1024
"""Bodies up to this size take no share of the memory for large bodies."""

MAX_LARGE_BODIES = 2
"""Number of bodies of maximum size that may arrive at the same time."""

UNKNOWN_SENDER_BYTES = 8192
"""Maximum body of a client without a key, on a server with keys."""

ADMIT = "pellucid.admit"
"""Scope key of the connection's function for ``admit``."""


def admit(scope: Scope, owner: str | None = None) -> None:
    """Exempt a connection from being closed for newer connections, until its request is answered.

    Raises QueueFullError if the owner of the key has too many exempt connections. A server without
    keys has no ``owner`` and no limit.
    """
    call: Callable[[str | None], None] | None = scope.get(ADMIT)
    if call is not None:
        call(owner)


class BodyReader:
    """Reads the bodies of a server's requests. ``limit`` is the maximum size in bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._room = MAX_LARGE_BODIES * limit

    async def receive(self, scope: Scope, receive: Receive, limit: int | None = None) -> Receive:
        """Read a body, and return a ``receive`` with the body in a single message."""
        return replayed(await self.read(scope, receive, limit), receive)

    async def read(self, scope: Scope, receive: Receive, limit: int | None = None) -> bytes:
        """Return the whole body.

        Raises BodyTooLargeError as soon as the size is known to exceed the limit,
        RequestTimeoutError for slow bodies, UnavailableError if other bodies take too much memory,
        and ClientGoneError.
        """
        limit = self._limit if limit is None else limit
        too_large = BodyTooLargeError(
            f"The body is larger than {limit} bytes: send less, or start the server with a larger --max-body-bytes."
        )
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and (len(announced) > 18 or int(announced) > limit):
            raise too_large
        start, body, taken, more = asyncio.get_running_loop().time(), bytearray(), 0, True
        try:
            while more:
                message = await _next(receive, start + FIRST_SECONDS + len(body) / SLOWEST_BYTES_PER_SECOND)
                body += message.get("body", b"")
                if len(body) > limit:
                    raise too_large
                if len(body) > SMALL_BODY_BYTES:
                    self._take(len(body) - taken)
                    taken = len(body)
                more = message.get("more_body", False)
            return bytes(body)
        finally:
            self._room += taken

    def _take(self, size: int) -> None:
        if size > self._room:
            raise UnavailableError("The server is receiving too many large bodies at once: try again in a moment.")
        self._room -= size


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that returns the body first, and keeps no reference afterwards."""
    pending = [body]

    async def next_message() -> Message:
        return {"type": "http.request", "body": pending.pop(), "more_body": False} if pending else await receive()

    return next_message


async def _next(receive: Receive, deadline: float) -> Message:
    try:
        async with asyncio.timeout_at(deadline):
            message = await receive()
    except TimeoutError:
        raise RequestTimeoutError("The request body did not arrive in time: send the request again.") from None
    if message["type"] == "http.disconnect":
        raise ClientGoneError("The client closed the connection.")
    return message
