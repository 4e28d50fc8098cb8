"""Provides an assistant with scripted answers and recorded requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from pellucid.vocabulary.finish import Finish, FinishReason, OnUsage, Usage
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ChatQuery, SamplingParams
from pellucid.vocabulary.token import Alternative, Token
from support.silent_assistant import SilentAssistant

MODEL = "scripted"

Item = Token | Finish | Exception | asyncio.Event | None
"""A step of a script: a token, an end, an error, an event, or None for an endless wait."""


def token(text: str, id: int = 1, *others: str, data: bytes | None = None) -> Token:
    """Return a token of rank 1, with the token and ``others`` as alternatives."""
    data = text.encode() if data is None else data
    alternatives = [Alternative(id, text, data, -0.25)]
    alternatives += [Alternative(id + 100 * n, other, other.encode(), -1.5 - n) for n, other in enumerate(others, 1)]
    return Token(id, text, data, 0, -0.25, 1, 0.5, tuple(alternatives), rest=0.05, sampled=0.75)


def tokens(*texts: str) -> list[Token]:
    """Return tokens with the alternative "other" each."""
    return [token(text, id, " other") for id, text in enumerate(texts, 1)]


@dataclass
class ChatRequest:
    """A chat request; ``closed`` is set with the end of the stream."""

    messages: list[Message]
    params: SamplingParams
    model: str | None
    continue_last: bool
    query: ChatQuery
    closed: bool = False


@dataclass
class ScriptedPageAssistant(SilentAssistant):
    """Answers each chat with the next script, and reuses the last script."""

    scripts: list[Sequence[Item]] = field(default_factory=list)
    chat_requests: list[ChatRequest] = field(default_factory=list)

    async def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        request = ChatRequest(list(query.messages), query.params, query.model, query.continue_last, query)
        self.chat_requests.append(request)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        generated = 0
        try:
            for item in script:
                if item is None:
                    await asyncio.Event().wait()
                elif isinstance(item, asyncio.Event):
                    await item.wait()
                elif isinstance(item, Exception):
                    raise item
                else:
                    generated += isinstance(item, Token)
                    if on_usage is not None:
                        on_usage(usage(generated))
                    yield item
            if not (script and isinstance(script[-1], Finish)):
                yield Finish(FinishReason.STOP, usage(generated))
        finally:
            request.closed = True

    async def cards(self) -> list[ModelCard]:
        return [
            ModelCard(
                name=MODEL, context=64, infill=True, chat=True, weight_bytes=1, description="scripted", licence=None
            )
        ]


def usage(generated: int) -> Usage:
    """Return the usage of an answer after this many tokens, at 10 tokens per second."""
    return Usage(cached=3, computed=4, generated=generated, queued=0.25, prefill=0.5, decode=max(generated - 1, 0) / 10)
