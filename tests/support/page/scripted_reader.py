"""Provides a scripted assistant that also scores and completes texts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field

from pellucid.vocabulary.finish import Finish, FinishReason, OnUsage
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import CompletionQuery, ScoreQuery
from pellucid.vocabulary.token import Token
from support.page.scripted_assistant import Item, ScriptedPageAssistant, usage

Text = str | Sequence[int] | Sequence[Message]


@dataclass
class ReadRequest:
    """A text to score or complete; ``closed`` is set with the end of the stream."""

    text: Text
    model: str | None
    closed: bool = False


@dataclass
class ScriptedReader(ScriptedPageAssistant):
    """Scores a text with the items from ``reads``, and completes a text with ``says``."""

    reads: Callable[[Text, str | None], Sequence[Item]] = lambda _text, _model: ()
    says: Sequence[Item] = ()
    read_requests: list[ReadRequest] = field(default_factory=list)

    def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        return self._follow(ReadRequest(query.text, query.model), self.reads(query.text, query.model))

    def complete(self, query: CompletionQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        return self._follow(ReadRequest(query.prefix, query.model), self.says)

    async def infill_prompt(self, query: CompletionQuery) -> str:
        return f"<suffix>{query.suffix}<prefix>{query.prefix}<middle>"

    async def _follow(self, request: ReadRequest, script: Sequence[Item]) -> AsyncGenerator[Token | Finish]:
        self.read_requests.append(request)
        try:
            for item in script:
                if item is None:
                    await asyncio.Event().wait()
                elif isinstance(item, asyncio.Event):
                    await item.wait()
                elif isinstance(item, Exception):
                    raise item
                else:
                    yield item
            if not (script and isinstance(script[-1], Finish)):
                yield Finish(FinishReason.STOP, usage(len(script)))
        finally:
            request.closed = True


@dataclass
class TwoModels(ScriptedReader):
    """A reader with a large and a small model."""

    async def cards(self) -> list[ModelCard]:
        return [
            ModelCard(name=name, context=64, infill=True, chat=True, weight_bytes=1, description="", licence=None)
            for name in ("large", "small")
        ]


def last_message(text: Text) -> str:
    """Return the text of the last of the messages."""
    assert not isinstance(text, str)
    last = text[-1]
    assert isinstance(last, Message)
    return last.content
