"""The server as a separate process, with the real model and the official client."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai import OpenAI

from support.servers.real_model_server import CODER

pytestmark = pytest.mark.model


@pytest.fixture
def client(served_model: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{served_model}/v1", api_key="none") as client:
        yield client


def test_streamed_chat_with_alternatives(client: OpenAI) -> None:
    """A streamed chat has the right answer and five alternatives for each token."""
    question: Any = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    text, entries = "", []
    for chunk in client.chat.completions.create(
        model=CODER, messages=question, stream=True, logprobs=True, top_logprobs=5, temperature=0, max_tokens=8
    ):
        text += chunk.choices[0].delta.content or ""
        if chunk.choices[0].logprobs:
            entries += chunk.choices[0].logprobs.content or []

    assert "Paris" in text
    assert text == "".join(entry.token for entry in entries)
    assert all(len(entry.top_logprobs) == 5 for entry in entries)
    # Greedy.
    assert all(entry.top_logprobs[0].logprob == pytest.approx(entry.logprob) for entry in entries)


def test_infill(client: OpenAI) -> None:
    """An infill fits the code before and after the gap."""
    answer = client.completions.create(
        model=CODER,
        prompt="def add(a, b):\n    return ",
        suffix="\n\nprint(add(1, 2))\n",
        stop="\n",
        max_tokens=16,
        temperature=0,
    )

    assert answer.choices[0].text.strip() == "a + b"


def test_reading(served_model: str) -> None:
    """The model prefers sense to nonsense, and the sum of the logprobs is the tokens' sum."""
    sense, nonsense = (
        httpx.post(f"{served_model}/v1/score", json={"model": CODER, "text": text}, timeout=60).json()
        for text in ("The sun rises in the east.", "Sun the east rises in the.")
    )
    assert sense["summary"]["perplexity"] < nonsense["summary"]["perplexity"]
    total = sum(token["logprob"] for token in sense["tokens"] if token["logprob"] is not None)
    assert sense["summary"]["logprob_sum"] == pytest.approx(total)


def test_reading_is_writing(served_model: str) -> None:
    """A generated token has the same logprob, rank and entropy when the answer is scored."""
    messages = [{"role": "user", "content": "Name three colours."}]
    body = {
        "model": CODER,
        "messages": messages,
        "max_tokens": 12,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 3,
    }
    reply = httpx.post(f"{served_model}/v1/chat/completions", json=body, timeout=60).json()["choices"][0]
    said = [entry["pellucid"] for entry in reply["logprobs"]["content"]]
    answer = {"role": "assistant", "content": reply["message"]["content"]}
    read = httpx.post(
        f"{served_model}/v1/score", json={"model": CODER, "messages": [*messages, answer]}, timeout=60
    ).json()["tokens"]

    for token in said:
        twin = read[token["position"]]
        assert (twin["id"], twin["rank"]) == (token["id"], token["rank"])
        assert math.isclose(twin["logprob"], token["logprob"], abs_tol=1e-4)
        assert math.isclose(twin["entropy"], token["entropy"], abs_tol=1e-4)


def test_metrics_count(served_model: str) -> None:
    """The metrics have a count of running requests."""
    metrics = httpx.get(f"{served_model}/metrics", timeout=60).text
    assert re.search(rf'pellucid_\w*running\w*{{model="{re.escape(CODER)}"}} \d', metrics)
