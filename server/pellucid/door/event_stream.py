"""Streams of server-sent events or JSON lines, and cancellation for disconnected clients."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pellucid.door.error_replies import UNEXPECTED, ClientGoneError, error_body, error_sentence
from pellucid.errors import PellucidError, UnavailableError

logger = logging.getLogger(__name__)

Event: TypeAlias = "BaseModel | Mapping[str, Any] | tuple[Event, ...]"
"""An event, or several events that are sent together."""

T = TypeVar("T")

_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}

CLOSING = UnavailableError("The server is shutting down, so this answer ends here.")


@dataclass(frozen=True, slots=True)
class StreamFormat:
    """The form of a stream: text around each event, error event, and last bytes.

    In a ``named`` stream, each event's ``type`` is also its name.
    """

    media_type: str
    before: str
    after: str
    error: Callable[[PellucidError], Mapping[str, Any]]
    last: bytes = b""
    named: bool = False

    def write(self, event: Event) -> bytes:
        if isinstance(event, tuple):
            return b"".join(map(self.write, event))
        name = f"event: {event['type']}\n" if self.named and isinstance(event, Mapping) else ""
        data = event.model_dump_json() if isinstance(event, BaseModel) else json.dumps(event)
        return f"{name}{self.before}{data}{self.after}".encode()


SSE = StreamFormat("text/event-stream", "data: ", "\n\n", error_body, b"data: [DONE]\n\n")
"""Server-sent events that end with OpenAI's ``[DONE]``."""

SSE_WITHOUT_DONE = replace(SSE, last=b"")

NAMED_SSE = replace(SSE_WITHOUT_DONE, named=True)

NDJSON = StreamFormat("application/x-ndjson", "", "\n", error_sentence)
"""Lines of JSON, as in ollama's streams."""


def json_response(reply: BaseModel) -> Response:
    return Response(reply.model_dump_json(), media_type="application/json")


async def attend(request: Request, closing: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of ``work``.

    If the client closes the connection (ClientGoneError) or ``closing`` is set (UnavailableError),
    ``work`` is cancelled.
    """
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnected(request.receive))
    closes = asyncio.create_task(closing.wait())
    try:
        await asyncio.wait({task, gone, closes}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGoneError("The client closed the connection.") if gone.done() else CLOSING
    finally:
        await _end(task, gone, closes)


def ended_stream(event: Event, format: StreamFormat) -> Response:
    return Response(format.write(event) + format.last, media_type=format.media_type, headers=_HEADERS)


async def event_stream(
    request: Request,
    closing: asyncio.Event,
    events: AsyncGenerator[Event],
    closing_event: Callable[[], Event | None] = lambda: None,
    format: StreamFormat = SSE,
) -> EventStream:
    """Return a response that streams ``events``, then the closing event, if any.

    An error before the first event is raised here, for its own status.
    """
    try:
        first = await attend(request, closing, anext(events))
    except BaseException:
        await events.aclose()
        raise
    return EventStream(first, events, closing_event, closing, format)


class EventStream(Response):
    """Sends events, and closes their generator at the end, on disconnection or at shutdown.

    An error after the first event is sent as an event ``{"error": ...}``, before the last bytes.
    """

    def __init__(
        self,
        first: Event,
        rest: AsyncGenerator[Event],
        closing_event: Callable[[], Event | None],
        closing: asyncio.Event,
        format: StreamFormat = SSE,
    ) -> None:
        self.status_code = 200
        self.media_type = format.media_type
        self.background = None
        self.init_headers(_HEADERS)
        self._first = first
        self._rest = rest
        self._closing_event = closing_event
        self._closing = closing
        self._format = format

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        producer = asyncio.create_task(self._produce(send))
        gone = asyncio.create_task(_disconnected(receive))
        closing = asyncio.create_task(self._closing.wait())
        try:
            await asyncio.wait({producer, gone, closing}, return_when=asyncio.FIRST_COMPLETED)
            if producer.done():
                producer.result()
        finally:
            await _end(producer, gone, closing)
            await self._rest.aclose()
        if not gone.done() or gone.cancelled():
            error = b"" if not producer.cancelled() else self._format.write(self._format.error(CLOSING))
            await send({"type": "http.response.body", "body": error + self._format.last, "more_body": False})

    async def _produce(self, send: Send) -> None:
        await self._send(send, self._format.write(self._first))
        try:
            async for event in self._rest:
                await self._send(send, self._format.write(event))
            if (closing := self._closing_event()) is not None:
                await self._send(send, self._format.write(closing))
        except PellucidError as error:
            await self._send(send, self._format.write(self._format.error(error)))
        except Exception:
            # The status was already sent, so the error can only go into the stream and the log.
            logger.exception("a stream failed")
            await self._send(send, self._format.write(self._format.error(UNEXPECTED)))

    async def _send(self, send: Send, data: bytes) -> None:
        await send({"type": "http.response.body", "body": data, "more_body": True})
        # Many events may be ready: let the event loop notice a disconnection in between.
        await asyncio.sleep(0)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks, and wait until all have ended. Needed results were taken before."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
