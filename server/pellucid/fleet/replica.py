"""Speaks to one engine elsewhere: an address of a vLLM server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import aiohttp

from pellucid.fleet.admission import Gate
from pellucid.fleet.hang_detection import HangDetector, HangError
from pellucid.fleet.vllm_wire import (
    ROUTE,
    EngineFailureError,
    MalformedAnswerError,
    WireEvent,
    WireToken,
    clean,
    error_of,
    read_event,
    read_prompt_scores,
    refused,
)

T = TypeVar("T")

CONNECT_SECONDS = 5.0
"""Time limit for a connection and for a reply to a question about the engine."""

COMMAND_SECONDS = 60.0
"""Time limit for a command, such as to load an adapter from a slow disk."""

SILENT_SECONDS = 120.0
"""Time without a token of an answer after which an engine counts as lost.
A long prompt or a busy engine takes a while.

A body that has begun must be complete in that time.
"""

IDLE_SECONDS = 3.0
"""Time for which a connection is kept for the next request: less than the 5 seconds after which
uvicorn, beneath vLLM, closes it.
"""

MAX_LINE_BYTES = 4 * 2**20
"""Size of an event, and of a reply about an engine. An event has some kilobytes."""

MAX_READING_BYTES = 256 * 2**20
"""Size of the scores of a prompt, which take about 2 kilobytes a token."""

USAGE_SECONDS = 1.0
"""Time that the usage may take after the end of an answer."""

SESSION = "x-session-id"
"""The header by which routers of vLLM and Ray Serve keep an editor or a conversation with one
replica.
"""


class ReplicaLostError(Exception):
    """An engine that broke off, cannot be reached, or fails: another one may continue."""


class ReplicaHangsError(ReplicaLostError):
    """An engine that gives no tokens to any request, whatever it says of its health."""


class ReplicaRefusedError(ReplicaLostError):
    """An engine that refuses this front, or no longer has the model: it gets no requests until it has been checked again."""


class ModelGoneError(ReplicaRefusedError):
    """An engine that has no such model or route."""


class ReplicaBusyError(Exception):
    """An engine that takes no more requests at the moment."""


@dataclass(eq=False)
class Replica:
    """An engine at an address. ``models`` are the most tokens of a sequence of each of its models.

    ``problem`` is the reason why it gets no new requests, as a sentence; None if it takes part.
    ``probes`` are the logprobs of the probe at its last complete check, by model. ``adapters`` are
    its models with an adapter, and their bases, and ``adapter_problems`` the reasons why others are
    not served from it. One that is ``is_stale`` is to be checked soon. ``lock`` is held by what
    changes or checks its adapters.
    """

    url: str
    gate: Gate
    key: str | None = None
    version: str = ""
    models: Mapping[str, int] = field(default_factory=dict)
    problem: str | None = "It has not been checked yet."
    probes: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    draining: bool = False
    adapters: Mapping[str, str] = field(default_factory=dict)
    adapter_problems: Mapping[str, str] = field(default_factory=dict)
    is_stale: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    hang: HangDetector = field(default_factory=lambda: HangDetector(SILENT_SECONDS))
    _client: aiohttp.ClientSession | None = None

    @property
    def takes_part(self) -> bool:
        """True if it gets new requests."""
        return self.problem is None and not self.draining

    def take_out(self, problem: str) -> None:
        """Give it no new requests, and let those that wait for it choose again."""
        self.problem = problem
        self.gate.dismiss()

    def context(self, model: str) -> int | None:
        """Return the most tokens of a sequence of a model or an adapter, or None if it has no such model."""
        return self.models.get(self.adapters.get(model, model))

    def add_adapter(self, model: str, base: str) -> None:
        """Serve an adapter from now on."""
        self.drop_adapter(model)
        self.adapters = {**self.adapters, model: base}

    def drop_adapter(self, model: str, problem: str | None = None) -> None:
        """Serve an adapter no longer, if it is served, and note the reason if there is one to show."""
        self.adapters = {other: base for other, base in self.adapters.items() if other != model}
        self.adapter_problems = {other: reason for other, reason in self.adapter_problems.items() if other != model}
        if problem is not None:
            self.adapter_problems = {**self.adapter_problems, model: problem}

    async def scores(self, body: Mapping[str, Any], session: str, vocab: int) -> AsyncGenerator[WireEvent]:
        """Yield the events of an answer, the last one of which is finished.

        Closing the generator cancels the answer.

        The last one also has the cached tokens, if the engine reports them. Raises ReplicaLostError
        and ReplicaBusyError, and InvalidRequestError for a request that no replica would serve.
        """
        most, stops = body["sampling_params"]["max_tokens"], body["sampling_params"]["stop_token_ids"]
        room = most
        last: WireEvent | None = None
        try:
            async with self._post(ROUTE, body, session) as response:
                await self._check(response)
                async with aclosing(_events(response, vocab)) as events:
                    async for event in events:
                        room -= len(event.tokens)
                        if room < 0 or (event.stop_id is not None and event.stop_id not in stops):
                            raise MalformedAnswerError("an answer continues after its end")
                        if event.finished:
                            last = event
                            break
                        yield event
                    if last is not None:
                        cached = await _reported(events)
                        yield last if cached is None else replace(last, cached=cached)
        except aiohttp.ClientError as error:
            if last is None:
                raise ReplicaLostError(f"{self.url} broke off ({type(error).__name__}).") from error
        except (EngineFailureError, MalformedAnswerError) as error:
            if (
                isinstance(error, EngineFailureError) and error.is_refusal and room == most
            ):  # no other engine would take it either
                raise refused(str(error)) from error
            raise ReplicaLostError(f"{self.url} failed: {error}") from error
        if last is None:
            raise ReplicaLostError(f"{self.url} ended an answer before its end.")

    async def each(self, events: AsyncGenerator[WireEvent], reading: int) -> AsyncGenerator[WireEvent]:
        """Yield the events of an answer after a prompt of ``reading`` tokens.

        Raises ReplicaHangsError if the engine hangs.
        """
        while True:
            try:
                event = await self.unless_it_hangs(anext(events), reading)
            except StopAsyncIteration:
                return
            if event.tokens or event.finished:
                reading = 0
                self.hang.note_token()
            yield event

    async def unless_it_hangs(self, awaitable: Awaitable[T], reading: int) -> T:
        """Return what is awaited after a prompt of ``reading`` tokens.

        Raises ReplicaHangsError if the engine hangs.
        """
        try:
            return await self.hang.wait(awaitable, reading)
        except HangError as error:
            raise ReplicaHangsError(
                f"{self.url} hangs: none of its requests got a token in {error.seconds:g} seconds."
            ) from None

    async def prompt_scores(
        self, body: Mapping[str, Any], session: str, vocab: int
    ) -> tuple[list[WireToken | None], int]:
        """Return the tokens of a prompt that was read, and how many of them came from the cache.

        Raises the errors of ``scores``.
        """
        try:
            async with self._post(ROUTE, body, session) as response:
                await self._check(response)
                return read_prompt_scores(_object(await _body(response, MAX_READING_BYTES)), body["token_ids"], vocab)
        except aiohttp.ClientError as error:
            raise ReplicaLostError(f"{self.url} broke off ({type(error).__name__}).") from error
        except (EngineFailureError, MalformedAnswerError) as error:
            raise ReplicaLostError(f"{self.url} failed: {error}") from error

    async def ask(self, route: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """Return the JSON object of a reply about the engine itself. Raises ReplicaLostError."""
        try:
            async with (
                asyncio.timeout(CONNECT_SECONDS),
                self._get(route) if body is None else self._post(route, body) as response,
            ):
                await self._check(response)
                return _object(await _body(response, MAX_LINE_BYTES))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ReplicaLostError(f"{self.url} does not answer ({type(error).__name__}).") from error
        except MalformedAnswerError as error:
            raise ReplicaLostError(
                f"{self.url}{route} does not return a JSON object: it is not a vLLM server."
            ) from error

    async def tell(self, route: str, body: Mapping[str, Any]) -> tuple[int, str]:
        """Return the status of a reply to a command, and the reason if it is not 200: "" for a route that the engine does not have.

        The status is 0 if there was no reply.
        """
        try:
            async with asyncio.timeout(COMMAND_SECONDS), self._post(route, body) as response:
                reply = await _body(response, MAX_LINE_BYTES)
        except (aiohttp.ClientError, TimeoutError, MalformedAnswerError) as error:
            return 0, f"{self.url} does not answer ({type(error).__name__})."
        if response.status == 401:
            return 401, f"{self.url} refuses this server (401): set engine_key."
        return response.status, "" if response.status in (200, 405) or b'"error"' not in reply else _reason(reply)

    async def is_well(self) -> bool:
        """Return whether the address still answers: it may be that of a router, which has other engines behind it."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                for route in ("/health", "/v1/models"):
                    async with self._get(route) as response:
                        if response.status != 404:
                            return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            pass
        return False

    async def close(self) -> None:
        """Close all connections, which cancels what the engine does for this front.

        Another request opens new ones.
        """
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    def _get(self, route: str) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._http().get(route, timeout=_limits(), allow_redirects=False)

    def _post(
        self, route: str, body: Mapping[str, Any], session: str | None = None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        headers = {} if session is None else {SESSION: session}
        return self._http().post(route, json=body, headers=headers, timeout=_limits(), allow_redirects=False)

    def _http(self) -> aiohttp.ClientSession:
        if self._client is None:
            self._client = aiohttp.ClientSession(
                self.url,
                headers={"accept-encoding": "identity"}
                | ({} if self.key is None else {"authorization": f"Bearer {self.key}"}),
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._client

    async def _check(self, response: aiohttp.ClientResponse) -> None:
        """Raise the error of a reply that is not a 200, or that is not plain."""
        if response.headers.get("content-encoding", "identity") != "identity":
            raise MalformedAnswerError("a reply is compressed, although none was asked for")
        status = response.status
        if status == 200:
            return
        reason = _reason(await _body(response, MAX_LINE_BYTES))
        if status in (429, 503):
            raise ReplicaBusyError(f"{self.url} takes no more requests: {reason}")
        if status in (401, 403):
            hint = "start it with --enable-scale-out" if status == 403 else "set engine_key"
            raise ReplicaRefusedError(f"{self.url} refuses this server ({status}): {hint}.")
        if status == 404:
            raise ModelGoneError(f"{self.url} has no such model or route: {reason}")
        if 400 <= status < 500:
            raise refused(reason)
        raise ReplicaLostError(f"{self.url} failed ({status}): {reason}")


def _limits() -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)


async def _events(response: aiohttp.ClientResponse, vocab: int) -> AsyncGenerator[WireEvent]:
    """Yield the events of a stream up to ``[DONE]``.

    Raises EngineFailureError and MalformedAnswerError.

    It is also a malformed answer if no token comes for too long, whatever else comes.
    """
    now = asyncio.get_running_loop().time
    until = now() + SILENT_SECONDS
    async for line in _lines(response):
        data = line.removeprefix(b"data:").strip() if line.startswith(b"data:") else b""
        if data == b"[DONE]":
            return
        event = read_event(_object(data), vocab) if data else None
        if event is not None:
            yield event
        if event is not None and event.tokens:
            until = now() + SILENT_SECONDS
        elif now() > until:
            raise MalformedAnswerError(f"no token came for {SILENT_SECONDS:g} seconds")


async def _reported(events: AsyncGenerator[WireEvent]) -> int | None:
    """Return the cached tokens that an engine reports after the end of an answer, if it does so at once."""
    with suppress(TimeoutError, StopAsyncIteration, MalformedAnswerError, EngineFailureError, aiohttp.ClientError):
        async with asyncio.timeout(USAGE_SECONDS):
            return (await anext(events)).cached
    return None


async def _lines(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes]:
    """Yield the lines of a reply. Raises MalformedAnswerError for one that is too long."""
    pending = bytearray()
    async for part in response.content.iter_any():
        pending += part
        if b"\n" in part:  # a line in many small parts is copied only once
            *lines, rest = bytes(pending).split(b"\n")
            pending = bytearray(rest)
            for line in lines:
                yield line.rstrip(b"\r")
        if len(pending) > MAX_LINE_BYTES:
            raise MalformedAnswerError(f"an event has more than {MAX_LINE_BYTES} bytes")
    yield bytes(pending)


async def _body(response: aiohttp.ClientResponse, most: int) -> bytes:
    """Return the body of a reply.

    Raises MalformedAnswerError for one that is too long or takes too long.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(SILENT_SECONDS):
            async for part in response.content.iter_any():
                body += part
                if len(body) > most:
                    raise MalformedAnswerError(f"a reply has more than {most} bytes")
    except TimeoutError:
        raise MalformedAnswerError(f"a reply was not complete after {SILENT_SECONDS:g} seconds") from None
    return bytes(body)


def _object(text: bytes) -> Mapping[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedAnswerError(f"an event is not JSON: {type(error).__name__}") from None
    if not isinstance(data, dict):
        raise MalformedAnswerError("an event is not an object")
    return data


def _reason(body: bytes) -> str:
    try:
        return error_of(_object(body))
    except MalformedAnswerError:
        return clean(body.decode(errors="replace")) or "no reason given"
