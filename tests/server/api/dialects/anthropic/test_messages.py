"""Anthropic's Messages API works with the anthropic package and Claude Code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest
from anthropic.types import Message as AnthropicMessage
from anthropic.types import RawMessageStreamEvent, TextBlock
from pydantic import TypeAdapter

from pellucid.door.api_keys import read_keys
from pellucid.errors import ContextLengthError, NotSupportedError, PellucidError, QueueFullError, UnavailableError
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.token import Token
from support.servers.http_servers import TINY, LiveServer, ScriptedAssistant, events_of, live_scripted, spoken

EVENTS: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
QUESTION: dict[str, Any] = {"model": TINY, "max_tokens": 6, "messages": [{"role": "user", "content": "hello"}]}
ASK = QUESTION | {"temperature": 0}
# The package has no parameter for the temperature.
BY_PACKAGE = QUESTION | {"extra_body": {"temperature": 0}}
BILLING = "x-anthropic-billing-header: cc_version=2.1.0; cch=ab12c;"


@pytest.fixture
def client(tiny_server: LiveServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=tiny_server.url, api_key="unused", max_retries=0) as client:
        yield client


def post(body: dict[str, Any], assistant: ScriptedAssistant) -> httpx.Response:
    with live_scripted(assistant) as server:
        return server.http.post("/v1/messages", json=ASK | body)


def test_whole(client: anthropic.Anthropic) -> None:
    """A whole answer has all fields of Anthropic's type; cached tokens are counted separately."""
    answers = []
    for _ in range(2):
        raw = client.messages.with_raw_response.create(**BY_PACKAGE)
        answers.append(AnthropicMessage.model_validate(json.loads(raw.text())))

    first, second = answers
    (block,) = first.content
    assert isinstance(block, TextBlock)
    assert block.text
    assert (first.stop_reason, first.stop_sequence, first.model, first.usage.output_tokens) == (
        "max_tokens",
        None,
        TINY,
        6,
    )
    assert second.usage.input_tokens == 1
    assert second.usage.cache_read_input_tokens
    assert (
        first.usage.input_tokens + (first.usage.cache_read_input_tokens or 0)
        == 1 + second.usage.cache_read_input_tokens
    )


def test_stream(client: anthropic.Anthropic) -> None:
    """A stream is the same answer in parts, joined by the package."""
    whole = client.messages.create(**BY_PACKAGE)
    with client.messages.stream(**BY_PACKAGE) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()

    assert [block.text for block in final.content if block.type == "text"] == [text]
    assert [block.text for block in whole.content if block.type == "text"] == [text]
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.usage.input_tokens > 0


def test_beta(client: anthropic.Anthropic) -> None:
    """The package's beta calls are answered alike, with the beta field listed as ignored."""
    answer = client.beta.messages.create(
        betas=["context-management-2025-06-27"], context_management={"edits": []}, **BY_PACKAGE
    )

    assert answer.content[0].type == "text"
    assert answer.model_dump()["pellucid"]["ignored"] == ["context_management"]


def test_events(http: httpx.Client) -> None:
    """Every event has the strict shape of Anthropic's type, in Anthropic's order."""
    events = events_of(http.post("/v1/messages", json=ASK | {"stream": True}))

    for event in events:
        if event["type"] != "ping":
            EVENTS.validate_python(event)
    kinds = [event["type"] for event in events]
    assert kinds[:3] == ["message_start", "ping", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[3:-3]) == {"content_block_delta"}
    assert events[0]["message"]["usage"]["input_tokens"] > 0
    assert events[0]["message"]["content"] == []
    assert events[-2]["delta"] == {"stop_reason": "max_tokens", "stop_sequence": None}
    assert events[-2]["usage"]["output_tokens"] == 6


@pytest.mark.parametrize("stream", [True, False])
def test_logprobs(http: httpx.Client, stream: bool) -> None:
    """With the extension logprobs each token has a whole record, on the block or the delta."""
    answer = http.post("/v1/messages", json=ASK | {"logprobs": True, "top_logprobs": 2, "stream": stream})

    if stream:
        holders = [event for event in events_of(answer) if event["type"] == "content_block_delta"]
        text = "".join(event["delta"]["text"] for event in holders)
    else:
        holders = answer.json()["content"]
        text = holders[0]["text"]
    tokens = [token for holder in holders for token in holder["pellucid"]["tokens"]]
    assert len(tokens) == 6
    assert "".join(token["token"] for token in tokens) == text
    assert all(token["rank"] == 1 and len(token["top"]) == 2 for token in tokens)


def test_count(client: anthropic.Anthropic) -> None:
    """The counted tokens equal the prompt tokens in the answer's usage."""
    counted = client.messages.count_tokens(model=TINY, messages=ASK["messages"], system="Be brief.")
    usage = client.messages.create(system="Be brief.", **BY_PACKAGE).usage

    assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_conversation() -> None:
    """The system message comes first, without Claude Code's changing header; parts are joined."""
    assistant = ScriptedAssistant()
    system = [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}} for text in (BILLING, "s", "t")]
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "hm", "signature": "x"}, {"type": "text", "text": "c"}],
        },
        {"role": "user", "content": "d"},
    ]
    answer = post(
        {"system": system, "messages": messages, "metadata": {"user_id": "u"}, "thinking": {"type": "adaptive"}},
        assistant,
    )

    expected = [("system", "s\n\nt"), ("user", "ab"), ("assistant", "c"), ("user", "d")]
    assert assistant.calls[0]["messages"] == [Message(role, text) for role, text in expected]
    assert answer.json()["pellucid"]["ignored"] == [
        "metadata",
        "system.cache_control",
        "thinking",
        "system.0",
        "messages.1.content.0",
    ]


def test_begun_answer() -> None:
    """A last message of the assistant is the beginning of the answer."""
    assistant = ScriptedAssistant()
    post({"messages": [*ASK["messages"], {"role": "assistant", "content": "The answer is ("}]}, assistant)

    assert assistant.calls[0]["continue_last"]
    assert assistant.calls[0]["messages"][-1] == Message("assistant", "The answer is (")


@pytest.mark.parametrize(
    ("finish", "generated", "word", "sequence"),
    [
        (FinishReason.STOP, 2, "end_turn", None),
        (FinishReason.STOP, 2, "stop_sequence", "\n\n"),
        (FinishReason.LENGTH, 6, "max_tokens", None),
        (FinishReason.LENGTH, 2, "model_context_window_exceeded", None),
        (FinishReason.DEADLINE, 2, "max_tokens", None),
    ],
)
def test_stop_reasons(finish: FinishReason, generated: int, word: str, sequence: str | None) -> None:
    """The end of an answer is named in Anthropic's words."""
    script: list[Token | Finish] = [spoken("a"), Finish(finish, Usage(computed=3, generated=generated), sequence)]
    answer = post({}, ScriptedAssistant(script)).json()

    assert (answer["stop_reason"], answer["stop_sequence"]) == (word, sequence)
    assert answer["pellucid"]["reason"] == finish


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (ContextLengthError(9, 5), 400, "invalid_request_error"),
        (QueueFullError("Full."), 429, "rate_limit_error"),
        (PellucidError("Broken."), 500, "api_error"),
        (NotSupportedError("It cannot."), 501, "invalid_request_error"),
        (UnavailableError("Not now."), 503, "overloaded_error"),
    ],
)
def test_errors(error: PellucidError, status: int, kind: str) -> None:
    """Errors have Anthropic's shape."""
    for stream in (True, False):
        answer = post({"stream": stream}, ScriptedAssistant([error]))
        assert (answer.status_code, answer.json()["type"]) == (status, "error")
        assert answer.json()["error"]["type"] == kind
        assert answer.json()["error"]["message"].endswith(str(error))
        assert set(answer.json()["error"]) == {"type", "message"}


def test_long_conversation(client: anthropic.Anthropic) -> None:
    """An overlong conversation is refused with the words that make Claude Code compact."""
    with pytest.raises(
        anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > 256 maximum\. .* larger context"
    ) as raised:
        client.messages.create(model=TINY, max_tokens=1, messages=[{"role": "user", "content": "long " * 400}])

    assert isinstance(raised.value.body, dict)
    assert raised.value.body["type"] == "error"


def test_broken_stream() -> None:
    """An error after the first token is an event of Anthropic's shape."""
    last = events_of(post({"stream": True}, ScriptedAssistant([spoken("a"), PellucidError("Broken.")])))[-1]

    assert last == {"type": "error", "error": {"type": "api_error", "message": "Broken."}}


def test_empty_answer() -> None:
    """An answer without tokens has no blocks."""
    script = [Finish(FinishReason.STOP, Usage(computed=4))]
    events = events_of(post({"stream": True}, ScriptedAssistant(script)))

    assert [event["type"] for event in events] == ["message_start", "ping", "message_delta", "message_stop"]
    assert events[0]["message"]["usage"]["input_tokens"] == 4
    assert post({}, ScriptedAssistant(script)).json()["content"] == []


def test_keys() -> None:
    """The key is read from x-api-key, and a wrong key is refused in Anthropic's shape."""
    with live_scripted(keys=read_keys("a-long-key")) as server:
        with anthropic.Anthropic(base_url=server.url, api_key="a-long-key", max_retries=0) as client:
            assert client.messages.create(**BY_PACKAGE).content
        stranger = anthropic.Anthropic(base_url=server.url, api_key="another-key", max_retries=0)
        with stranger, pytest.raises(anthropic.AuthenticationError) as raised:
            stranger.messages.create(**BY_PACKAGE)
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["error"]["type"] == "authentication_error"


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [
        ("messages", [{"role": "user", "content": [{"type": "document", "source": {}}]}], "messages.0.content.0.type"),
        ("thinking", {"type": "enabled", "budget_tokens": 1024}, "omit thinking"),
        ("output_config", {"format": {"type": "grammar", "schema": {}}}, "output_config.format.type"),
        ("container", "c", "container"),
        ("mcp_servers", [{"type": "url"}], "mcp_servers"),
        ("top_logprobs", 2, "top_logprobs"),
        ("max_tokens", None, "max_tokens"),
    ],
)
def test_refused(http: httpx.Client, field: str, value: object, name: str) -> None:
    """An unsupported field with an effect is refused by name, in Anthropic's shape."""
    answer = http.post("/v1/messages", json=ASK | {field: value})

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert name in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/messages", 405), ("POST", "/v1/messages/batches", 404)]
)
def test_other_routes(http: httpx.Client, method: str, path: str, status: int) -> None:
    """Missing routes and methods are refused in Anthropic's shape."""
    answer = http.request(method, path, json={})

    assert (answer.status_code, answer.json()["type"]) == (status, "error")
