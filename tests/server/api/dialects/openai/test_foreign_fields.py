"""Fields and prompts of other servers' clients on OpenAI's routes."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

from pellucid.api.dialects.llama_cpp.sampler_steps import keep_steps
from pellucid.client.http_client import Client
from pellucid.engine.sampler import truncate
from pellucid.vocabulary.query import CompletionQuery, SamplingParams
from pellucid.vocabulary.token import Token
from support.servers.http_servers import LiveServer

BEFORE, AFTER = "def add(a, b):\n    return ", "\n\nx = 1\n"
SPELLED = f"<|fim_prefix|>{BEFORE}<|fim_suffix|>{AFTER}<|fim_middle|>"
MESSAGES = [{"role": "user", "content": "hi"}]
COMPLETION = {"max_tokens": 8, "temperature": 0, "logprobs": 1}
CHAT = {"messages": MESSAGES, "max_tokens": 4, "temperature": 0}


def post(http: httpx.Client, route: str, **body: Any) -> dict[str, Any]:
    reply = http.post(route, json=body)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def test_a_spelled_infill_is_an_infill(http: httpx.Client) -> None:
    """A prompt with a spelled infill is answered like a request with a suffix, files included."""
    files = [{"filename": "a.py", "text": "y = 2\n"}]
    named, with_files = (
        post(http, "/v1/completions", prompt=BEFORE, suffix=AFTER, input_extra=extra, **COMPLETION)["choices"][0]
        for extra in ([], files)
    )

    alone, twice, after_files = (
        post(http, "/v1/completions", prompt=prompt, **COMPLETION)["choices"][-1]
        for prompt in (SPELLED, [SPELLED, SPELLED], f"<|file_sep|>a.py\ny = 2\n{SPELLED}")
    )

    assert alone["text"] == twice["text"] == named["text"]
    assert alone["logprobs"]["token_logprobs"] == pytest.approx(named["logprobs"]["token_logprobs"], abs=1e-4)
    assert after_files["logprobs"]["token_logprobs"] == pytest.approx(
        with_files["logprobs"]["token_logprobs"], abs=1e-4
    )


def test_a_prompt_whose_tokens_are_asked_for_is_read_as_it_is_written(http: httpx.Client) -> None:
    """With return_token_ids, a spelled infill keeps the client's order of markers."""
    (choice,) = post(http, "/v1/completions", prompt=SPELLED, return_token_ids=True, **COMPLETION)["choices"]

    assert choice["prompt_token_ids"] == [259, *BEFORE.encode(), 260, *AFTER.encode(), 261]


def test_markers_can_stay_text(http: httpx.Client) -> None:
    """With parse_special false a spelled infill is plain text."""
    body = {"prompt": SPELLED, "parse_special": False, "return_token_ids": True, **COMPLETION}

    assert post(http, "/v1/completions", **body)["choices"][0]["prompt_token_ids"] == list(SPELLED.encode())


async def test_our_own_client_sends_text(lone_server: LiveServer) -> None:
    """A prompt of Pellucid's client is text, with any spelled markers."""
    async with Client(lone_server.url) as client:
        first, *_ = [
            item async for item in client.complete(CompletionQuery(SPELLED, params=SamplingParams(max_tokens=1)))
        ]

    assert isinstance(first, Token)
    assert first.position == len(SPELLED)


def test_a_stream_lists_ignored_fields_once(http: httpx.Client) -> None:
    """Only the first event of a stream lists ignored fields, each by path."""
    message = {**MESSAGES[0], "name": "bob", "audio": None}
    body = {**CHAT, "messages": [message], "stream": True, "user": "u", "anything": {}, "store": None}
    with http.stream("POST", "/v1/chat/completions", json=body) as reply:
        events = [line for line in reply.iter_lines() if line.startswith("data: {")]

    assert '"pellucid":{"ignored":["anything","messages.audio","messages.name","user"]}' in events[0]
    assert not any('"ignored"' in event for event in events[1:])


def test_a_field_that_says_something_is_refused(http: httpx.Client) -> None:
    """An unknown field with a value is refused, since the field could change the answer."""
    for field, value in [("anything", 0), ("anything", [1]), ("lora", [{"id": 0, "scale": 0.5}]), ("store", True)]:
        reply = http.post("/v1/chat/completions", json={**CHAT, field: value})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, field)


def test_llama_fields_on_chat(http: httpx.Client) -> None:
    """n_predict limits the answer, and response_fields picks parts of the reply."""
    reply = post(
        http,
        "/v1/chat/completions",
        messages=MESSAGES,
        n_predict=3,
        samplers=[],  # Draws from the whole distribution, the end of the answer included.
        ignore_eos=True,
        temperature=0,
        response_fields=["usage/completion_tokens"],
    )

    assert reply == {"usage/completion_tokens": 3}


def test_two_limits_are_refused(http: httpx.Client) -> None:
    """Two names of the same limit with different values are refused."""
    reply = http.post("/v1/chat/completions", json={**CHAT, "n_predict": 3})

    assert reply.status_code == 400
    assert "n_predict" in reply.json()["error"]["message"]


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_min_p_before_temperature(temperature: float) -> None:
    """min_p before temperature keeps the same tokens as at temperature 1."""
    logits = np.linspace(0, 4, 40, dtype=np.float32)
    params = SamplingParams(temperature=temperature, min_p=0.3, top_k=7, top_p=0.5)
    kept = keep_steps(params, ["min_p", "temperature"], 0)

    ids, _ = truncate(logits / np.float32(temperature), kept.top_k, kept.top_p, kept.min_p)
    wanted, _ = truncate(logits, 0, 1.0, 0.3)
    assert ids is not None
    assert wanted is not None
    assert ids.tolist() == wanted.tolist()
    assert keep_steps(params, ["temperature", "min_p"], 0).min_p == 0.3
