"""The page's own routes: a JSON object in, server-sent events out."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import ExitStack, aclosing, contextmanager
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pellucid.door.error_replies import MethodError, error_body
from pellucid.door.event_stream import SSE_WITHOUT_DONE, event_stream
from pellucid.door.json_body import JsonRequest
from pellucid.errors import InvalidRequestError, NotFoundError, PellucidError, QueueFullError

ROUTES = "/page/"

MAX_RUNNING = 64
"""Running requests of a user; a streamed answer and a click are a request each."""

MAX_STOPS = 8
"""Additional requests that stop an answer."""

Handler = Callable[[str, Mapping[str, Any]], AsyncGenerator[dict[str, Any]]]
"""Yields events for a user's request. Closing the generator ends the work."""


class PageRoutes:
    """The routes by name. Streams end when ``closing`` is set."""

    def __init__(self, handlers: Mapping[str, Handler], closing: asyncio.Event) -> None:
        self._handlers = handlers
        self._closing = closing
        self._running: Counter[str] = Counter()

    async def respond(self, request: Request, owner: str) -> Response:
        """Answer a request of ``owner`` with events.

        Raises NotFoundError, MethodError, QueueFullError, and InvalidRequestError for a body other
        than a JSON object.
        """
        name = request.scope["path"].removeprefix(ROUTES)
        handler = self._handlers.get(name)
        if handler is None:
            raise NotFoundError(f"The page has no route {name}: reload the page.")
        if request.method != "POST":
            raise MethodError(f"{ROUTES}{name} does not support {request.method}.")
        asked = await _object_in(request)
        if self._running[owner] >= MAX_RUNNING + MAX_STOPS * (asked.get("verb") == "stop"):
            raise QueueFullError(
                f"You already have {MAX_RUNNING} requests running: stop one or close a tab, then try again."
            )
        place = ExitStack()
        place.enter_context(self._place(owner))
        events = _released(handler(owner, asked), place)
        try:
            return await event_stream(request, self._closing, events, format=SSE_WITHOUT_DONE)
        except StopAsyncIteration:
            return Response(media_type=SSE_WITHOUT_DONE.media_type)
        except BaseException:
            place.close()  # A generator that has not begun releases nothing.
            raise

    @contextmanager
    def _place(self, owner: str) -> Iterator[None]:
        self._running[owner] += 1
        try:
            yield
        finally:
            self._running[owner] -= 1
            if not self._running[owner]:
                del self._running[owner]


async def _released(events: AsyncGenerator[dict[str, Any]], place: ExitStack) -> AsyncGenerator[dict[str, Any]]:
    """Yield events, and an error as an event; release the place at the end."""
    with place:
        try:
            async with aclosing(events):
                async for event in events:
                    yield event
        except PellucidError as error:
            yield error_body(error)  # Not a status: a refused action is no error of the page's script.
        except OverflowError:
            yield error_body(InvalidRequestError("A number is too large: enter a smaller number."))


async def _object_in(request: Request) -> Mapping[str, Any]:
    try:
        asked = await JsonRequest(request.scope, request.receive).json()
    except HTTPException as error:
        raise InvalidRequestError(error.detail) from None
    if not isinstance(asked, dict):
        raise InvalidRequestError("A request of the page must be a JSON object: reload the page.")
    return asked
