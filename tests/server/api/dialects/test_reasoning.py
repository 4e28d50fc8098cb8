"""The reasoning before an answer, in the shapes of all dialects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from pellucid.api.server_state import ServerState
from pellucid.client.http_client import Client
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import ChatQuery, Reasoning
from support.models.collected_answers import collect
from support.servers.http_servers import LiveServer, live
from support.servers.scripted_engine import WORDS, ScriptedEngine, byte_tokenizer, scripted_assistant

TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.reasoning_content }}{{ m.content }}<|im_end|>{% endfor %}"
    "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
)
QUESTION = [{"role": "user", "content": "Hi"}]
THOUGHT, ANSWER = "Easy.\n", "Hello"

pytestmark = pytest.mark.process  # An unknown template is rendered in a separate process.


@pytest.fixture(scope="module")
def reasoning() -> Iterator[tuple[LiveServer, ScriptedEngine]]:
    tokenizer = byte_tokenizer(chat_template=TEMPLATE, words=(b"<think>", b"</think>", *WORDS))
    engine = ScriptedEngine(tokenizer.encode(f"<think>{THOUGHT}</think>\n\n{ANSWER}"))
    assistant, state = scripted_assistant(engine, tokenizer), ServerState(models=("scripted",), grace=0.0)
    state.open(assistant, engine)
    with live(state) as server:
        yield server, engine


@pytest.fixture
def http(reasoning: tuple[LiveServer, ScriptedEngine]) -> httpx.Client:
    return reasoning[0].http


def post(http: httpx.Client, route: str, **body: Any) -> dict[str, Any]:
    reply = http.post(route, json=body)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def events(http: httpx.Client, route: str, **body: Any) -> list[dict[str, Any]]:
    lines = http.post(route, json=body | {"stream": True}).text.splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith(("data: {", "{"))]


@pytest.mark.parametrize(
    "asked",
    [
        {"reasoning_effort": "low"},
        {"thinking_budget_tokens": 9},
        {"chat_template_kwargs": {"enable_thinking": True}},
        {"chat_template_kwargs": {"thinking": True}, "logprobs": True},
    ],
)
def test_chat_completions(reasoning: tuple[LiveServer, ScriptedEngine], asked: dict[str, Any]) -> None:
    """OpenAI's chat has ``reasoning_content``, whole and in deltas, and counts the tokens."""
    (server, engine), body = reasoning, {"messages": QUESTION, **asked}
    engine.requests.clear()
    reply = post(server.http, "/v1/chat/completions", **body)
    (choice,) = reply["choices"]
    assert (choice["message"]["reasoning_content"], choice["message"]["content"]) == (THOUGHT, ANSWER)
    assert reply["usage"]["completion_tokens_details"] == {"reasoning_tokens": len(THOUGHT) + 4}
    assert "pellucid" not in reply
    if asked.get("logprobs"):
        records = [entry["pellucid"] for entry in choice["logprobs"]["content"]]
        assert "".join(record.get("reasoning") or "" for record in records) == THOUGHT
        assert len(records) == len(engine.script)
    deltas = [event["choices"][0]["delta"] for event in events(server.http, "/v1/chat/completions", **body)]
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == THOUGHT
    assert "".join(delta.get("content") or "" for delta in deltas) == ANSWER
    assert (engine.requests[0].constraint is not None) == ("thinking_budget_tokens" in asked)


@pytest.mark.parametrize("asked", [{}, {"reasoning_effort": "none"}, {"thinking_budget_tokens": 0}])
def test_no_reasoning(reasoning: tuple[LiveServer, ScriptedEngine], asked: dict[str, Any]) -> None:
    """Without a wish, or with an effort of none, the template closes the reasoning."""
    server, engine = reasoning
    engine.requests.clear()
    messages = [*QUESTION, {"role": "assistant", "content": "b", "reasoning_content": "c"}, *QUESTION]
    post(server.http, "/v1/chat/completions", messages=messages, **asked)
    prompt = bytes(id for id in engine.requests[0].prompt if id < 256).decode()
    assert prompt == "user: Hiassistant: cbuser: Hi\n\n\n\n"


def test_wrong_fields(http: httpx.Client) -> None:
    """A wrong value is refused by name."""
    for asked, name in (
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"chat_template_kwargs": {"enable_thinking": "yes"}}, "chat_template_kwargs.enable_thinking"),
        ({"thinking_budget_tokens": -2}, "thinking_budget_tokens"),
        ({"reasoning_effort": "none", "thinking_budget_tokens": 9}, "contradict each other"),
        ({"chat_template_kwargs": {"enable_thinking": False, "thinking": True}}, "contradict each other"),
    ):
        reply = http.post("/v1/chat/completions", json={"messages": QUESTION, **asked})
        assert reply.status_code == 400
        assert name in reply.json()["error"]["message"]


def test_ignored(http: httpx.Client) -> None:
    """A wish without effect is named."""
    body = {"messages": [*QUESTION, {"role": "assistant", "content": "b"}], "reasoning_effort": "low"}
    reply = post(http, "/v1/chat/completions", continue_final_message=True, **body)
    assert reply["pellucid"]["ignored"] == ["reasoning_effort"]
    reply = post(http, "/api/generate", prompt="Hi", raw=True, think=True, stream=False)
    assert reply["pellucid"]["ignored"] == ["think"]
    reply = post(
        http, "/v1/messages", messages=QUESTION, max_tokens=9, thinking={"type": "disabled", "budget_tokens": 9}
    )
    assert reply["pellucid"]["ignored"] == ["thinking.budget_tokens"]


def test_ollama(http: httpx.Client) -> None:
    """Ollama's routes have ``thinking``, and the model's capabilities name it."""
    body = {"messages": QUESTION, "think": True}
    message = post(http, "/api/chat", stream=False, **body)["message"]
    assert (message["thinking"], message["content"]) == (THOUGHT, ANSWER)
    lines = [event["message"] for event in events(http, "/api/chat", **body)]
    assert "".join(line.get("thinking", "") for line in lines) == THOUGHT
    assert "".join(line["content"] for line in lines) == ANSWER
    reply = post(http, "/api/generate", prompt="Hi", think="high", stream=False)
    assert (reply["thinking"], reply["response"]) == (THOUGHT, ANSWER)
    assert "thinking" in post(http, "/api/show", model="scripted")["capabilities"]


def test_messages(http: httpx.Client) -> None:
    """Anthropic's messages have a block for the reasoning, whole and in deltas."""
    body = {"messages": QUESTION, "max_tokens": 99, "thinking": {"type": "enabled", "budget_tokens": 50}}
    first, second = post(http, "/v1/messages", **body)["content"]
    logged = post(http, "/v1/messages", logprobs=True, **body)["content"]
    post(http, "/v1/messages", max_tokens=9, messages=[*QUESTION, {"role": "assistant", "content": logged}, *QUESTION])
    assert first == {"type": "thinking", "thinking": THOUGHT, "signature": ""}
    assert second == {"type": "text", "text": ANSWER}
    told = events(http, "/v1/messages", **body)
    deltas = [event["delta"] for event in told if event["type"] == "content_block_delta"]
    assert "".join(delta.get("thinking", "") for delta in deltas) == THOUGHT
    assert "".join(delta.get("text", "") for delta in deltas) == ANSWER


def test_responses(http: httpx.Client) -> None:
    """OpenAI's responses have an item for the reasoning, whole and in deltas."""
    body = {"input": "Hi", "reasoning": {"effort": "medium"}}
    reply = post(http, "/v1/responses", **body)
    first, second = reply["output"]
    assert (first["type"], first["content"]) == ("reasoning", [{"type": "reasoning_text", "text": THOUGHT}])
    assert second["content"][0]["text"] == ANSWER
    logged = post(http, "/v1/responses", include=["message.output_text.logprobs"], **body)["output"]
    post(http, "/v1/responses", input=[*QUESTION, *logged, *QUESTION])
    assert reply["usage"]["output_tokens_details"] == {"reasoning_tokens": len(THOUGHT) + 4}
    told = events(http, "/v1/responses", **body)
    for kind, text in (("reasoning_text", THOUGHT), ("output_text", ANSWER)):
        assert "".join(event["delta"] for event in told if event["type"] == f"response.{kind}.delta") == text
        assert [event["text"] for event in told if event["type"] == f"response.{kind}.done"] == [text]
    assert told[-1]["response"]["output"][0]["content"] == first["content"]


async def test_client(reasoning: tuple[LiveServer, ScriptedEngine]) -> None:
    """Pellucid's own client has the same tokens, and knows which model can reason."""
    async with Client(reasoning[0].url) as client:
        assert [card.reasoning for card in await client.cards()] == [True]
        tokens, _ = await collect(client.chat(ChatQuery([Message("user", "Hi")], reasoning=Reasoning(most_tokens=50))))
    assert "".join(token.reasoning or "" for token in tokens) == THOUGHT
    assert "".join(token.text for token in tokens) == ANSWER
