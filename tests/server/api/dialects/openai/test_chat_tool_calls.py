"""Tool calls over HTTP have OpenAI's shapes, with a probability for each argument."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from math import exp
from random import Random
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from pellucid.client.http_client import Client
from pellucid.errors import InvalidRequestError
from pellucid.text.assistant import LocalAssistant
from pellucid.text.structured.grammar_constraint import GrammarConstraint
from pellucid.text.tool_calls.calls_of_answer import calls_of
from pellucid.vocabulary.finish import Finish, Usage
from pellucid.vocabulary.message import Message, NamedTool, ToolCall
from pellucid.vocabulary.query import ChatQuery, SamplingParams
from pellucid.vocabulary.token import Token
from support.servers.body_mutations import mutations
from support.servers.calling_server import (
    ANSWER,
    ARGUMENTS,
    TOOLS,
    TWO_CALLS,
    calling_assistant,
    calling_server,
    calling_tokenizer,
    prompt_of,
)
from support.servers.http_servers import LiveServer
from support.servers.scripted_engine import ScriptedEngine

pytestmark = pytest.mark.process  # An unknown template is rendered in a separate process.

QUESTION = [{"role": "user", "content": "Weather?"}]
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "<|im_end|>"}'}}


@pytest.fixture(scope="module")
def calling() -> Iterator[tuple[LiveServer, ScriptedEngine]]:
    with calling_server(ANSWER) as server:
        yield server


def post(server: LiveServer, route: str = "/v1/chat/completions", **body: Any) -> httpx.Response:
    return server.http.post(route, json={"messages": QUESTION, **body})


def choice(server: LiveServer, **body: Any) -> dict[str, Any]:
    response = post(server, **{"tools": TOOLS, **body})
    assert response.status_code == 200, response.text
    (only,) = response.json()["choices"]
    return dict(only)


def deltas(server: LiveServer, **body: Any) -> list[dict[str, Any]]:
    """Return the choices of a streamed answer."""
    lines = post(server, stream=True, tools=TOOLS, **body).text.splitlines()
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    return [one for event in events for one in event["choices"]]


def test_a_call(calling: tuple[LiveServer, ScriptedEngine]) -> None:
    """A reply has the call, the text before the call and the arguments' probabilities."""
    reply = choice(calling[0])

    (call,) = reply["message"]["tool_calls"]
    assert (call["type"], call["function"]) == ("function", {"name": "weather", "arguments": ARGUMENTS})
    assert len(call["id"]) == 9
    assert call["id"].isalnum()
    assert reply["message"]["content"] == "I look."
    assert reply["finish_reason"] == "tool_calls"
    # Each byte is a token with the logprob -0.5; the two bytes of ü and the closing quote count.
    fields = {"/city": pytest.approx(exp(-0.5 * 8)), "/days": pytest.approx(exp(-0.5))}
    assert reply["pellucid"] == {
        "reason": "stop",
        "calls": [{"id": call["id"], "complete": True, "enforced": False, "fields": fields}],
    }


def test_content_is_null() -> None:
    """An answer of calls alone has the content null."""
    with calling_server(TWO_CALLS) as (server, _):
        message = choice(server)["message"]
    assert message["content"] is None
    assert [call["function"] for call in message["tool_calls"]] == [
        {"name": "f", "arguments": '{"a": 1}'},
        {"name": "g", "arguments": "{}"},
    ]
    assert len({call["id"] for call in message["tool_calls"]}) == 2


def test_a_streamed_call(calling: tuple[LiveServer, ScriptedEngine]) -> None:
    """A stream has a call's id, type and name once, then the arguments, then probabilities."""
    parts = deltas(calling[0])
    whole = choice(calling[0])
    calls = [call for part in parts for call in part["delta"].get("tool_calls", ())]

    begun = {
        "index": 0,
        "id": whole["message"]["tool_calls"][0]["id"],
        "type": "function",
        "function": {"name": "weather", "arguments": ""},
    }
    assert calls[0] == begun
    assert all(set(call) == {"index", "function"} and set(call["function"]) == {"arguments"} for call in calls[1:])
    assert all(len(part["delta"].get("tool_calls", ())) <= 1 for part in parts)
    assert "".join(call["function"]["arguments"] for call in calls) == ARGUMENTS
    assert len(calls) > 10
    assert parts[0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(part["delta"].get("content") or "" for part in parts) == "I look."
    assert (parts[-1]["finish_reason"], parts[-1]["pellucid"]) == ("tool_calls", whole["pellucid"])


def test_logprobs_of_a_call(calling: tuple[LiveServer, ScriptedEngine]) -> None:
    """A call's tokens are among the logprobs, marked with the call, whole and streamed."""
    entries = choice(calling[0], logprobs=True)["logprobs"]["content"]
    streamed = [
        entry
        for part in deltas(calling[0], logprobs=True)
        for entry in (part["logprobs"] or {"content": ()})["content"]
    ]

    assert b"".join(bytes(entry["bytes"]) for entry in entries).decode() == ANSWER
    assert [entry["pellucid"].get("part", {}).get("call") for entry in entries] == [None] * 8 + [0] * (len(entries) - 8)
    assert streamed == entries


def test_one_call_only() -> None:
    """With parallel_tool_calls false, answer and generation end after the first call."""
    with calling_server(TWO_CALLS) as (server, engine):
        reply = choice(server, parallel_tool_calls=False)
        assert [call["function"]["name"] for call in reply["message"]["tool_calls"]] == ["f"]
        assert reply["finish_reason"] == "tool_calls"
        assert engine.generated < len(TWO_CALLS) / 2


def test_stop_texts_are_for_the_text() -> None:
    """A stop text ends an answer before a call, and has no effect within a call."""
    with calling_server(ANSWER) as (server, _):
        assert choice(server, stop="city")["message"]["tool_calls"][0]["function"]["arguments"] == ARGUMENTS
        stopped = choice(server, stop="look")
        assert (stopped["message"], stopped["finish_reason"]) == ({"role": "assistant", "content": "I "}, "stop")


def test_a_begun_answer_is_continued() -> None:
    """A begun answer may continue with a call."""
    with calling_server(ANSWER) as (server, engine):
        messages = [*QUESTION, {"role": "assistant", "content": "Well: "}]
        reply = choice(server, messages=messages, continue_final_message=True)
        assert reply["message"]["tool_calls"][0]["function"]["arguments"] == ARGUMENTS
        assert prompt_of(engine).endswith("<|im_start|>assistant\nWell: ")


def test_several_answers() -> None:
    """Each of several answers has separate calls."""
    with calling_server(ANSWER) as (server, _):
        choices = post(server, tools=TOOLS, n=2).json()["choices"]
    assert [one["message"]["tool_calls"][0]["function"]["arguments"] for one in choices] == [ARGUMENTS] * 2


def test_a_call_that_is_cut_off() -> None:
    """A call cut off by the length is marked as incomplete."""
    with calling_server(ANSWER) as (server, _):
        reply = choice(server, max_tokens=60)
    assert reply["finish_reason"] == "length"
    assert ARGUMENTS.startswith(reply["message"]["tool_calls"][0]["function"]["arguments"])
    assert reply["pellucid"]["calls"][0] | {"id": ""} == {"id": "", "complete": False, "enforced": False, "fields": {}}


def test_no_tools(calling: tuple[LiveServer, ScriptedEngine]) -> None:
    """Without tools or with tool_choice none, the prompt has no tools, and calls stay text."""
    server, engine = calling
    bodies: list[dict[str, Any]] = [
        {"tools": []},
        {"tool_choice": "none"},
        {"tools": None, "parallel_tool_calls": False},
    ]
    for body in bodies:
        reply = choice(server, **body)
        assert "weather" not in prompt_of(engine)
        assert reply["message"]["content"] == ANSWER.replace("<tool_call>", "").replace("</tool_call>", "")
        assert "tool_calls" not in reply["message"]
        assert (reply["finish_reason"], reply["pellucid"]) == ("stop", {"reason": "stop"})


@pytest.mark.parametrize(
    ("demanded", "begin"),
    [
        ("required", '<tool_call>\n{"name": "'),
        ({"type": "function", "function": {"name": "f"}}, '<tool_call>\n{"name": "f", "arguments": {'),
    ],
)
def test_a_call_is_demanded(calling: tuple[LiveServer, ScriptedEngine], demanded: Any, begin: str) -> None:
    """A demanded call forces the answer's beginning, for a named function up to arguments."""
    assert post(calling[0], tools=TOOLS, tool_choice=demanded).status_code == 200
    constraint = calling[1].requests[-1].constraint
    assert isinstance(constraint, GrammarConstraint)
    assert b"".join(map(calling_tokenizer().token_bytes, constraint.forced())).decode() == begin


@pytest.mark.parametrize("tools", [[], TOOLS[1:2]])
def test_a_demand_that_cannot_be_met(calling: tuple[LiveServer, ScriptedEngine], tools: Any) -> None:
    """A demand for an unoffered function is refused by name."""
    response = post(calling[0], tools=tools, tool_choice={"type": "function", "function": {"name": "walk"}})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "tool_choice")


def test_a_strict_function(calling: tuple[LiveServer, ScriptedEngine]) -> None:
    """An unenforceable schema is refused for a strict function, and otherwise accepted."""
    odd = TOOLS[0]["function"] | {"parameters": {"type": "object", "properties": {"a": {"not": {"type": "string"}}}}}
    assert post(calling[0], tools=[{"type": "function", "function": odd}]).status_code == 200
    response = post(calling[0], tools=[{"type": "function", "function": odd | {"strict": True}}])
    assert (response.status_code, response.json()["error"]["param"]) == (400, "tools")


@pytest.mark.parametrize("content", [{"content": None}, {"content": ""}, {}])
def test_results_of_calls(calling: tuple[LiveServer, ScriptedEngine], content: dict[str, Any]) -> None:
    """Calls and results are rendered like in the template; a marker in an argument stays text."""
    server, engine = calling
    messages = [
        {"role": "user", "name": "bob", "content": "Weather?"},
        {"role": "assistant", "tool_calls": [CALL], **content},
        {"role": "tool", "tool_call_id": "c1", "name": "weather", "content": [{"type": "text", "text": "sun"}]},
    ]
    choice(server, messages=messages)
    rendered = (
        "<|im_start|>user bob\nWeather?<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>{"name": "weather", "arguments": {"city": "<|im_end|>"}}</tool_call>'
        "<|im_end|>\n"
        "<|im_start|>tool weather\nsun for c1<|im_end|>\n<|im_start|>assistant\n"
    )
    tools = "".join(f"\n{json.dumps(tool)}" for tool in TOOLS)
    assert prompt_of(engine) == f"<|im_start|>tools{tools}<|im_end|>\n{rendered}"
    assert engine.requests[-1].prompt.count(257) == 4
    assert post(server, "/apply-template", messages=messages, tools=TOOLS).json()["prompt"] == prompt_of(engine)
    assert (
        post(server, "/apply-template", messages=messages, tools=TOOLS, tool_choice="none").json()["prompt"] == rendered
    )


def called(arguments: str) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": [CALL | {"function": {"name": "f", "arguments": arguments}}]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"messages": [called("{")]}, "The arguments of the call of 'f' are not the text of a JSON object"),
        ({"messages": [called("[1]")]}, "they are another JSON value"),
        (
            {"messages": [{"role": "user", "content": "x", "tool_calls": [CALL]}]},
            "a message of the role user cannot have tool_calls",
        ),
        (
            {"messages": [{"role": "user", "content": "x", "tool_call_id": "c"}]},
            "a message of the role user cannot have a tool_call_id",
        ),
        ({"messages": [{"role": "tool", "tool_call_id": "c"}]}, "content is required"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type: Input should be 'function'"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools.0.function.name is required."),
    ],
)
def test_wrong_bodies(calling: tuple[LiveServer, ScriptedEngine], body: dict[str, Any], message: str) -> None:
    """A wrong message or tool is refused with the name of the field."""
    response = post(calling[0], **body)
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ messages }}", "The chat template of calling has no place for tools: omit tools, or use another model."),
        ("{{ tools }}", "The tool calls of calling have a format that cannot be read"),
    ],
)
def test_models_without_tools(template: str, message: str) -> None:
    """A model without tools, or with unreadable calls, refuses tools with the reason."""
    with calling_server(ANSWER, template) as (server, _):
        response = post(server, tools=TOOLS)
        assert (response.status_code, response.json()["error"]["param"]) == (400, "tools")
        assert response.json()["error"]["message"].startswith(message)
        assert post(server, tools=TOOLS, tool_choice="none").status_code == 200


def test_mutated_bodies(calling: tuple[LiveServer, ScriptedEngine]) -> None:
    """Wrong tools, calls and results get an error in a sentence, and no server error."""
    called_once = [*QUESTION, called("{}"), {"role": "tool", "tool_call_id": "c1", "name": "f", "content": "x"}]
    valid = {
        "messages": called_once,
        "tools": TOOLS,
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "max_tokens": 4,
    }
    with httpx.Client(base_url=calling[0].url, timeout=60, trust_env=False) as http:
        for body in mutations(valid, Random(13), 300):
            response = http.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
            assert response.status_code in (200, 400, 404, 413), (body, response.text)
            assert response.status_code == 200 or response.json()["error"]["message"], body


# Real clients.


def test_openai(calling: tuple[LiveServer, ScriptedEngine]) -> None:
    """The openai package reads a call, whole and streamed, and sends the call back."""
    tools: Any = [{"type": "function", "function": TOOLS[0]["function"] | {"strict": True}}]
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Weather?"}]
    with openai.OpenAI(base_url=f"{calling[0].url}/v1", api_key="unused", max_retries=0) as client:
        whole = client.chat.completions.create(model="calling", messages=messages, tools=tools, logprobs=True).choices[
            0
        ]
        with client.chat.completions.stream(model="calling", messages=messages, tools=tools) as stream:
            kinds = [event.type for event in stream]
            streamed = stream.get_final_completion().choices[0]
        assert whole.message.tool_calls is not None
        assert streamed.message.tool_calls is not None
        answer: Any = whole.message.model_dump(exclude_none=True)
        result: Any = {"role": "tool", "tool_call_id": whole.message.tool_calls[0].id, "content": "sun"}
        client.chat.completions.create(model="calling", messages=[*messages, answer, result], tools=tools)

    assert whole.finish_reason == streamed.finish_reason == "tool_calls"
    first: Any = streamed.message.tool_calls[0]
    assert (
        first.model_dump(exclude={"index": True, "function": {"parsed_arguments": True}})
        == whole.message.tool_calls[0].model_dump()
    )
    assert first.function.parsed_arguments == {"city": "Zürich", "days": 2}
    assert {"content.delta", "tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"} <= set(kinds)
    assert "sun for " in prompt_of(calling[1])


# Near and far.

QUERIES = {
    "call": ChatQuery([Message("user", "Weather?")], SamplingParams(top_logprobs=2), tools=TOOLS),
    "one call": ChatQuery([Message("user", "Weather?")], tools=TOOLS, parallel_tool_calls=False),
    "no tools": ChatQuery([Message("user", "Weather?")], tools=TOOLS, tool_choice="none"),
    "result": ChatQuery(
        [Message("assistant", tool_calls=[ToolCall("1", "f", "{}")]), Message("tool", "x", tool_call_id="1", name="f")],
        tools=TOOLS[:1],
    ),
}


async def answer_of(assistant: LocalAssistant | Client, query: ChatQuery) -> list[Token | Finish]:
    return [replace(item, usage=Usage()) if isinstance(item, Finish) else item async for item in assistant.chat(query)]


@pytest.mark.parametrize("name", QUERIES)
async def test_near_and_far(name: str) -> None:
    """Tokens, calls and prompts are the same from a model in the process and from a server."""
    assistant, near_engine = calling_assistant(TWO_CALLS)
    near = await answer_of(assistant, QUERIES[name])
    with calling_server(TWO_CALLS) as (server, far_engine):
        async with Client(server.url) as client:
            far = await answer_of(client, QUERIES[name])

    assert far == near
    assert far_engine.requests[0].prompt == near_engine.requests[0].prompt
    calls = calls_of(item for item in far if isinstance(item, Token))
    assert [call.name for call in calls] == {"one call": ["f"], "no tools": []}.get(name, ["f", "g"])


async def test_near_and_far_refuse_alike() -> None:
    """A demand for an unoffered function is refused in the same sentence near and far."""
    query = replace(QUERIES["call"], tool_choice=NamedTool("walk"))
    with calling_server(TWO_CALLS) as (server, _):
        async with Client(server.url) as client:
            for assistant in (calling_assistant(TWO_CALLS)[0], client):
                with pytest.raises(InvalidRequestError, match="names the function 'walk', which is not among tools"):
                    await answer_of(assistant, query)
