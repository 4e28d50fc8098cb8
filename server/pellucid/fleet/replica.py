"""Client of a remote engine: a vLLM server at an address."""

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
"""Time limit for a connection, and for a reply about the engine."""

COMMAND_SECONDS = 60.0
"""Time limit for a command, such as loading an adapter from a slow disk."""

SILENT_SECONDS = 120.0
"""Time without a token before an engine counts as lost, and time limit for a body.

A long prompt or a busy engine takes a while.
"""

IDLE_SECONDS = 3.0
"""Lifetime of an idle connection: vLLM's uvicorn closes idle connections after 5 seconds."""

MAX_LINE_BYTES = 4 * 2**20
"""Maximum size of an event (normally kilobytes), and of a reply about an engine."""

MAX_READING_BYTES = 256 * 2**20
"""Maximum size of prompt scores (about 2 kilobytes per token)."""

USAGE_SECONDS = 1.0
"""Maximum time for the usage after the end of an answer."""

SESSION = "x-session-id"
"""Header by which routers of vLLM and Ray Serve keep a session on the same replica."""


class ReplicaLostError(Exception):
    """An engine that broke off, is unreachable, or failed. Another engine may continue."""


class ReplicaHangsError(ReplicaLostError):
    """An engine that gives no tokens to any request, even if its health is good."""


class ReplicaRefusedError(ReplicaLostError):
    """An engine that refuses this front or lacks the model, and needs another check."""


class ModelGoneError(ReplicaRefusedError):
    """An engine without the requested model or route."""


class ReplicaBusyError(Exception):
    """Raised if an engine takes no more requests at the moment."""


@dataclass(eq=False)
class Replica:
    """An engine at an address.

    Attributes:
        models: Maximum sequence length by model.
        problem: Reason, as a sentence, why the engine gets no new requests.
        probes: Logprobs of the probe by model, at the last complete check.
        adapters: Bases of the served adapters.
        adapter_problems: Reasons why further adapters are not served.
        is_stale: Whether a check is due soon.
        lock: Held during checks and changes of the adapters.
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
        return self.problem is None and not self.draining

    def take_out(self, problem: str) -> None:
        """Give the replica no new requests, and let waiting requests choose again."""
        self.problem = problem
        self.gate.dismiss()

    def context(self, model: str) -> int | None:
        """Return the maximum sequence length of a model or adapter, if present."""
        return self.models.get(self.adapters.get(model, model))

    def add_adapter(self, model: str, base: str) -> None:
        self.drop_adapter(model)
        self.adapters = {**self.adapters, model: base}

    def drop_adapter(self, model: str, problem: str | None = None) -> None:
        self.adapters = {other: base for other, base in self.adapters.items() if other != model}
        self.adapter_problems = {other: reason for other, reason in self.adapter_problems.items() if other != model}
        if problem is not None:
            self.adapter_problems = {**self.adapter_problems, model: problem}

    async def scores(self, body: Mapping[str, Any], session: str, vocab: int) -> AsyncGenerator[WireEvent]:
        """Yield the events of an answer. The finished event has the cached tokens, if known.

        Closing the generator cancels the answer. Raises ReplicaLostError, ReplicaBusyError, and
        InvalidRequestError for a request that no replica would serve.
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
            # A refusal at the start: any engine would refuse the request.
            if isinstance(error, EngineFailureError) and error.is_refusal and room == most:
                raise refused(str(error)) from error
            raise ReplicaLostError(f"{self.url} failed: {error}") from error
        if last is None:
            raise ReplicaLostError(f"{self.url} ended an answer before its end.")

    async def each(self, events: AsyncGenerator[WireEvent], reading: int) -> AsyncGenerator[WireEvent]:
        """Yield the events of an answer after a prompt of ``reading`` tokens.

        Raises ReplicaHangsError.
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
        """Return the result of ``awaitable``, after a prompt of ``reading`` tokens.

        Raises ReplicaHangsError.
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
        """Return the prompt's tokens and the number of cached tokens.

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
        """Return a reply about the engine. Raises ReplicaLostError."""
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
        """Return a command's status (0: no reply), and the reason of a failure ("": no route)."""
        try:
            async with asyncio.timeout(COMMAND_SECONDS), self._post(route, body) as response:
                reply = await _body(response, MAX_LINE_BYTES)
        except (aiohttp.ClientError, TimeoutError, MalformedAnswerError) as error:
            return 0, f"{self.url} does not answer ({type(error).__name__})."
        if response.status == 401:
            return 401, f"{self.url} refuses this server (401): set engine_key."
        return response.status, "" if response.status in (200, 405) or b'"error"' not in reply else _reason(reply)

    async def is_well(self) -> bool:
        """Return whether the address still answers. A router may have further engines."""
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
        """Close all connections, which cancels all answers. New requests reconnect."""
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

    Raises EngineFailureError, and MalformedAnswerError also if no token arrives in time.
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
    with suppress(TimeoutError, StopAsyncIteration, MalformedAnswerError, EngineFailureError, aiohttp.ClientError):
        async with asyncio.timeout(USAGE_SECONDS):
            return (await anext(events)).cached
    return None


async def _lines(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes]:
    """Yield the lines of a reply. Raises MalformedAnswerError for an oversized line."""
    pending = bytearray()
    async for part in response.content.iter_any():
        pending += part
        # A line in many small parts is copied only once.
        if b"\n" in part:
            *lines, rest = bytes(pending).split(b"\n")
            pending = bytearray(rest)
            for line in lines:
                yield line.rstrip(b"\r")
        if len(pending) > MAX_LINE_BYTES:
            raise MalformedAnswerError(f"an event has more than {MAX_LINE_BYTES} bytes")
    yield bytes(pending)


async def _body(response: aiohttp.ClientResponse, most: int) -> bytes:
    """Return the body of a reply. Raises MalformedAnswerError if too large or too slow."""
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
