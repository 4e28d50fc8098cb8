"""A prediction of an answer saves time, and changes no text."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from support.servers.http_servers import LiveServer

QUESTION = "Say something."
BIAS = {"97": 60}
"""Lets a random model answer in whole characters, for the same tokens in a second reading."""

ASKED: dict[str, Any] = {
    "messages": [{"role": "user", "content": QUESTION}],
    "max_tokens": 40,
    "temperature": 0,
    "logit_bias": BIAS,
}


def answer(server: LiveServer, **more: Any) -> dict[str, Any]:
    """Return the reply to the same question."""
    reply = server.http.post("/v1/chat/completions", json=ASKED | more)
    assert reply.status_code == httpx.codes.OK, reply.text
    found: dict[str, Any] = reply.json()
    return found


def text_of(reply: dict[str, Any]) -> str:
    return str(reply["choices"][0]["message"]["content"])


def test_a_right_prediction_is_accepted(lone_server: LiveServer) -> None:
    """A repeated prediction is accepted in whole, as a text or in parts."""
    plain = answer(lone_server)
    assert "completion_tokens_details" not in plain["usage"]
    text = text_of(plain)
    for content in (text, [{"type": "text", "text": text[:3]}, {"type": "text", "text": text[3:]}]):
        reply = answer(lone_server, prediction={"type": "content", "content": content})
        assert text_of(reply) == text
        details = reply["usage"]["completion_tokens_details"]
        assert details["rejected_prediction_tokens"] == 0
        assert details["accepted_prediction_tokens"] == reply["usage"]["pellucid"]["accepted"] > 0


def test_a_wrong_prediction_changes_nothing(lone_server: LiveServer) -> None:
    """A wrong prediction is rejected, and does not change the answer."""
    reply = answer(lone_server, prediction={"type": "content", "content": "\u2603" * 5})
    assert text_of(reply) == text_of(answer(lone_server))
    details = reply["usage"]["completion_tokens_details"]
    assert details["accepted_prediction_tokens"] == 0
    assert details["rejected_prediction_tokens"] > 0


@pytest.mark.parametrize(
    "prediction", [{"type": "content"}, {"type": "text", "content": "a"}, "a", {"type": "content", "content": 3}]
)
def test_another_form_is_refused(lone_server: LiveServer, prediction: object) -> None:
    """Another form of a prediction is refused by name."""
    reply = lone_server.http.post("/v1/chat/completions", json=ASKED | {"prediction": prediction})
    assert reply.status_code == httpx.codes.BAD_REQUEST
    assert reply.json()["error"]["param"].startswith("prediction")


def test_openai_package(lone_server: LiveServer) -> None:
    """The openai package sends a prediction and reads the accepted tokens, streamed too."""
    with openai.OpenAI(base_url=f"{lone_server.url}/v1", api_key="none", max_retries=0) as client:
        text = text_of(answer(lone_server))
        stream = client.chat.completions.create(
            model="any",
            messages=[{"role": "user", "content": QUESTION}],
            max_tokens=40,
            temperature=0,
            prediction={"type": "content", "content": text},
            stream=True,
            stream_options={"include_usage": True},
            logit_bias=BIAS,
        )
        usage = [chunk.usage for chunk in stream if chunk.usage is not None][-1]
    assert usage.completion_tokens_details is not None
    assert usage.completion_tokens_details.accepted_prediction_tokens
