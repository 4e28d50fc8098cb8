"""The client sends every field of a query, and returns tokens equal to the server's."""

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

import pellucid.client.http_client
from pellucid.api.schema.common import TokenRecord
from pellucid.api.schema.llama import InfillRequest
from pellucid.api.schema.openai import ChatRequest, CompletionRequest, ScoreRequest
from pellucid.client.http_client import Client
from pellucid.client.server_health import HealthStatus, ServerHealth
from pellucid.client.token_json import LOGPROB_FLOOR, record_of, token_of
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
from pellucid.tokens import (
    Alternative,
    ChatQuery,
    CompletionQuery,
    Extra,
    Finish,
    FinishReason,
    Message,
    ModelCard,
    Priority,
    SamplingParams,
    ScoreQuery,
    Terms,
    Token,
    Usage,
)

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
USAGE_REPLY = {
    "prompt_tokens": 4,
    "pellucid": {"cached": 3, "computed": 1, "generated": 1, "queued": 0.1, "prefill": 0.2, "decode": 0.3},
}
END = {"reason": "stop", "stop": "\n"}


class Wire:
    """A server that sends one reply and keeps the request."""

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


def events(*objects: object) -> Callable[[], httpx.Response]:
    """A stream of server-sent events, with the comments and the end that servers send."""
    lines = [": ping\n\n", *(f"data: {json.dumps(event)}\n\n" for event in objects), "data: [DONE]\n\n"]
    return lambda: httpx.Response(200, text="".join(lines))


def completion_events() -> Callable[[], httpx.Response]:
    logprobs = {
        "text_offset": [0],
        "token_logprobs": [-0.5],
        "tokens": ["x"],
        "top_logprobs": [{}],
        "pellucid": [record_of(SPOKEN)],
    }
    return events(
        {"choices": [{"index": 0, "text": "é", "logprobs": logprobs}]},
        {"choices": [{"index": 0, "text": "", "finish_reason": "stop", "pellucid": END}]},
        {"choices": [], "usage": USAGE_REPLY},
    )


async def collect(items: AsyncIterator[Token | Finish]) -> list[Token | Finish]:
    return [item async for item in items]


@given(TOKENS)
def test_token_round_trip(token: Token) -> None:
    """A token that went over the wire is equal to the one that was sent, to the last bit of its floats."""
    assert token_of(json.loads(json.dumps(record_of(token)))) == token


@given(TOKENS)
def test_record_has_its_documented_shape(token: Token) -> None:
    """A token's record, which is written without a schema for speed, is what the schema of the API describes."""
    record = record_of(token)
    assert TokenRecord.model_validate(record, strict=True).model_dump() == record


def test_an_exact_entropy_sends_no_range() -> None:
    """A token's record has a range of its entropy, least and most, only if there is one: other tokens cost nothing more."""
    assert "entropy_range" not in record_of(SPOKEN)
    bounded = record_of(replace(SPOKEN, entropy=None, entropy_range=(1.5, 2.0)))
    assert (bounded["entropy"], bounded["entropy_range"]) == (None, [1.5, 2.0])


async def test_complete() -> None:
    """A completion comes as tokens with a Finish as the last item, and every argument is in the request."""
    wire = Wire(completion_events())
    params = SamplingParams(9, 0.5, 4, 0.9, 0.1, 1.1, 0.2, 0.3, {5: -1.0}, 11, True, 2)
    terms = Terms(Priority.COMPLETION, "window", 2.5)

    answer = await collect(
        wire.client("secret").complete(
            CompletionQuery(
                "a", "b", [Extra("f", "t")], params, model="m", stop=["\n"], terms=terms, heal=True, special=True
            )
        )
    )

    assert answer == [SPOKEN, Finish(FinishReason.STOP, USAGE, "\n")]
    assert wire.request is not None
    assert (wire.request.url.path, wire.request.headers["authorization"]) == ("/v1/completions", "Bearer secret")
    sent = CompletionRequest.model_validate(wire.body)
    assert sent == CompletionRequest.model_validate(
        {
            "prompt": "a", "suffix": "b", "input_extra": [{"filename": "f", "text": "t"}], "model": "m", "strict_model": True,
            "stop": ["\n"], "heal": True, "parse_special": True, "max_tokens": 9, "temperature": 0.5, "top_k": 4, "top_p": 0.9,
            "min_p": 0.1, "repetition_penalty": 1.1,
            "presence_penalty": 0.2, "frequency_penalty": 0.3, "logit_bias": {"5": -1.0}, "seed": 11, "ignore_eos": True, "logprobs": 2,
            "priority": "completion", "supersede": "window", "deadline": 2.5, "stream": True, "stream_options": {"include_usage": True},
        }
    )  # fmt: skip


async def test_empty_suffix_is_an_infill() -> None:
    """An empty suffix is sent, as it asks for an infill; none is not."""
    for suffix, sent in (("", {"suffix": ""}), (None, {})):
        wire = Wire(completion_events())
        await collect(wire.client().complete(CompletionQuery("a", suffix)))

        assert {name: value for name, value in wire.body.items() if name == "suffix"} == sent


async def test_token_ids_as_prompt() -> None:
    """A prompt of token ids is sent as it is."""
    wire = Wire(completion_events())

    assert (await collect(wire.client().complete(CompletionQuery([1, 2]))))[0] == SPOKEN
    assert CompletionRequest.model_validate(wire.body).prompt == [1, 2]


async def test_window() -> None:
    """The API has no field for a query's window, so that it is refused rather than dropped."""
    with pytest.raises(NotSupportedError, match="a setting of the server"):
        await collect(Wire(completion_events()).client().complete(CompletionQuery("a", "b", window=9)))
    with pytest.raises(NotSupportedError, match="a setting of the server"):
        await Wire(completion_events()).client().infill_prompt(CompletionQuery("a", "b", window=9))


async def test_chat() -> None:
    """A chat comes as tokens with a Finish as the last item."""
    entry = {"token": "é", "logprob": -0.5, "bytes": [169], "top_logprobs": [], "pellucid": record_of(SPOKEN)}
    wire = Wire(
        events(
            {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
            {"choices": [{"index": 0, "delta": {"content": "é"}, "logprobs": {"content": [entry]}}]},
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {},
                        "finish_reason": "length",
                        "pellucid": {"reason": "deadline", "stop": None},
                    }
                ]
            },
            {"choices": [], "usage": USAGE_REPLY},
        )
    )

    answer = await collect(
        wire.client().chat(ChatQuery([Message("user", "hi")], SamplingParams(top_logprobs=2), continue_last=False))
    )

    assert answer == [SPOKEN, Finish(FinishReason.DEADLINE, USAGE)]
    sent = ChatRequest.model_validate(wire.body)
    assert (sent.messages[0].content, sent.logprobs, sent.top_logprobs, sent.max_tokens) == ("hi", True, 2, 256)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (ScoreQuery("text"), {"text": "text", "parse_special": False}),
        (ScoreQuery([1, 2]), {"tokens": [1, 2]}),
        (ScoreQuery([Message("user", "hi")]), {"messages": [{"role": "user", "content": "hi"}]}),
        (
            ScoreQuery([Message("assistant", "hi")], continue_last=True),
            {"messages": [{"role": "assistant", "content": "hi"}], "continue_final_message": True},
        ),
        (
            ScoreQuery("text", gap=CompletionQuery("a", "b", [Extra("f", "t")])),
            {
                "text": "text",
                "parse_special": False,
                "input_prefix": "a",
                "input_suffix": "b",
                "input_extra": [{"filename": "f", "text": "t"}],
            },
        ),
        (
            ScoreQuery("text", gap=CompletionQuery("<|file_sep|>a", special=True)),
            {"text": "text", "parse_special": True, "input_prefix": "<|file_sep|>a"},
        ),
    ],
)
async def test_score(query: ScoreQuery, field: dict[str, object]) -> None:
    """A text, ids or a conversation is sent as what it is, and read tokens come back."""
    wire = Wire(
        events(
            {"tokens": [record_of(SPOKEN)]}, {"tokens": [], "usage": USAGE_REPLY, "pellucid": {"reason": "superseded"}}
        )
    )
    terms = Terms(Priority.CHAT, "window", 2.5)

    assert await collect(wire.client().score(replace(query, top_logprobs=3, terms=terms))) == [
        SPOKEN,
        Finish(FinishReason.SUPERSEDED, USAGE),
    ]
    asked = {"top_logprobs": 3, "stream": True, "priority": "chat", "supersede": "window", "deadline": 2.5}
    assert wire.body == asked | field
    assert ScoreRequest.model_validate(wire.body).top_logprobs == 3


@pytest.mark.parametrize(
    ("status", "detail", "error", "sentence"),
    [
        (400, {"type": "invalid_request_error", "param": "top_k"}, InvalidRequestError, "The message."),
        (400, {"type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 8}, ContextLengthError, "The prompt has 9 tokens"),
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
    """An error of the server is raised as the class that it was there, with its sentence."""
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
    """A redirect is not followed, so that the key is not sent to another address."""
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
        events(
            {"choices": []},
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
    wire = Wire(events({"choices": [], "tokens": []}))

    with pytest.raises(UnavailableError, match="during the answer"):
        await collect(ask(wire.client()))


async def test_stranger() -> None:
    """A server that does not reply with JSON is not a Pellucid server."""
    wire = Wire(lambda: httpx.Response(200, text="<html>"))

    with pytest.raises(UnavailableError, match="not a Pellucid server"):
        await wire.client().models()


async def test_nobody_there() -> None:
    """If no server listens, health is None, and the error of a verb names the command that starts one."""

    def refuse() -> httpx.Response:
        raise httpx.ConnectError("refused")

    client = Wire(refuse).client()

    assert await client.health() is None
    with pytest.raises(
        UnavailableError, match=r"^No server answers at http://127\.0\.0\.1:8437: start one with pellucid serve\.$"
    ):
        await collect(client.complete(CompletionQuery("a")))


async def test_loading() -> None:
    """The health of a loading server is its reason."""
    reply = {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}

    assert await Wire(lambda: httpx.Response(503, json=reply)).client().health() == "Loading model"
    assert await Wire(lambda: httpx.Response(200, json={"status": "ok"})).client().health() == "ok"


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
    """Ready, foreign, refusing, silent and absent servers are distinguished."""

    def reply(request: httpx.Request) -> httpx.Response:
        found = {"/health": health, "/v1/models": listing}[request.url.path]
        if isinstance(found, Exception):
            raise found
        assert found is not None
        return found

    assert (await Client(URL, transport=httpx.MockTransport(reply)).server_health()).status is status


@pytest.mark.parametrize(
    ("done", "total", "percent"), [(0, None, None), (5, 0, None), (1, 3, 33), (3, 3, 100), (4, 3, 100), (-1, 3, 0)]
)
def test_percent(done: int, total: int | None, percent: int | None) -> None:
    """The percentage is known if the total is, and is between 0 and 100."""
    assert ServerHealth(HealthStatus.LOADING, done=done, total=total).percent == percent


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
    """The client's cards are the server's; an older server has no chat template."""
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
    """There are no cards of models that are loading or belong to another server."""
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
    """A body that never ends by itself."""

    def __init__(self, chunk: bytes) -> None:
        self.chunk = chunk
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield self.chunk

    async def aclose(self) -> None:
        self.closed = True


async def test_closing_cancels() -> None:
    """Closing the iterator closes the connection, which is how a request is cancelled."""
    event = {"choices": [{"index": 0, "text": "é", "logprobs": {"pellucid": [record_of(SPOKEN)]}}]}
    body = Endless(f"data: {json.dumps(event)}\n\n".encode())
    items = Wire(lambda: httpx.Response(200, stream=body)).client().complete(CompletionQuery("a"))

    assert await anext(items) == SPOKEN
    await items.aclose()

    assert body.closed


def imported(module: str) -> Iterable[str]:
    """Return the modules that the import of one module loads."""
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
