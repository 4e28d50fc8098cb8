"""A scripted speaker that reads and completes as well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field

from pellucid.tokens import CompletionQuery, Finish, FinishReason, Message, OnUsage, ScoreQuery, Token
from support.page.scripted_assistant import Item, ScriptedPageAssistant, usage

Text = str | Sequence[int] | Sequence[Message]


@dataclass
class Heard:
    """One text that was to be read, or completed. ``closed``: its stream is."""

    text: Text
    model: str | None
    closed: bool = False


@dataclass
class ScriptedReader(ScriptedPageAssistant):
    """Reads a text as the items that ``reads`` gives for it and its model, and completes one as ``says``."""

    reads: Callable[[Text, str | None], Sequence[Item]] = lambda _text, _model: ()
    says: Sequence[Item] = ()
    heard: list[Heard] = field(default_factory=list)

    def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        return self._follow(Heard(query.text, query.model), self.reads(query.text, query.model))

    def complete(self, query: CompletionQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        return self._follow(Heard(query.prefix, query.model), self.says)

    async def infill_prompt(self, query: CompletionQuery) -> str:
        return f"<suffix>{query.suffix}<prefix>{query.prefix}<middle>"

    async def _follow(self, heard: Heard, script: Sequence[Item]) -> AsyncGenerator[Token | Finish]:
        self.heard.append(heard)
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
            heard.closed = True
