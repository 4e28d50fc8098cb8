"""/v1/embeddings and ollama's routes return the mean of the served model's last hidden states."""

from __future__ import annotations

import math
import threading
from typing import Any

import httpx
import numpy as np
import ollama
import openai
import pytest
import torch
from numpy.typing import NDArray

from support.models.tiny_models import tiny_llama
from support.servers.http_servers import MARKERS, TINY, LiveServer

MODEL = tiny_llama(vocab_size=256 + len(MARKERS), max_position_embeddings=2048)
"""The model of the tiny server; a token is a byte."""

PAIRS = {
    "read a CSV file into a list of dictionaries": (
        "def load(path):\n    with open(path) as f:\n        return list(csv.DictReader(f))"
    ),
    "compute the greatest common divisor": "def gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a",
    "send an HTTP GET request and parse the JSON answer": (
        "def fetch(url):\n    return requests.get(url, timeout=10).json()"
    ),
    "count how often each word occurs in a text": "def word_counts(text):\n    return Counter(text.lower().split())",
    "run a shell command and return its output": (
        "def run(command):\n    return subprocess.run(command, capture_output=True).stdout"
    ),
    "compute the SHA-256 hash of a file": "def digest(path):\n    return hashlib.sha256(path.read_bytes()).hexdigest()",
    "resize an image to a thumbnail": (
        "def small(path):\n    image = Image.open(path)\n    image.thumbnail((64, 64))\n    return image"
    ),
    "check whether a string is a palindrome": "def is_palindrome(s):\n    return s == s[::-1]",
}
"""Descriptions, and a function for each description."""

TEXTS = ["a", "def add(a, b):\n    return a + b\n", "héllo wörld " * 15]


@torch.inference_mode()
def expected(text: str) -> NDArray[Any]:
    """Return the embedding by a plain pass of the transformers library."""
    mean = MODEL.base_model(torch.tensor([list(text.encode())])).last_hidden_state[0].mean(0)
    return np.asarray(mean / mean.norm())


def close(actual: object, text: str) -> None:
    np.testing.assert_allclose(np.asarray(actual), expected(text), atol=1e-5)


@pytest.mark.parametrize("form", ["float", "base64"])
def test_openai_client(client: openai.OpenAI, form: str) -> None:
    """The openai package gets each text's plain embedding, in order and of length 1."""
    options: dict[str, Any] = (
        {"encoding_format": "float"} if form == "float" else {}
    )  # The client requests base64 by default.
    reply = client.embeddings.create(model=TINY, input=TEXTS, **options)

    assert [item.index for item in reply.data] == [0, 1, 2]
    for item, text in zip(reply.data, TEXTS, strict=True):
        close(item.embedding, text)
        assert math.isclose(math.hypot(*item.embedding), 1, abs_tol=1e-5)
    assert reply.usage.prompt_tokens == reply.usage.total_tokens == sum(len(text.encode()) for text in TEXTS)
    details = reply.model_dump()["pellucid"]
    assert details["pooling"] == "mean of the last hidden states"
    assert "not to make embeddings" in details["note"]


@pytest.mark.parametrize("ids", [[104, 105], [[104, 105], [97]]])
def test_token_ids(http: httpx.Client, ids: list[Any]) -> None:
    """Token ids are embedded like the text of the tokens."""
    data = http.post("/v1/embeddings", json={"input": ids}).json()["data"]

    for item, text in zip(data, ["hi", "a"] if isinstance(ids[0], list) else ["hi"], strict=True):
        close(item["embedding"], text)


def test_during_generations(http: httpx.Client) -> None:
    """During generations, texts get the same embeddings, and the answers do not change."""
    body = {"prompt": "abc", "max_tokens": 60, "temperature": 0, "ignore_eos": True}
    alone = http.post("/v1/completions", json=body).json()["choices"][0]["text"]
    answers: list[str] = []

    def ask() -> None:
        answers.append(http.post("/v1/completions", json=body).json()["choices"][0]["text"])

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    data = http.post("/v1/embeddings", json={"input": TEXTS}).json()["data"]
    for thread in threads:
        thread.join()

    for item, text in zip(data, TEXTS, strict=True):
        close(item["embedding"], text)
    assert answers == [alone, alone]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        *(({"input": ""}, "input"), ({"input": ["a", ""]}, "input"), ({"input": "x" * 300}, "input")),
        *(({"input": []}, "input"), ({"input": [[]]}, "input"), ({"input": "a", "dimensions": 7}, "dimensions")),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        *(({"input": "a", "encoding_format": "int8"}, "encoding_format"), ({"input": [99999]}, "input")),
        *(({"input": "a", "task": "search"}, "task"), ({}, "input")),
    ],
)
def test_bad_bodies(http: httpx.Client, body: dict[str, Any], param: str) -> None:
    """Empty and overlong texts and wrong vector lengths are refused, with the name of the field."""
    response = http.post("/v1/embeddings", json=body)

    assert (response.status_code, response.json()["error"]["param"].partition(".")[0]) == (400, param), response.text


def test_own_length_is_allowed(http: httpx.Client) -> None:
    """`dimensions` may equal the length of the vectors."""
    assert http.post("/v1/embeddings", json={"input": "a", "dimensions": 48}).status_code == 200


def test_ollama_client(tiny_server: LiveServer) -> None:
    """Both of ollama's routes give the same vectors; an overlong text is cut unless forbidden."""
    with ollama.Client(host=tiny_server.url, trust_env=False) as client:
        reply = client.embed(TINY, TEXTS[:2])

        assert reply.prompt_eval_count == sum(len(text) for text in TEXTS[:2])
        for vector, text in zip(reply.embeddings, TEXTS, strict=False):
            close(vector, text)
        close(client.embeddings(TINY, "hi").embedding, "hi")
        close(client.embed(TINY, "x" * 300).embeddings[0], "x" * 256)
        with pytest.raises(ollama.ResponseError, match="300 tokens"):
            client.embed(TINY, "x" * 300, truncate=False)
        assert client.embed(TINY, "").embeddings == []
        assert client.embeddings(TINY, "").embedding == []


@pytest.mark.model
def test_real_model_finds_functions(served_model: str) -> None:
    """For most descriptions the real model's nearest vector is the right function's vector."""
    reply = httpx.post(
        f"{served_model}/v1/embeddings", json={"input": [*PAIRS, *PAIRS.values()]}, timeout=120, trust_env=False
    )
    vectors = np.array([item["embedding"] for item in reply.json()["data"]])
    nearest = (vectors[: len(PAIRS)] @ vectors[len(PAIRS) :].T).argmax(1)

    assert (nearest == np.arange(len(PAIRS))).sum() >= 6
