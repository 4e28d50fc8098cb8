"""The client sends every field of a query, and returns tokens equal to the server's tokens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

import pellucid.client.http_client
from pellucid.api.dialects.llama_cpp.generation_schema import InfillRequest
from pellucid.api.schema.tokens import TokenRecord
from pellucid.client.http_client import Client
from pellucid.client.server_health import HealthStatus
from pellucid.client.token_json import LOGPROB_FLOOR, record_of, token_of
from pellucid.client.wire import row_of
from pellucid.errors import (
    AuthenticationError,
    ContextLengthError,
    InvalidRequestError,
    NotFoundError,
    NotSupportedError,
    PellucidError,
    QueueFullError,
    UnavailableError,
)
from pellucid.vocabulary.finish import Finish, FinishReason, JsonField, OtherValue, Usage
from pellucid.vocabulary.message import Image, Message, NamedTool, ToolCall
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import (
    ChatQuery,
    CompletionQuery,
    Extra,
    Grammar,
    Priority,
    SamplingParams,
    ScoreQuery,
    Terms,
)
from pellucid.vocabulary.token import Alternative, Token

URL = "http://127.0.0.1:8437"
LOGPROBS = st.floats(LOGPROB_FLOOR, 0.0)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
ALTERNATIVES = st.builds(Alternative, st.integers(0, 2**31), TEXTS, st.binary(max_size=8), LOGPROBS)
TOKENS = st.builds(
    Token,
    id=st.integers(0, 2**31),
    text=TEXTS,
    bytes=st.binary(max_size=8),
    position=st.integers(0, 2**20),
    logprob=st.none() | LOGPROBS,
    rank=st.none() | st.integers(1, 2**20),
    entropy=st.none() | st.floats(0, 20),
    top=st.lists(ALTERNATIVES, max_size=3).map(tuple),
    rest=st.floats(0, 1),
    sampled=st.none() | st.floats(0, 1),
    entropy_range=st.none() | st.tuples(st.floats(0, 20), st.floats(0, 20)),
)
SPOKEN = Token(
    7,
    "é",
    b"\xa9",
    3,
    -0.5,
    2,
    1.5,
    (Alternative(9, "e", b"e", -0.25), Alternative(7, "\ufffd", b"\xa9", -0.5)),
    0.25,
    0.75,
)
USAGE = Usage(cached=3, computed=1, generated=1, queued=0.1, prefill=0.2, decode=0.3)
FINISH = Finish(
    FinishReason.LENGTH,
    USAGE,
    stop="\n",
    complete=False,
    first_difference="x",
    loose_functions=("f",),
    fields=(JsonField("/a", 1, 0.5, 0.25, 2, OtherValue(True, 0.125)), JsonField("/b", None, 1.0, 1.0, 0)),
)


class Wire:
    def __init__(self, reply: Callable[[], httpx.Response]) -> None:
        self.reply = reply
        self.request: httpx.Request | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.request = request
        return self.reply()

    @property
    def body(self) -> dict[str, Any]:
        assert self.request is not None
        sent = json.loads(self.request.content)
        assert isinstance(sent, dict)
        return sent

    def client(self, key: str | None = None) -> Client:
        return Client(URL, key, transport=httpx.MockTransport(self))


def rows(*given: object) -> Callable[[], httpx.Response]:
    return lambda: httpx.Response(200, text="".join(f"{json.dumps(row)}\n" for row in given))


ANSWER = rows(row_of(USAGE), row_of(SPOKEN), row_of(FINISH))


async def collect(items: AsyncIterator[Token | Finish]) -> list[Token | Finish]:
    return [item async for item in items]


@given(TOKENS)
def test_token_round_trip(token: Token) -> None:
    """A token sent as JSON arrives equal, to the last bit of every float."""
    assert token_of(json.loads(json.dumps(record_of(token)))) == token


@given(TOKENS)
def test_record_has_its_documented_shape(token: Token) -> None:
    """A token's record, written without a schema for speed, matches the API's schema."""
    record = record_of(token)
    assert TokenRecord.model_validate(record, strict=True).model_dump() == record


def test_an_exact_entropy_sends_no_range() -> None:
    """A token's record has an entropy range only if the token has an entropy range."""
    assert "entropy_range" not in record_of(SPOKEN)
    bounded = record_of(replace(SPOKEN, entropy=None, entropy_range=(1.5, 2.0)))
    assert (bounded["entropy"], bounded["entropy_range"]) == (None, [1.5, 2.0])


PARAMS = SamplingParams(9, 0.5, 4, 0.9, 0.1, 1.1, 0.2, 0.3, {5: -1.0}, 11, True, 2)
TERMS = Terms(Priority.BACKGROUND, "window", 2.5)
CONVERSATION = [
    Message("user", "hi", images=[Image(1, "data:image/png;base64,AA=="), Image(2, "data:image/png;base64,BB==")]),
    Message("assistant", "", tool_calls=[ToolCall("1", "f", "{}")]),
    Message("tool", "2", tool_call_id="1", name="f"),
]
COMPLETIONS = [
    CompletionQuery(
        "a", "b", [Extra("f", "t")], PARAMS, "m", ["\n"], TERMS, heal=True, special=True, window=9, with_fields=True
    ),
    CompletionQuery("a", ""),
    CompletionQuery([1, 2], grammar=Grammar("choice", '["a"]', whitespace="", field="form")),
]
CHATS = [
    ChatQuery(
        CONVERSATION, PARAMS, "m", ["\n"], TERMS, True, tools=[{"type": "function"}], tool_choice=NamedTool("f"),
        parallel_tool_calls=False, prediction="text",
    ),
    ChatQuery([Message("user", "hi")], tool_choice="required"),
]  # fmt: skip
SCORES = [
    ScoreQuery("text", "m", 3, TERMS, special=True, windows=True),
    ScoreQuery([1, 2]),
    ScoreQuery(CONVERSATION, continue_last=True, tools=[{"type": "function"}]),
    ScoreQuery("text", gap=CompletionQuery("a", "b", [Extra("f", "t")])),
    ScoreQuery("text", continued=CONVERSATION),
]


@pytest.mark.parametrize("query", [*COMPLETIONS, *CHATS, *SCORES])
async def test_query_arrives_as_it_is(query: CompletionQuery | ChatQuery | ScoreQuery) -> None:
    """A query reaches the server unchanged; tokens and Finish come back equal to the bit."""
    wire = Wire(ANSWER)
    client = wire.client("secret")

    match query:
        case CompletionQuery():
            answer, verb = await collect(client.complete(query)), "complete"
        case ChatQuery():
            answer, verb = await collect(client.chat(query)), "chat"
        case ScoreQuery():
            answer, verb = await collect(client.score(query)), "score"

    assert TypeAdapter(type(query)).validate_python(wire.body) == query
    assert answer == [SPOKEN, FINISH]
    assert wire.request is not None
    assert (wire.request.url.path, wire.request.headers["authorization"]) == (f"/pellucid/{verb}", "Bearer secret")
    assert "usage" not in wire.request.url.params


async def test_usage_on_the_way() -> None:
    """A caller with `on_usage` gets the usage so far before each token."""
    wire, seen = Wire(ANSWER), list[Usage]()

    assert await collect(wire.client().complete(CompletionQuery("a"), on_usage=seen.append)) == [SPOKEN, FINISH]
    assert seen == [USAGE]
    assert wire.request is not None
    assert wire.request.url.params["usage"] == "true"


async def test_several_texts_are_one_request() -> None:
    """Several texts of a gap go to the server in a single request; only sums come back."""
    wire = Wire(lambda: httpx.Response(200, json={"sums": [-1.5, None]}))

    assert await wire.client().logprob_sums(SCORES[3], ["a", "b"]) == [-1.5, None]
    assert wire.body["texts"] == ["a", "b"]


async def test_window() -> None:
    """An infill prompt with a window is refused: the route has no field for the window."""
    with pytest.raises(NotSupportedError, match="a setting of the server"):
        await Wire(ANSWER).client().infill_prompt(CompletionQuery("a", "b", window=9))


@pytest.mark.parametrize(
    ("status", "detail", "error", "sentence"),
    [
        (400, {"type": "invalid_request_error", "param": "top_k"}, InvalidRequestError, "The message."),
        (
            400,
            {"type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 8},
            ContextLengthError,
            "The prompt has 9 tokens",
        ),
        (
            400,
            {"type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 8, "n_prompt_tokens_is_least": True},
            ContextLengthError,
            "The prompt has at least 9 tokens and the context holds 8: shorten it",
        ),
        (401, {"type": "authentication_error"}, AuthenticationError, "The message."),
        (404, {"type": "not_found_error"}, NotFoundError, "The message."),
        (413, {"type": "invalid_request_error"}, InvalidRequestError, "The message."),
        (429, {"type": "rate_limit_error"}, QueueFullError, "The message."),
        (500, {"type": "server_error"}, PellucidError, "The message."),
        (503, {"type": "unavailable_error"}, UnavailableError, "The message."),
    ],
)  # fmt: skip
async def test_server_errors(status: int, detail: dict[str, object], error: type[PellucidError], sentence: str) -> None:
    """An error of the server is raised as the same class, with the same sentence."""
    reply = {"error": {"message": "The message.", "code": status, **detail}}
    wire = Wire(lambda: httpx.Response(status, json=reply, headers={"retry-after": "7"}))

    with pytest.raises(error) as raised:
        await collect(wire.client().complete(CompletionQuery("a")))

    assert type(raised.value) is error
    assert str(raised.value).startswith(sentence)
    if isinstance(raised.value, QueueFullError):
        assert raised.value.retry_after == 7


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    """A redirect is not followed, so no other host receives the key."""
    asked: list[httpx.URL] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return httpx.Response(status, headers={"location": "http://evil.example.org/v1/models"})

    async with Client(URL, "secret", transport=httpx.MockTransport(answer)) as client:
        assert (await client.server_health()).status is HealthStatus.FOREIGN
        with pytest.raises(PellucidError):
            await client.models()
        with pytest.raises(PellucidError):
            async for _ in client.complete(CompletionQuery("a")):
                pass
    assert {url.host for url in asked} == {"127.0.0.1"}


async def test_error_in_a_stream() -> None:
    """An error after the first token is raised."""
    wire = Wire(
        rows(
            row_of(SPOKEN),
            {"error": {"message": "The server is shutting down.", "type": "unavailable_error", "code": 503}},
        )
    )

    with pytest.raises(UnavailableError, match="shutting down"):
        await collect(wire.client().complete(CompletionQuery("a")))


@pytest.mark.parametrize(
    "ask", [lambda client: client.complete(CompletionQuery("a")), lambda client: client.score(ScoreQuery("a"))]
)
async def test_broken_stream(ask: Callable[[Client], AsyncIterator[Token | Finish]]) -> None:
    """A stream without a proper end is an error."""
    wire = Wire(rows(row_of(SPOKEN)))

    with pytest.raises(UnavailableError, match="during the answer"):
        await collect(ask(wire.client()))


async def test_stranger() -> None:
    """A server without JSON replies is not a Pellucid server."""
    wire = Wire(lambda: httpx.Response(200, text="<html>"))

    with pytest.raises(UnavailableError, match="not a Pellucid server"):
        await wire.client().models()


async def test_nobody_there() -> None:
    """Without a server, the error of a verb names `pellucid serve`."""

    def refuse() -> httpx.Response:
        raise httpx.ConnectError("refused")

    client = Wire(refuse).client()

    with pytest.raises(
        UnavailableError, match=r"^No server answers at http://127\.0\.0\.1:8437: start one with pellucid serve\.$"
    ):
        await collect(client.complete(CompletionQuery("a")))


OURS = {"object": "list", "data": [{"id": "m", "owned_by": "pellucid"}]}


@pytest.mark.parametrize(
    ("health", "listing", "status"),
    [
        (httpx.Response(200, json={"status": "ok"}), httpx.Response(200, json=OURS), HealthStatus.READY),
        (
            httpx.Response(200, json={"status": "ok"}),
            httpx.Response(200, json={"data": [{"owned_by": "llamacpp"}]}),
            HealthStatus.FOREIGN,
        ),
        (httpx.Response(200, json={"status": "ok"}), httpx.Response(404, text="no"), HealthStatus.FOREIGN),
        (
            httpx.Response(200, json={"status": "ok"}),
            httpx.Response(401, json={"error": {"message": "Key."}}),
            HealthStatus.REFUSED,
        ),
        (httpx.Response(403, json={"error": {"message": "Host."}}), None, HealthStatus.FORBIDDEN),
        (
            httpx.Response(503, json={"error": {"message": "Loading model"}}),
            httpx.Response(503, json={}),
            HealthStatus.FOREIGN,
        ),
        (httpx.Response(200, text="<html>"), httpx.Response(200, text="<html>"), HealthStatus.FOREIGN),
        (httpx.Response(200, json=[]), httpx.Response(200, json=[]), HealthStatus.FOREIGN),
        (httpx.ConnectError("refused"), None, HealthStatus.ABSENT),
        (httpx.ConnectTimeout("late"), None, HealthStatus.ABSENT),
        (httpx.ReadTimeout("late"), None, HealthStatus.SILENT),
        (httpx.RemoteProtocolError("SSH-2.0"), None, HealthStatus.SILENT),
        (httpx.Response(200, json={"status": "ok"}), httpx.ReadError("killed"), HealthStatus.SILENT),
    ],
)
async def test_server_health(
    health: httpx.Response | Exception, listing: httpx.Response | Exception | None, status: HealthStatus
) -> None:
    """Ready, foreign, refusing, forbidding, silent and absent servers are distinguished."""

    def reply(request: httpx.Request) -> httpx.Response:
        found = {"/health": health, "/v1/models": listing}[request.url.path]
        if isinstance(found, Exception):
            raise found
        assert found is not None
        return found

    assert (await Client(URL, transport=httpx.MockTransport(reply)).server_health()).status is status


META = {
    "state": "ready",
    "n_ctx": 64,
    "infill": True,
    "files": False,
    "chat": True,
    "chat_template": "{{ x }}",
    "memory": {"weights": 7, "cache": 1, "cache_limit": 2},
    "description": "small",
    "licence": None,
}


async def test_cards() -> None:
    """The client's cards equal the server's cards; an older server sends no chat template."""
    newer, older = META, {name: value for name, value in META.items() if name != "chat_template"}
    models = [{"id": name, "owned_by": "pellucid", "meta": meta} for name, meta in (("a", newer), ("b", older))]

    a, b = await Wire(lambda: httpx.Response(200, json={"data": models})).client().cards()

    assert a == ModelCard("a", 64, True, True, 7, "small", None, "{{ x }}", False)
    assert b == replace(a, name="b", chat_template=None)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            {"id": "a", "owned_by": "pellucid", "meta": {"state": "loading"}},
            "The server at .* is still loading its models",
        ),
        ({"id": "a", "owned_by": "llamacpp", "meta": {}}, "The server at .* is not Pellucid"),
        ({"id": "a"}, "The server at .* is not Pellucid"),
    ],
)
async def test_no_cards(model: dict[str, object], sentence: str) -> None:
    """A loading model and a model of a foreign server have no cards."""
    with pytest.raises(UnavailableError, match=sentence):
        await Wire(lambda: httpx.Response(200, json={"data": [model]})).client().cards()


async def test_infill_prompt() -> None:
    """The prompt is requested from /infill, without an answer."""
    wire = Wire(lambda: httpx.Response(200, json={"prompt": "<|fim_prefix|>a"}))

    assert (
        await wire.client().infill_prompt(CompletionQuery("a", "b", [Extra("f", "t")], model="m")) == "<|fim_prefix|>a"
    )
    sent = InfillRequest.model_validate(wire.body)
    assert (sent.input_prefix, sent.input_suffix, sent.n_predict, sent.model, sent.response_fields) == (
        "a",
        "b",
        0,
        "m",
        ["prompt"],
    )
    assert [(file.filename, file.text) for file in sent.input_extra] == [("f", "t")]


class Endless(httpx.AsyncByteStream):
    """A body without an end."""

    def __init__(self, chunk: bytes) -> None:
        self.chunk = chunk
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield self.chunk

    async def aclose(self) -> None:
        self.closed = True


async def test_closing_cancels() -> None:
    """Closing the iterator closes the connection, so the server cancels the request."""
    body = Endless(f"{json.dumps(row_of(SPOKEN))}\n".encode())
    items = Wire(lambda: httpx.Response(200, stream=body)).client().complete(CompletionQuery("a"))

    assert await anext(items) == SPOKEN
    await items.aclose()

    assert body.closed


def imported(module: str) -> Iterable[str]:
    """Return the modules loaded by the import of a module."""
    environment = {**os.environ, "PYTHONPATH": str(Path(pellucid.client.http_client.__file__).parents[2])}
    code = f"import sys, {module}; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return found.stdout.split()


@pytest.mark.process
def test_client_is_light() -> None:
    """The client imports neither torch nor transformers nor the server."""
    assert not {"torch", "transformers", "fastapi", "numpy", "pellucid.engine"} & set(
        imported("pellucid.client.http_client")
    )
