"""Requests answers that prefer different engines of a fleet, and measures the answers' gaps."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

from pellucid.engine.request import Request
from pellucid.engine.token_scores import TokenScore
from pellucid.fleet.fleet import Fleet
from pellucid.vocabulary.finish import Finish
from pellucid.vocabulary.query import SamplingParams


def numbered_request(number: int, tokens: int) -> Request:
    """Return a numbered request with a distinct prompt and session."""
    prompt = [1604, 803, 24, 81, 28, 278, 727, 198 + number]
    return Request(prompt, SamplingParams(max_tokens=tokens, ignore_eos=True), session=f"editor {number}")


async def answer(
    fleet: Fleet, model: str, number: int, tokens: int, started: asyncio.Event | None = None
) -> tuple[list[int], Finish, float]:
    """Return the ids of an answer, the end, and the longest time between two tokens.

    The fifth token sets ``started``.
    """
    ids, gap, last = [], 0.0, time.monotonic()
    async with aclosing(fleet.generate(model, numbered_request(number, tokens))) as items:
        async for item in items:
            if isinstance(item, TokenScore):
                gap, last = max(gap, time.monotonic() - last), time.monotonic()
                ids.append(item.id)
                if started is not None and len(ids) == 5:
                    started.set()
            elif isinstance(item, Finish):
                return ids, item, gap
    raise AssertionError("an answer ends with a Finish")
