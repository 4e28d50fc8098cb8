"""Tests the page's own routes: what is refused, errors of handlers, limits, and ends of streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from pellucid.door.error_replies import ClientGoneError, status_of
from pellucid.errors import ContextLengthError, NotFoundError, PellucidError, QueueFullError, UnavailableError
from pellucid_webui.hosting.page_routes import MAX_RUNNING, MAX_STOPS, ROUTES, Handler, PageRoutes

Payload = dict[str, Any]


@dataclass
class Client:
    """A browser that sends requests to a handler, and may close the connection or read nothing."""

    handler: Handler
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    is_stuck: bool = False

    def __post_init__(self) -> None:
        self.routes = PageRoutes({"part/act": self.handler}, self.closing)

    async def begin(
        self,
        asked: object = None,
        *,
        body: bytes = b"",
        path: str = "part/act",
        method: str = "POST",
        owner: str = "me",
    ) -> Response:
        """Send a request, and return the response after the first event."""
        sent = [body or json.dumps(asked or {}).encode()]
        scope = {"type": "http", "method": method, "path": f"{ROUTES}{path}", "headers": [], "query_string": b""}

        async def receive() -> Message:
            if sent:
                return {"type": "http.request", "body": sent.pop(), "more_body": False}
            await self.gone.wait()
            return {"type": "http.disconnect"}

        self.receive, self.scope = receive, scope
        return await self.routes.respond(Request(scope, receive), owner)

    async def events(self, response: Response) -> list[Payload]:
        """Return the events of a response up to the end."""
        parts: list[bytes] = []

        async def send(message: Message) -> None:
            if self.is_stuck and message["type"] == "http.response.body":
                await asyncio.Event().wait()
            parts.append(message.get("body", b""))

        await response(self.scope, self.receive, send)
        return [json.loads(event.removeprefix("data: ")) for event in b"".join(parts).decode().split("\n\n")[:-1]]


async def echo(owner: str, asked: Mapping[str, Any]) -> AsyncGenerator[Payload]:
    yield {"owner": owner}
    yield dict(asked)


@dataclass
class Waiting:
    """A handler that yields some events, then waits; ``closed`` counts the ended calls."""

    events: int = 1
    closed: int = 0
    waits: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[AsyncGenerator[Payload]] = field(default_factory=list)

    def __call__(self, owner: str, asked: Mapping[str, Any]) -> AsyncGenerator[Payload]:
        self.calls.append(self._act(owner, asked))  # The reference prevents an end by garbage collection.
        return self.calls[-1]

    async def _act(self, _: str, __: Mapping[str, Any]) -> AsyncGenerator[Payload]:
        try:
            for number in range(self.events):
                yield {"n": number}
            self.waits.set()
            await asyncio.Event().wait()
        finally:
            self.closed += 1


async def test_events() -> None:
    """A handler gets owner and body, and the response has the events."""
    client = Client(echo)
    response = await client.begin({"verb": "x", "text": "\u00e9\n\n"})
    assert response.media_type == "text/event-stream"
    assert await client.events(response) == [{"owner": "me"}, {"verb": "x", "text": "\u00e9\n\n"}]


async def test_no_event() -> None:
    """A handler without events has an empty response."""

    async def silent(_: str, asked: Mapping[str, Any]) -> AsyncGenerator[Payload]:
        if asked:
            yield {}

    client = Client(silent)
    assert await client.events(await client.begin()) == []
    assert client.routes._running == {}


@pytest.mark.parametrize(
    ("more", "status", "reported"),
    [
        ({"path": "part"}, 404, "The page has no route part: reload the page."),
        ({"path": "part/act/"}, 404, "The page has no route part/act/: reload the page."),
        ({"method": "GET"}, 405, "/page/part/act does not support GET."),
        ({"body": b"verb"}, 400, "The body is not JSON: Expecting value, line 1, column 1."),
        ({"body": b"[]"}, 400, "A request of the page must be a JSON object: reload the page."),
        ({"body": b"\xff"}, 400, "The body is not UTF-8: encode it as UTF-8."),
        ({"body": b'{"a": "\\ud800"}'}, 400, "The body cannot be read: a \\u escape is half of a surrogate pair."),
        ({"body": b'{"a": NaN}'}, 400, "The body cannot be read: NaN is not a JSON number."),
        ({"body": b'{"a": 1e400}'}, 400, "The body cannot be read: the number 1e400 is too large."),
        ({"body": b"[" * 100_000}, 400, "The body cannot be read: it is nested too deeply."),
    ],
)
async def test_what_is_refused(more: dict[str, Any], status: int, reported: str) -> None:
    """An unknown route, a wrong method and a wrong body are refused in a sentence."""
    client = Client(echo)
    with pytest.raises(PellucidError) as caught:
        await client.begin(**more)
    assert (status_of(caught.value), str(caught.value)) == (status, reported)
    assert client.routes._running == {}


@pytest.mark.parametrize("before", [0, 1])
async def test_errors_of_a_handler(before: int) -> None:
    """A handler's error becomes an event, even as the first event."""

    async def fail(_: str, __: Mapping[str, Any]) -> AsyncGenerator[Payload]:
        for number in range(before):
            yield {"n": number}
        raise ContextLengthError(90, 64) if before else NotFoundError("It is gone.")

    client = Client(fail)
    *events, last = await client.events(await client.begin())
    assert events == [{"n": 0}] * before
    assert (last["error"]["code"], last["error"]["message"]) == (
        (400, str(ContextLengthError(90, 64))) if before else (404, "It is gone.")
    )
    assert client.routes._running == {}


async def test_a_fault_of_a_handler() -> None:
    """An unexpected error is not shown to the user, and frees the place."""

    async def fail(_: str, asked: Mapping[str, Any]) -> AsyncGenerator[Payload]:
        if "late" in asked:
            yield {}
        raise RuntimeError("secret")

    client = Client(fail)
    with pytest.raises(RuntimeError):
        await client.begin()
    events = await client.events(await client.begin({"late": True}))
    assert (events[1]["error"]["code"], "secret" in str(events)) == (500, False)
    assert client.routes._running == {}


async def test_too_many_requests() -> None:
    """A user's running requests are limited, except for a few more that stop answers."""
    waiting = Waiting()
    client = Client(waiting)
    running = [await client.begin() for _ in range(MAX_RUNNING)]
    with pytest.raises(QueueFullError, match=f"You already have {MAX_RUNNING} requests running"):
        await client.begin({"verb": "send"})
    running += [await client.begin({"verb": "stop"}) for _ in range(MAX_STOPS)]
    with pytest.raises(QueueFullError):
        await client.begin({"verb": "stop"})
    running.append(await client.begin(owner="you"))
    client.gone.set()
    await asyncio.gather(*(client.events(response) for response in running))
    assert (waiting.closed, client.routes._running) == (len(running), {})
    client.gone.clear()
    await client.begin()


async def test_limit_for_a_burst() -> None:
    """The limit holds for requests that arrive at the same time."""
    client = Client(Waiting())
    begun = asyncio.gather(*(client.begin() for _ in range(MAX_RUNNING + 5)), return_exceptions=True)
    responses = [one for one in await begun if isinstance(one, Response)]
    assert len(responses) == MAX_RUNNING
    client.gone.set()
    await asyncio.gather(*(client.events(response) for response in responses))
    assert client.routes._running == {}


@pytest.mark.parametrize("events", [0, 1])
@pytest.mark.parametrize("end", ["gone", "closing"])
async def test_ends(events: int, end: str) -> None:
    """A lost client, or the end of the server, ends the work of a handler at any time."""
    waiting = Waiting(events)
    client = Client(waiting)

    async def run() -> list[Payload]:
        return await client.events(await client.begin())

    running = asyncio.create_task(run())
    await waiting.waits.wait()
    assert waiting.closed == 0
    getattr(client, end).set()
    if events == 0:
        with pytest.raises(ClientGoneError if end == "gone" else UnavailableError):
            await running
    else:
        shown = await running
        assert [event["error"]["code"] for event in shown[1:]] == ([] if end == "gone" else [503])
    assert (waiting.closed, client.routes._running) == (1, {})


async def test_a_client_that_reads_nothing() -> None:
    """A handler ends also while the client reads nothing."""
    waiting = Waiting(events=2)
    client = Client(waiting, is_stuck=True)
    response = await client.begin()
    client.gone.set()
    assert await client.events(response) == []
    assert (waiting.closed, client.routes._running) == (1, {})
