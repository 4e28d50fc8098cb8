"""The openai and anthropic packages call tools through /v1/responses and /v1/messages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from anthropic.types import RawMessageStreamEvent, TextBlock, ToolUseBlock
from openai.types.responses import ResponseFunctionToolCall, ResponseStreamEvent
from pydantic import TypeAdapter

from support.servers.calling_server import ANSWER, ARGUMENTS, CALLING, TOOLS, TWO_CALLS, calling_server, prompt_of
from support.servers.http_servers import LiveServer
from support.servers.scripted_engine import ScriptedEngine

Calling = tuple[LiveServer, ScriptedEngine]
INPUT = {"city": "Zürich", "days": 2}
OPENAI_EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
ANTHROPIC_EVENTS: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
FUNCTIONS: Any = [{"type": "function", "strict": False, **tool["function"]} for tool in TOOLS]
CUSTOM: Any = [{"name": tool["function"]["name"], "input_schema": tool["function"]["parameters"]} for tool in TOOLS]
LOGPROBS = "message.output_text.logprobs"
MESSAGES: dict[str, Any] = {
    "model": CALLING,
    "max_tokens": 500,
    "tools": CUSTOM,
    "messages": [{"role": "user", "content": "Weather?"}],
}
RESPONSES: dict[str, Any] = {"model": CALLING, "tools": FUNCTIONS, "input": "Weather?"}


@pytest.fixture(scope="module")
def calling() -> Iterator[Calling]:
    with calling_server(ANSWER) as server:
        yield server


@pytest.fixture(scope="module")
def calling_twice() -> Iterator[Calling]:
    with calling_server(TWO_CALLS) as server:
        yield server


def openai_client(calling: Calling) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{calling[0].url}/v1", api_key="unused", max_retries=0)


def anthropic_client(calling: Calling) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=calling[0].url, api_key="unused", max_retries=0)


def post(calling: Calling, path: str, body: dict[str, Any]) -> httpx.Response:
    return calling[0].http.post(path, json=body)


def events_of(answer: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")]


def test_responses(calling: Calling) -> None:
    """A call is a separate item after the text, whole and streamed."""
    with openai_client(calling) as client:
        whole = client.responses.create(**RESPONSES)
        with client.responses.stream(**RESPONSES) as stream:
            events = list(stream)
            final = stream.get_final_response()

    for response in (whole, final):
        message, call = response.output
        assert (message.type, response.status) == ("message", "completed")
        assert response.output_text == "I look."
        assert isinstance(call, ResponseFunctionToolCall)
        assert (call.name, json.loads(call.arguments)) == ("weather", INPUT)
        assert call.call_id
    pieces = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert "".join(pieces) == ARGUMENTS
    assert len(pieces) > 3


def test_responses_events(calling: Calling) -> None:
    """Every event of a call has OpenAI's strict shape, and each token a single event."""
    answer = post(calling, "/v1/responses", RESPONSES | {"stream": True, "include": [LOGPROBS]})
    events = events_of(answer)

    for event in events:
        OPENAI_EVENTS.validate_python(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    texts = [
        entry["pellucid"]["position"] for event in events if "delta" in event for entry in event.get("logprobs", [])
    ]
    calls = [
        token["position"]
        for event in events
        if "delta" in event
        for token in event.get("pellucid", {}).get("tokens", [])
    ]
    response = events[-1]["response"]
    assert [*texts, *calls] == list(range(texts[0], calls[-1] + 1))
    assert [token["position"] for token in response["output"][1]["pellucid"]["tokens"]] == calls
    assert response["output"] == [event["item"] for event in events if event["type"] == "response.output_item.done"]
    (details,) = response["pellucid"]["calls"]
    assert details["complete"]
    assert set(details["fields"]) >= {"/city", "/days"}


def test_messages(calling: Calling) -> None:
    """A call is a separate block after the text, whole and streamed, and the reason to stop."""
    with anthropic_client(calling) as client:
        whole = client.messages.create(**MESSAGES)
        with client.messages.stream(**MESSAGES) as stream:
            final = stream.get_final_message()

    for message in (whole, final):
        text, call = message.content
        assert isinstance(text, TextBlock)
        assert text.text == "I look."
        assert isinstance(call, ToolUseBlock)
        assert (call.name, call.input) == ("weather", INPUT)
        assert call.id
        assert message.stop_reason == "tool_use"


def test_messages_events(calling: Calling) -> None:
    """Every event of a call has Anthropic's strict shape, and each token a single event."""
    events = events_of(post(calling, "/v1/messages", MESSAGES | {"stream": True, "logprobs": True}))

    for event in events:
        if event["type"] != "ping":
            ANTHROPIC_EVENTS.validate_python(event)
    kinds = [event["type"] for event in events if event["type"] != "content_block_delta"]
    blocks = ["content_block_start", "content_block_stop"] * 2
    assert kinds == ["message_start", "ping", *blocks, "message_delta", "message_stop"]
    pieces = [
        event["delta"]["partial_json"] for event in events if event.get("delta", {}).get("type") == "input_json_delta"
    ]
    assert "".join(pieces) == ARGUMENTS
    places = [token["position"] for event in events for token in event.get("pellucid", {}).get("tokens", [])]
    assert places == list(
        range(places[0], places[0] + len(ANSWER.replace("<tool_call>", "-").replace("</tool_call>", "-").encode()))
    )
    assert events[-2]["pellucid"]["calls"][0]["complete"]


def test_several_calls(calling_twice: Calling) -> None:
    """Several calls are several items and blocks; without parallel calls the answer has one."""
    whole = post(calling_twice, "/v1/responses", RESPONSES).json()["output"]
    assert [(item["type"], item["name"], item["arguments"]) for item in whole] == [
        ("function_call", "f", '{"a": 1}'),
        ("function_call", "g", "{}"),
    ]
    assert whole[0]["id"] != whole[1]["id"]
    assert whole[0]["call_id"] != whole[1]["call_id"]
    content = post(calling_twice, "/v1/messages", MESSAGES).json()["content"]
    assert [(block["name"], block["input"]) for block in content] == [("f", {"a": 1}), ("g", {})]

    assert len(post(calling_twice, "/v1/responses", RESPONSES | {"parallel_tool_calls": False}).json()["output"]) == 1
    one = MESSAGES | {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
    assert len(post(calling_twice, "/v1/messages", one).json()["content"]) == 1


def test_cut_call() -> None:
    """A call cut off is not complete, and the input object is empty."""
    with calling_server(ANSWER[:60]) as calling:
        response = post(calling, "/v1/responses", RESPONSES).json()
        message = post(calling, "/v1/messages", MESSAGES).json()

    assert ARGUMENTS.startswith(response["output"][1]["arguments"])
    assert message["content"][1]["input"] == {}
    for reply in (response, message):
        assert [call["complete"] for call in reply["pellucid"]["calls"]] == [False]


def test_both_agree(calling: Calling) -> None:
    """A conversation with calls and results gives both packages the same prompt."""
    with openai_client(calling) as client:
        first = client.responses.create(**RESPONSES, include=["message.output_text.logprobs"])
        items: Any = [{"role": "user", "content": "Weather?"}, *first.output]
        call = first.output[1]
        assert isinstance(call, ResponseFunctionToolCall)
        items.append({"type": "function_call_output", "call_id": call.call_id, "output": "rain"})
        client.responses.create(**RESPONSES | {"input": items})
        by_openai = prompt_of(calling[1])
    with anthropic_client(calling) as client:
        answer = client.messages.create(**MESSAGES, extra_body={"logprobs": True})
        use = answer.content[1]
        assert isinstance(use, ToolUseBlock)
        result: Any = {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "rain"}]}
        turns: Any = [
            *MESSAGES["messages"],
            {"role": "assistant", "content": answer.content},
            {"role": "user", "content": [result]},
        ]
        client.messages.create(**MESSAGES | {"messages": turns})
        by_anthropic = prompt_of(calling[1])
        counted = client.messages.count_tokens(model=CALLING, messages=turns, tools=CUSTOM)

    assert by_openai == by_anthropic
    assert f'I look.<tool_call>{{"name": "weather", "arguments": {ARGUMENTS}}}</tool_call>' in by_openai
    assert f"tool\nrain for {call.call_id}<|im_end|>" in by_openai
    assert counted.input_tokens == len(calling[1].requests[-1].prompt)


def test_tool_runner(calling: Calling) -> None:
    """Anthropic's tool runner calls the function with the arguments and sends the result back."""
    asked: list[tuple[str, int]] = []

    @anthropic.beta_tool
    def weather(city: str, days: int) -> str:
        """Return the weather.

        Args:
            city: a city
            days: how many days
        """
        asked.append((city, days))
        return "rain"

    with anthropic_client(calling) as client:
        runner = client.beta.messages.tool_runner(
            model=CALLING, max_tokens=500, messages=MESSAGES["messages"], tools=[weather], max_iterations=2
        )
        list(runner)

    assert asked[0] == ("Zürich", 2)
    assert "rain for " in prompt_of(calling[1])


def test_other_tools_are_skipped(calling: Calling) -> None:
    """Tools of other types are skipped and listed, since clients offer such tools everywhere."""
    others = [
        {"type": "web_search"},
        {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "definition": "x"}},
    ]
    reply = post(calling, "/v1/responses", RESPONSES | {"tools": [*others, FUNCTIONS[0] | {"strict": True}]}).json()
    assert reply["pellucid"]["ignored"] == ["tools.0", "tools.1"]
    assert "web_search" not in prompt_of(calling[1])
    assert [tool["type"] for tool in reply["tools"]] == ["web_search", "custom", "function"]

    other = {"type": "web_search_20250305", "name": "web_search"}
    reply = post(calling, "/v1/messages", MESSAGES | {"tools": [other, CUSTOM[0] | {"strict": True}]}).json()
    assert reply["pellucid"]["ignored"] == ["tools.0"]
    assert "web_search" not in prompt_of(calling[1])


def test_none_shows_no_tools(calling: Calling) -> None:
    """With the tool choice none, the prompt does not contain the tools."""
    post(calling, "/v1/responses", RESPONSES | {"tool_choice": "none"})
    assert "weather" not in prompt_of(calling[1])
    post(calling, "/v1/messages", MESSAGES | {"tool_choice": {"type": "none"}})
    assert "weather" not in prompt_of(calling[1])


@pytest.mark.parametrize(
    ("path", "choice"),
    [
        ("/v1/responses", "required"),
        ("/v1/responses", {"type": "function", "name": "f"}),
        ("/v1/messages", {"type": "any"}),
        ("/v1/messages", {"type": "tool", "name": "f"}),
    ],
)
def test_a_call_is_demanded(calling: Calling, path: str, choice: Any) -> None:
    """A demanded call limits the answer from the first token on."""
    answer = post(calling, path, (RESPONSES if path == "/v1/responses" else MESSAGES) | {"tool_choice": choice})

    assert answer.status_code == 200
    constraint = calling[1].requests[-1].constraint
    assert constraint is not None
    assert constraint.allowed() is not None


def test_models_without_tools(tiny_server: LiveServer) -> None:
    """A model without a place for tools in the template refuses tools."""
    answer = tiny_server.http.post("/v1/messages", json=MESSAGES | {"model": None})

    assert answer.status_code == 400
    assert "no place for tools" in answer.json()["error"]["message"]
