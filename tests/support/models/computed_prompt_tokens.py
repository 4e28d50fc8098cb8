"""Runs a greedy request, and counts the computed tokens of the prompt."""

from __future__ import annotations

from collections.abc import AsyncIterator

from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.request import Admission, Request
from pellucid.engine.token_scores import TokenScore
from pellucid.vocabulary.finish import Finish
from pellucid.vocabulary.query import SamplingParams


async def answer(engine: LocalEngine, prompt: list[int]) -> tuple[int, list[TokenScore]]:
    """Return the number of computed prompt tokens, and the scores of a greedy answer."""
    scores: list[TokenScore] = []
    items: AsyncIterator[Admission | TokenScore | Finish] = engine.generate(
        "tiny", Request(prompt, SamplingParams(max_tokens=4, top_logprobs=3))
    )
    async for item in items:
        if isinstance(item, TokenScore):
            scores.append(item)
        if isinstance(item, Finish):
            return item.usage.computed, scores
    raise AssertionError("no end came")
