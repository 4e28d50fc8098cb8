"""Clients of Mistral's infill API (Continue, Tabby's server, minuet) get chat-shaped answers."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from openai import Stream
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from support.servers.http_servers import TINY, LiveServer, ScriptedAssistant, live_scripted

CONTINUE: dict[str, Any] = {
    "model": TINY,
    "prompt": "def f",
    "suffix": "\n",
    "max_tokens": 4,
    "temperature": 0.01,
    "top_p": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "stop": ["\n\n"],
    "stream": True,
}
TABBY_BACKEND = {
    "prompt": "def f",
    "suffix": "\n",
    "model": TINY,
    "temperature": 0.1,
    "max_tokens": 4,
    "stream": True,
    "random_seed": 1,
}


@pytest.mark.parametrize("body", [CONTINUE, TABBY_BACKEND])
@pytest.mark.parametrize("path", ["/v1/fim/completions", "/fim/completions"])
def test_stream(path: str, body: dict[str, Any], http: httpx.Client) -> None:
    """A stream has a chat's parts, joins to the whole answer and ends with usage and [DONE]."""
    events = [line.removeprefix("data: ") for line in http.post(path, json=body).text.splitlines() if line]
    whole = http.post(path, json=body | {"stream": False}).json()

    chunks = [json.loads(event) for event in events[:-1]]
    assert events[-1] == "[DONE]"
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert (
        "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
        == whole["choices"][0]["message"]["content"]
    )
    assert chunks[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert chunks[-1]["usage"]["total_tokens"] == whole["usage"]["total_tokens"]


def test_a_client_for_chats_reads_the_replies(tiny_server: LiveServer) -> None:
    """The openai package reads the replies as chats, logprobs included."""
    body = {"prompt": "def f", "suffix": "\n", "max_tokens": 4, "logprobs": True, "top_logprobs": 2}
    with openai.OpenAI(base_url=f"{tiny_server.url}/v1", api_key="unused", max_retries=0) as client:
        whole = client.post("/fim/completions", cast_to=ChatCompletion, body=body)
        stream = client.post(
            "/fim/completions",
            cast_to=ChatCompletion,
            body=body | {"stream": True},
            stream=True,
            stream_cls=Stream[ChatCompletionChunk],
        )
        spoken = "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    assert spoken == whole.choices[0].message.content
    logprobs = whole.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [len(entry.top_logprobs) for entry in logprobs.content] == [2] * 4
    assert logprobs.content[0].model_extra is not None
    assert logprobs.content[0].model_extra["pellucid"]["rank"] == 1


def test_the_same_answer_as_completions(http: httpx.Client) -> None:
    """The answer equals the greedy answer of /v1/completions with a suffix."""
    body = {"prompt": "def f", "suffix": "\n", "max_tokens": 4}

    reply = http.post("/v1/fim/completions", json=body).json()
    same = http.post("/v1/completions", json=body | {"temperature": 0}).json()

    assert reply["choices"][0]["message"]["content"] == same["choices"][0]["text"]


def test_fields() -> None:
    """Mistral's fields reach the model; metadata is accepted and named."""
    assistant = ScriptedAssistant()
    with live_scripted(assistant) as server:
        body = {
            "prompt": "a",
            "max_tokens": 3,
            "random_seed": 7,
            "stop": "x",
            "top_p": 0.5,
            "metadata": {"a": 1},
            "min_tokens": 0,
        }
        reply = server.http.post("/v1/fim/completions", json=body).json()

    call = assistant.calls[0]
    assert (call["prefix"], call["suffix"], call["stop"]) == ("a", "", ["x"])
    assert (call["params"].max_tokens, call["params"].seed, call["params"].top_p) == (3, 7, 0.5)
    assert reply["pellucid"]["ignored"] == ["metadata"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"min_tokens": 5}, "min_tokens"), ({"top_logprobs": 2}, "top_logprobs"), ({"tools": [1]}, "tools")],
)
def test_refused(fields: dict[str, Any], named: str, http: httpx.Client) -> None:
    """Unsupported fields with an effect on the answer are refused by name."""
    answer = http.post("/v1/fim/completions", json={"prompt": "a"} | fields)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, named)


def test_models_without_v1(http: httpx.Client) -> None:
    """/models is /v1/models with the state of each model, as in llama-server."""
    with_states = http.get("/models").json()
    states = [one.pop("status")["value"] for one in with_states["data"]]

    assert states == ["loaded"] * len(states)
    assert with_states == http.get("/v1/models").json()
