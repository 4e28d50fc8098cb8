"""OpenAI's Responses API works with the openai package and Codex."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response, ResponseOutputMessage, ResponseOutputText, ResponseStreamEvent
from pydantic import TypeAdapter

from pellucid.errors import ContextLengthError, PellucidError, QueueFullError
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.message import Message
from support.servers.http_servers import TINY, ScriptedAssistant, events_of, live_scripted, spoken

EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
LOGPROBS: Any = "message.output_text.logprobs"
FEW: dict[str, Any] = {"max_output_tokens": 6, "temperature": 0}


def post(body: dict[str, Any], assistant: ScriptedAssistant) -> httpx.Response:
    with live_scripted(assistant) as server:
        return server.http.post("/v1/responses", json=body)


def text_of(response: Response) -> ResponseOutputText:
    (message,) = response.output
    assert isinstance(message, ResponseOutputMessage)
    (part,) = message.content
    assert isinstance(part, ResponseOutputText)
    return part


def test_whole(client: openai.OpenAI) -> None:
    """A whole answer has all fields of OpenAI's type, and the usage adds up."""
    raw = client.responses.with_raw_response.create(model=TINY, input="hello", instructions="Be brief.", **FEW)

    response = Response.model_validate(json.loads(raw.text))
    assert response.output_text == text_of(response).text != ""
    assert (response.status, response.model, response.instructions) == ("incomplete", TINY, "Be brief.")
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert response.usage.output_tokens == 6
    assert raw.parse().output_text == response.output_text


def test_stream() -> None:
    """A stream is the same answer in parts, joined by the package."""
    script = [spoken("Hello"), spoken(" wor", 5, 8), spoken("ld", 6, 9)]
    with (
        live_scripted(script) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client,
    ):
        whole = client.responses.create(model=TINY, input="hello")
        with client.responses.stream(model=TINY, input="hello") as stream:
            events = list(stream)
            final = stream.get_final_response()

    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert deltas == ["Hello", " wor", "ld"]
    assert final.output_text == whole.output_text == "Hello world"
    assert final.status == "completed"
    assert final.usage == whole.usage


def test_events(http: httpx.Client) -> None:
    """Every event has the strict shape of OpenAI's type, in OpenAI's order, and is numbered."""
    events = events_of(http.post("/v1/responses", json={"input": "hello", "stream": True, **FEW}))

    for event in events:
        EVENTS.validate_python(event)
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert kinds[-4:] == ["output_text.done", "content_part.done", "output_item.done", "incomplete"]
    assert set(kinds[4:-4]) == {"output_text.delta"}
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    last = events[-1]["response"]
    assert last["output"] == [events[-2]["item"]]
    assert last["output"][0]["content"] == [events[-3]["part"]]


@pytest.mark.parametrize("stream", [True, False])
def test_logprobs(http: httpx.Client, stream: bool) -> None:
    """With OpenAI's option each token has the logprob, the alternatives and the whole record."""
    body = {"input": "hello", "include": [LOGPROBS], "top_logprobs": 2, "stream": stream, **FEW}
    answer = http.post("/v1/responses", json=body)

    if stream:
        events = events_of(answer)
        whole = events[-1]["response"]
        entries = [
            entry for event in events if event["type"] == "response.output_text.delta" for entry in event["logprobs"]
        ]
        assert entries == whole["output"][0]["content"][0]["logprobs"]
    else:
        whole = answer.json()
        entries = whole["output"][0]["content"][0]["logprobs"]
    assert len(entries) == whole["usage"]["output_tokens"] == 6
    for entry in entries:
        assert len(entry["top_logprobs"]) == 2
        assert entry["pellucid"]["rank"] == 1
        assert entry["logprob"] == entry["pellucid"]["logprob"] == entry["top_logprobs"][0]["logprob"]


def test_sent_back(client: openai.OpenAI) -> None:
    """The items of an answer can be sent back at the beginning of the next conversation."""
    first = client.responses.create(model=TINY, input="hello", include=[LOGPROBS], **FEW)
    items: list[Any] = [{"role": "user", "content": "hello"}, *first.output, {"role": "user", "content": "again"}]

    second = client.responses.create(model=TINY, input=items, **FEW)

    assert second.usage is not None
    assert first.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens
    assert "ignored" not in second.model_dump()["pellucid"]


def test_conversation() -> None:
    """Instructions come first, developers are systems, parts are joined; reasoning is listed."""
    assistant = ScriptedAssistant()
    items = [
        {
            "type": "message",
            "role": "developer",
            "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}],
        },
        {"role": "user", "content": "u"},
        {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "x"},
        {
            "type": "message",
            "id": "m",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "v"}],
        },
    ]
    answer = post({"input": items, "instructions": "i", "include": ["reasoning.encrypted_content"]}, assistant)

    expected = [("system", "i"), ("system", "ab"), ("user", "u"), ("assistant", "v")]
    assert assistant.calls[0]["messages"] == [Message(role, text) for role, text in expected]
    assert answer.json()["pellucid"] == {"ignored": ["include", "input.2"], "reason": "stop"}
    assert answer.json()["status"] == "completed"


@pytest.mark.parametrize("stream", [True, False])
def test_context(stream: bool) -> None:
    """An overlong conversation fails a stream with Codex's code, and otherwise has status 400."""
    answer = post({"input": "x", "stream": stream}, ScriptedAssistant([ContextLengthError(9, 5)]))

    if not stream:
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "exceed_context_size_error")
        return
    assert answer.status_code == 200
    events = events_of(answer)
    assert [event["type"] for event in events] == ["response.created", "response.in_progress", "response.failed"]
    assert events[-1]["response"]["error"]["code"] == "context_length_exceeded"
    assert "context" in events[-1]["response"]["error"]["message"]


def test_real_context(http: httpx.Client) -> None:
    """A real server fails the stream of an overlong conversation in the same way."""
    events = events_of(http.post("/v1/responses", json={"input": "long " * 400, "stream": True}))

    assert events[-1]["response"]["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize("seed", [-1, 2**63 - 1, -(2**63)])
def test_seeds(http: httpx.Client, seed: int) -> None:
    """Every seed in range, negative ones too, gives the same answer twice."""
    body = {"input": "hello", "max_output_tokens": 6, "seed": seed}
    first, second = (http.post("/v1/responses", json=body).json()["output"][0]["content"] for _ in range(2))

    assert first == second


def test_other_errors_have_their_status() -> None:
    """An error before the first token has the usual status in a stream, too."""
    assert post({"input": "x", "stream": True}, ScriptedAssistant([QueueFullError("Full.")])).status_code == 429


def test_broken_stream() -> None:
    """An error after the first token is the event response.failed."""
    answer = post({"input": "x", "stream": True}, ScriptedAssistant([spoken("a"), PellucidError("Broken.")]))

    last = events_of(answer)[-1]
    EVENTS.validate_python(last)
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"] == {"code": "server_error", "message": "Broken."}


def test_empty_answer() -> None:
    """An answer without tokens has no items, and is complete."""
    events = events_of(
        post({"input": "x", "stream": True}, ScriptedAssistant([Finish(FinishReason.STOP, Usage(computed=4))]))
    )

    assert [event["type"] for event in events] == ["response.created", "response.in_progress", "response.completed"]
    assert events[-1]["response"]["output"] == []


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("previous_response_id", "resp_1", "previous_response_id"),
        ("conversation", {"id": "c"}, "conversation"),
        ("background", True, "background"),
        ("store", True, "store"),
        ("truncation", "auto", "truncation"),
        ("prompt", {"id": "p"}, "prompt"),
        ("top_logprobs", 2, "top_logprobs"),
        ("text", {"format": {"type": "grammar"}}, "text.format.type"),
        ("input", [{"role": "user", "content": [{"type": "input_file", "file_data": "u"}]}], "input.0.content.0.type"),
        ("input", [{"type": "item_reference", "id": "i"}], "input.0.type"),
    ],
)
def test_refused(http: httpx.Client, field: str, value: object, param: str) -> None:
    """An unsupported field with an effect on the answer is refused by name."""
    answer = http.post("/v1/responses", json={"input": "x", "max_output_tokens": 1, field: value})

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert param in answer.json()["error"]["message"]


def test_leaving() -> None:
    """A server at shutdown ends a stream with response.failed."""

    async def hang(index: int) -> None:
        if index:
            await asyncio.sleep(60)

    body = {"input": "x", "stream": True}
    with (
        live_scripted(ScriptedAssistant(before=hang)) as server,
        server.http.stream("POST", "/v1/responses", json=body) as stream,
    ):
        lines = stream.iter_lines()
        next(lines)
        server.shut_down()
        last = [line for line in lines if line.startswith("data: ")][-1]

    response = json.loads(last.removeprefix("data: "))["response"]
    assert response["status"] == "failed"
    assert response["error"]["message"] == "The server is shutting down, so this answer ends here."
