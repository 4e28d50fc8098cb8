"""A client of servers with llama.cpp's and OpenAI's routes that measures waiting times."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

TIMEOUT_SECONDS = 600.0
"""Timeout of a request."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The times of an answer at the client in seconds, the computed prompt tokens, and the
    generated tokens.

    ``decoding`` is the time of generation by the server's clock, in seconds.
    """

    seconds: float
    computed: int
    generated: int
    decoding: float


class Asker:
    """Asks a server."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS)

    def close(self) -> None:
        self._client.close()

    def complete(self, prompt: str | Sequence[int], tokens: int, alternatives: int = 0) -> Reply:
        """Continue a text or token ids by exactly ``tokens`` tokens, greedily."""
        timings = [f"timings/{name}" for name in ("prompt_n", "predicted_n", "predicted_ms")]
        fields = ["content", *timings, *["completion_probabilities"] * bool(alternatives)]
        body = {"prompt": prompt, "n_predict": tokens, "temperature": 0, "ignore_eos": True, "n_probs": alternatives}
        seconds, found = self._post("/completion", body | {"response_fields": fields})
        assert found["timings/predicted_n"] == tokens, found
        return Reply(seconds, found["timings/prompt_n"], tokens, found["timings/predicted_ms"] / 1000)

    def chat(self, question: str, tokens: int) -> Reply:
        """Answer a question greedily with at most ``tokens`` tokens."""
        body = {"messages": [{"role": "user", "content": question}], "max_tokens": tokens, "temperature": 0}
        seconds, found = self._post("/v1/chat/completions", body)
        usage = found["usage"]
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        decoding = usage["pellucid"]["decode"] if "pellucid" in usage else found["timings"]["predicted_ms"] / 1000
        return Reply(seconds, usage["prompt_tokens"] - cached, usage["completion_tokens"], decoding)

    def ids(self, text: str) -> list[int]:
        _, found = self._post("/tokenize", {"content": text})
        tokens: list[int] = found["tokens"]
        return tokens

    def _post(self, route: str, body: Mapping[str, Any]) -> tuple[float, Any]:
        begun = time.perf_counter()
        response = self._client.post(route, json=body)
        seconds = time.perf_counter() - begun
        if response.is_error:
            raise SystemExit(f"{response.url} answered with {response.status_code}: {response.text[:500]}")
        return seconds, response.json()
