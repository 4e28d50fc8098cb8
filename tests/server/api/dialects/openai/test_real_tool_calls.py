"""The default model's answers with an offered tool are well formed."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageFunctionToolCall

from support.servers.real_model_server import CODER

pytestmark = pytest.mark.model

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
            "required": ["city"],
        },
    },
}
PROMPTS = {"What is the weather in Paris?": "Paris", "Write a haiku about autumn.": None}


def test_a_weather_tool(served_model: str) -> None:
    """Each answer is a text or calls with whole arguments; streamed answers are the same.

    The model calls the tool with the right city at least once, so this test cannot pass without a
    call.
    """
    right = 0
    with openai.OpenAI(base_url=f"{served_model}/v1", api_key="unused", max_retries=0) as client:
        for prompt, city in PROMPTS.items():
            asked: dict[str, Any] = {
                "model": CODER,
                "messages": [{"role": "user", "content": prompt}],
                "tools": [WEATHER],
            }
            asked |= {"temperature": 0, "max_tokens": 100}
            choice = client.chat.completions.create(**asked).choices[0]
            calls: Any = choice.message.tool_calls or []
            assert choice.finish_reason == ("tool_calls" if calls else "stop")
            assert bool(choice.message.content) is not bool(calls)
            details = (choice.model_extra or {})["pellucid"].get("calls", [])
            for call, detail in zip(calls, details, strict=True):
                arguments = json.loads(call.function.arguments)
                right += city is not None and arguments.get("city") == city
                assert call.function.name == "get_weather"
                assert detail["complete"]
                assert {f"/{key}" for key, value in arguments.items() if not isinstance(value, dict | list)} <= set(
                    detail["fields"]
                )
                assert all(0 < probability <= 1 for probability in detail["fields"].values())
            assert streamed(client, asked) == [(call.id, call.function.name, call.function.arguments) for call in calls]
    assert right


def streamed(client: openai.OpenAI, asked: dict[str, Any]) -> list[tuple[str, str, str]]:
    with client.chat.completions.create(**asked, stream=True) as stream:
        calls: list[list[str]] = []
        for chunk in stream:
            for delta in chunk.choices[0].delta.tool_calls or []:
                if delta.id is not None:
                    calls.append([delta.id, delta.function.name, ""])
                calls[delta.index][2] += delta.function.arguments
    return [(id, name, arguments) for id, name, arguments in calls]


def test_a_result_is_read(served_model: str) -> None:
    """The prompt has the call and the result, and the model answers."""
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    messages = [
        {"role": "user", "content": "What is the weather in Paris?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": '{"sky": "snow", "temperature": -3}'},
    ]
    body = {"messages": messages, "tools": [WEATHER], "temperature": 0, "max_tokens": 60}
    prompt = httpx.post(
        f"{served_model}/apply-template", json={"messages": messages, "tools": [WEATHER]}, timeout=60
    ).json()["prompt"]
    message = httpx.post(f"{served_model}/v1/chat/completions", json=body, timeout=60).json()["choices"][0]["message"]

    assert '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>' in prompt
    assert '<tool_response>\n{"sky": "snow", "temperature": -3}\n</tool_response>' in prompt
    assert message["content"] or message["tool_calls"]


def test_a_demanded_call(served_model: str) -> None:
    """A demanded call fits the schema, even without a need for the call; streamed too."""
    asked: dict[str, Any] = {
        "model": CODER,
        "messages": [{"role": "user", "content": "Write a haiku."}],
        "tools": [WEATHER],
    }
    asked |= {
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "temperature": 0,
        "max_tokens": 100,
        "logprobs": True,
    }
    with openai.OpenAI(base_url=f"{served_model}/v1", api_key="unused", max_retries=0) as client:
        choice = client.chat.completions.create(**asked).choices[0]
        (call,) = choice.message.tool_calls or []
        (detail,) = (choice.model_extra or {})["pellucid"]["calls"]

        assert choice.finish_reason == "tool_calls"
        assert isinstance(call, ChatCompletionMessageFunctionToolCall)
        assert isinstance(json.loads(call.function.arguments)["city"], str)
        assert detail["complete"]
        assert detail["enforced"]
        assert streamed(client, asked) == [(call.id, call.function.name, call.function.arguments)]
