"""The server as a separate process, with both real models and the official client."""

from __future__ import annotations

import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from support.servers.real_model_server import real_models

pytestmark = pytest.mark.model

CODER = "qwen2.5-coder-0.5b-instruct"
CHATTER = "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `pellucid serve` with both models loaded."""
    log: Path = tmp_path_factory.mktemp("serve") / "log"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "pellucid", "serve", "--port", str(port), "--model", CODER, "--model", CHATTER]
    with log.open("w") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | real_models())
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until_healthy(address, server, log)
            yield address
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0, log.read_text()


def wait_until_healthy(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the models, five minutes at most."""
    for _ in range(3000):
        assert server.poll() is None, log.read_text()
        try:
            if httpx.get(f"{address}/health", timeout=60).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass  # The server does not listen yet, or loads a model on a busy machine.
        time.sleep(0.1)
    raise AssertionError(f"not loaded after five minutes: {log.read_text()}")


@pytest.fixture
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{url}/v1", api_key="none") as client:
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


def test_both_models_read(url: str) -> None:
    """Both models prefer sense to nonsense, and the sum of the logprobs is the tokens' sum."""
    for model in (CODER, CHATTER):
        sense, nonsense = (
            score(url, model, text) for text in ("The sun rises in the east.", "Sun the east rises in the.")
        )
        assert sense["summary"]["perplexity"] < nonsense["summary"]["perplexity"]
        total = sum(token["logprob"] for token in sense["tokens"] if token["logprob"] is not None)
        assert sense["summary"]["logprob_sum"] == pytest.approx(total)


def test_reading_is_writing(url: str) -> None:
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
    reply = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).json()["choices"][0]
    said = [entry["pellucid"] for entry in reply["logprobs"]["content"]]
    answer = {"role": "assistant", "content": reply["message"]["content"]}
    read = httpx.post(f"{url}/v1/score", json={"model": CODER, "messages": [*messages, answer]}, timeout=60).json()[
        "tokens"
    ]

    for token in said:
        twin = read[token["position"]]
        assert (twin["id"], twin["rank"]) == (token["id"], token["rank"])
        assert math.isclose(twin["logprob"], token["logprob"], abs_tol=1e-4)
        assert math.isclose(twin["entropy"], token["entropy"], abs_tol=1e-4)


def test_metrics_count(url: str) -> None:
    """The metrics have a count of running requests for both models."""
    metrics = httpx.get(f"{url}/metrics", timeout=60).text
    for model in (CODER, CHATTER):
        assert re.search(rf'pellucid_\w*running\w*{{model="{re.escape(model)}"}} \d', metrics)


def score(url: str, model: str, text: str) -> Any:
    return httpx.post(f"{url}/v1/score", json={"model": model, "text": text}, timeout=60).json()
