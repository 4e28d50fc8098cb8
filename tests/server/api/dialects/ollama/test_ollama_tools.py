"""ollama's Python client calls tools: functions go in, whole calls with arguments come out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import ollama
import pytest

from support.servers.calling_server import ANSWER, ARGUMENTS, CALLING, TOOLS, TWO_CALLS, calling_server, prompt_of
from support.servers.http_servers import TINY, LiveServer
from support.servers.real_model_server import CODER
from support.servers.scripted_engine import ScriptedEngine

Calling = tuple[LiveServer, ScriptedEngine]
QUESTION: list[Any] = [{"role": "user", "content": "Weather?"}]
INPUT = {"city": "Zürich", "days": 2}


def weather(city: str, days: int) -> str:
    """Return the weather.

    Args:
        city: a city
        days: how many days
    """
    return f"{city}: rain for {days} days"


@pytest.fixture(scope="module")
def calling() -> Iterator[Calling]:
    with calling_server(ANSWER) as server:
        yield server


def client_of(calling: Calling) -> ollama.Client:
    return ollama.Client(host=calling[0].url, trust_env=False)


def post(calling: Calling, **body: Any) -> httpx.Response:
    asked = {"messages": QUESTION, "tools": TOOLS, "stream": False, **body}
    return calling[0].http.post("/api/chat", json=asked)


def lines_of(calling: Calling, **body: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in post(calling, stream=True, **body).text.split("\n")[:-1]]


def calls_in(reply: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (call["function"]["name"], call["function"]["arguments"]) for call in reply["message"].get("tool_calls", [])
    ]


def test_a_call(calling: Calling) -> None:
    """The client reads a call and the text before the call, and the prompt has the function."""
    with client_of(calling) as client:
        whole = client.chat(CALLING, QUESTION, tools=[weather])
        parts = list(client.chat(CALLING, QUESTION, tools=[weather], stream=True))

    assert whole.message.content == "".join(part.message.content or "" for part in parts) == "I look."
    for calls in (whole.message.tool_calls, [call for part in parts for call in part.message.tool_calls or ()]):
        assert calls is not None
        assert [(call.function.name, call.function.arguments) for call in calls] == [("weather", INPUT)]
    assert '"city": {"type": "string", "description": "a city"}' in prompt_of(calling[1])


def test_a_parameter_of_two_types(calling: Calling) -> None:
    """A function with a parameter of two types is offered, with any object as arguments."""

    def either(x: int | str) -> None:
        """Do it."""

    with client_of(calling) as client:
        assert client.chat(CALLING, QUESTION, tools=[weather, either]).message.tool_calls
    assert "either" in prompt_of(calling[1])


def test_a_line_has_a_whole_call() -> None:
    """In a stream each call is a numbered line, with the same id as in the last line's details."""
    with calling_server(TWO_CALLS) as calling:
        lines = lines_of(calling)
        whole = post(calling).json()

    assert [calls_in(line) for line in lines if calls_in(line)] == [[("f", {"a": 1})], [("g", {})]]
    calls = [call for line in lines for call in line["message"].get("tool_calls", [])]
    assert calls == whole["message"]["tool_calls"]
    assert [call["function"]["index"] for call in calls] == [0, 1]
    assert [call["id"] for call in calls] == [call["id"] for call in lines[-1]["pellucid"]["calls"]]
    assert all("done_reason" not in line for line in lines[:-1])
    assert lines[-1]["done_reason"] == "stop"


def test_details(calling: Calling) -> None:
    """The last line has each argument's probability; with logprobs each token is in a line."""
    whole, lines = post(calling, logprobs=True).json(), lines_of(calling, logprobs=True)

    (details,) = whole["pellucid"]["calls"]
    assert details["complete"]
    assert set(details["fields"]) == {"/city", "/days"}
    assert lines[-1]["pellucid"]["calls"] == [details]
    assert [entry for line in lines for entry in line.get("logprobs", [])] == whole["logprobs"]
    assert b"".join(bytes(entry["bytes"]) for entry in whole["logprobs"]).decode() == ANSWER
    (line,) = [line for line in lines if calls_in(line)]
    assert ARGUMENTS in b"".join(bytes(entry["bytes"]) for entry in line["logprobs"]).decode()


def test_sent_back(calling: Calling) -> None:
    """An answer sent back with the call's result has the prompt of the same OpenAI conversation."""
    with client_of(calling) as client:
        answer = client.chat(CALLING, QUESTION, tools=TOOLS).message
        begun = prompt_of(calling[1])
        client.chat(
            CALLING, [*QUESTION, answer, {"role": "tool", "tool_name": "weather", "content": "rain"}], tools=TOOLS
        )
    prompt = prompt_of(calling[1])
    call = {"id": "call00000", "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}
    messages = [
        *QUESTION,
        {"role": "assistant", "content": "I look.", "tool_calls": [call]},
        {"role": "tool", "name": "weather", "tool_call_id": "call00000", "content": "rain"},
    ]
    calling[0].http.post("/v1/chat/completions", json={"messages": messages, "tools": TOOLS})

    assert prompt == prompt_of(calling[1])
    assert prompt.startswith(begun)
    assert f'I look.<tool_call>{{"name": "weather", "arguments": {ARGUMENTS}}}</tool_call>' in prompt


@pytest.mark.parametrize(
    ("results", "ids"),
    [
        ([{"tool_name": "f"}, {"tool_name": "f"}, {"tool_name": "g"}], ["call00000", "call00001", "own"]),
        ([{"tool_name": "g"}, {"tool_name": "f"}], ["own", "call00000"]),
        ([{}, {}], ["call00000", "own"]),
        ([{"tool_call_id": "call00001"}, {"tool_name": "f"}], ["call00001", "call00000"]),
        ([{"tool_name": "h"}], [None]),
    ],
    ids=str,
)
def test_results_belong_to_calls(calling: Calling, results: list[dict[str, Any]], ids: list[str | None]) -> None:
    """A result belongs to the named call, else to the function's first call without a result."""
    calls = [
        {"function": {"name": "f"}},
        {"id": "own", "function": {"name": "g", "arguments": {}}},
        {"function": {"name": "f"}},
    ]
    messages = [
        *QUESTION,
        {"role": "assistant", "tool_calls": calls},
        *({"role": "tool", "content": "r", **result} for result in results),
    ]

    assert post(calling, messages=messages).status_code == 200
    shown = [line for line in prompt_of(calling[1]).split("\n") if line.startswith("r")]
    assert [
        line.removeprefix("r for ").removesuffix("<|im_end|>") if " for " in line else None for line in shown
    ] == ids


def test_results_of_several_turns(calling: Calling) -> None:
    """Calls of a function in several turns have different ids, and so have the results."""
    turn = [
        {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]},
        {"role": "tool", "tool_name": "f", "content": "r"},
    ]

    assert post(calling, messages=[*QUESTION, *turn, *turn]).status_code == 200
    prompt = prompt_of(calling[1])
    assert [prompt.count(f"r for call{number:05}") for number in range(3)] == [1, 1, 0]


def test_cut_call() -> None:
    """A call cut off has no arguments, and the details mark the call as incomplete."""
    with calling_server(ANSWER[:60]) as calling:
        whole, lines = post(calling).json(), lines_of(calling)

    assert calls_in(whole) == [("weather", {})]
    assert [calls_in(line) for line in lines if calls_in(line)] == [[("weather", {})]]
    for reply in (whole, lines[-1]):
        assert [call["complete"] for call in reply["pellucid"]["calls"]] == [False]


def test_a_model_says_that_it_calls(calling: Calling, tiny_server: LiveServer) -> None:
    """A model's description has the capability tools; a model without tools refuses tools."""
    with client_of(calling) as client:
        assert "tools" in (client.show(CALLING).capabilities or [])
    with ollama.Client(host=tiny_server.url, trust_env=False) as client:
        assert "tools" not in (client.show(TINY).capabilities or [])
        with pytest.raises(ollama.ResponseError, match="no place for tools"):
            client.chat(TINY, QUESTION, tools=[weather])


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        (
            [{"role": "user", "content": "x", "tool_calls": [{"function": {"name": "f"}}]}],
            "messages.0: a message of the role user cannot",
        ),
        (
            [{"role": "user", "content": "x", "tool_name": "f"}],
            "messages.0: a message of the role user cannot have tool_name",
        ),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}],
            "tool_calls.0.function.arguments",
        ),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}],
            "A message with tool calls cannot be continued",
        ),
    ],
)
def test_what_cannot_be_is_refused(calling: Calling, messages: list[Any], named: str) -> None:
    """Misplaced calls and results, and arguments as a text, are refused with the field's name."""
    answer = post(calling, messages=messages)

    assert answer.status_code == 400
    assert named in answer.json()["error"]


def test_names_that_no_template_reads_are_listed(calling: Calling, lone_server: LiveServer) -> None:
    """A tool's name without an effect on the prompt is listed as ignored."""
    messages = [
        *QUESTION,
        {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]},
        {"role": "tool", "tool_name": "f"},
    ]
    body = {"messages": messages, "stream": False, "options": {"num_predict": 1}}

    assert post(calling, messages=messages).json()["pellucid"]["ignored"] == []
    reply = lone_server.http.post("/api/chat", json=body).json()
    assert reply["pellucid"]["ignored"] == ["messages.tool_name"]


@pytest.mark.model
def test_real_model(served_model: str) -> None:
    """The real model calls a function for the right city, and reads the result."""

    def get_weather(city: str) -> str:
        """Get the current weather of a city.

        Args:
            city: the name of the city
        """
        return f"snow in {city}"

    messages: list[Any] = [{"role": "user", "content": "How warm is it in Berlin?"}]
    options = {"temperature": 0, "num_predict": 100}
    with ollama.Client(host=served_model, trust_env=False) as client:
        answer = client.chat(CODER, messages, tools=[get_weather], options=options).message
        (call,) = answer.tool_calls or []
        assert (call.function.name, call.function.arguments) == ("get_weather", {"city": "Berlin"})
        messages += [
            answer,
            {"role": "tool", "tool_name": "get_weather", "content": get_weather(**call.function.arguments)},
        ]
        assert "snow" in (client.chat(CODER, messages, options=options).message.content or "")
