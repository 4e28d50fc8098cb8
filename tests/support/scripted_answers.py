"""Plays the scripts of scripted assistants, and records their requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pellucid.vocabulary.finish import Finish, FinishReason, OnUsage, Usage
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, ScoreQuery
from pellucid.vocabulary.token import Token

Item = Token | Finish | Exception | asyncio.Event | None
"""A step of a script: a token, an end, an error, an event, or None for an endless wait."""

Query = TypeVar("Query", bound=ChatQuery | CompletionQuery | ScoreQuery)


@dataclass
class Asked(Generic[Query]):
    """A request; ``given`` counts the tokens that were read, ``closed`` is set with the end."""

    query: Query
    given: int = 0
    closed: bool = False


def usage(generated: int) -> Usage:
    """Return the usage of an answer after this many tokens, at 10 tokens per second."""
    return Usage(cached=3, computed=4, generated=generated, queued=0.25, prefill=0.5, decode=max(generated - 1, 0) / 10)


async def play(
    script: Iterable[Item],
    asked: Asked[Query],
    *,
    on_usage: OnUsage | None = None,
    before: Callable[[int], Awaitable[object]] | None = None,
    usage_of: Callable[[int], Usage] = usage,
    reason: FinishReason = FinishReason.STOP,
) -> AsyncGenerator[Token | Finish]:
    """Yield the items, and an end if the script has none. Await ``before`` before each item."""
    item: Item = None
    try:
        await asyncio.sleep(0)
        for number, item in enumerate(script):
            if before is not None:
                await before(number)
            if item is None:
                await asyncio.Event().wait()
            elif isinstance(item, asyncio.Event):
                await item.wait()
            elif isinstance(item, Exception):
                raise item
            else:
                asked.given += isinstance(item, Token)
                if on_usage is not None:
                    on_usage(usage_of(asked.given))
                yield item
        if not isinstance(item, Finish):
            yield Finish(reason, usage_of(asked.given))
    finally:
        asked.closed = True
