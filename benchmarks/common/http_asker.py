"""A client of a server with llama.cpp's and OpenAI's routes, which notes how long it waits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

SECONDS = 600.0
"""After which a server is taken not to answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What an answer took at the client, in seconds, and the tokens that the server computed of the prompt and said.

    ``decoding`` is what saying them took by the server's own clock, in seconds.
    """

    seconds: float
    computed: int
    generated: int
    decoding: float


class Asker:
    """Asks one server."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=SECONDS)

    def close(self) -> None:
        self._client.close()

    def complete(self, prompt: str | Sequence[int], tokens: int, alternatives: int = 0) -> Reply:
        """Go on with a text or with ids by exactly so many tokens, greedily."""
        timings = [f"timings/{name}" for name in ("prompt_n", "predicted_n", "predicted_ms")]
        fields = ["content", *timings, *["completion_probabilities"] * bool(alternatives)]
        body = {"prompt": prompt, "n_predict": tokens, "temperature": 0, "ignore_eos": True, "n_probs": alternatives}
        seconds, found = self._post("/completion", body | {"response_fields": fields})
        assert found["timings/predicted_n"] == tokens, found
        return Reply(seconds, found["timings/prompt_n"], tokens, found["timings/predicted_ms"] / 1000)

    def chat(self, question: str, tokens: int) -> Reply:
        """Answer a question, greedily, by at most so many tokens."""
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
