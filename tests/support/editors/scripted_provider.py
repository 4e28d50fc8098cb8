"""A scripted model server instead of the launcher and client, with recorded requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from pellucid.vocabulary.finish import Finish, FinishReason, OnUsage, Usage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import CompletionQuery, Extra, SamplingParams, Terms
from pellucid.vocabulary.token import Token
from support.silent_assistant import SilentAssistant

MODEL = "scripted"


@dataclass
class Asked:
    """A request to the server.

    ``given`` counts the answer's tokens that were read; ``closed`` is set with the end of the
    stream.
    """

    prefix: str
    suffix: str | None
    extra: tuple[Extra, ...]
    params: SamplingParams
    terms: Terms
    heal: bool | None
    given: int = 0
    closed: bool = False


@dataclass
class ScriptedProvider(SilentAssistant):
    """Answers each request with the next script, and reuses the last script.

    A script has tokens, events to wait for, and an end: a Finish, an error, or None for an endless
    stream.
    """

    scripts: list[Sequence[Token | Finish | Exception | asyncio.Event | None]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    files: bool = True
    url: str = "http://127.0.0.1:1"
    losses: int = 0

    @property
    def connected(self) -> ScriptedProvider:
        return self

    async def client(self) -> ScriptedProvider:
        return self

    def lost(self, client: object) -> None:
        self.losses += 1

    async def cards(self) -> list[ModelCard]:
        return [
            ModelCard(
                MODEL, 4096, infill=True, chat=True, weight_bytes=0, description="", licence=None, files=self.files
            )
        ]

    async def complete(
        self, query: CompletionQuery, *, on_usage: OnUsage | None = None
    ) -> AsyncGenerator[Token | Finish]:
        assert isinstance(query.prefix, str)
        asked = Asked(query.prefix, query.suffix, tuple(query.extra), query.params, query.terms, query.heal)
        self.asked.append(asked)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        try:
            await asyncio.sleep(0)
            for item in script:
                if isinstance(item, Exception):
                    raise item
                if item is None:
                    await asyncio.Event().wait()
                if isinstance(item, asyncio.Event):
                    await item.wait()
                if isinstance(item, Token):
                    asked.given += 1
                    if on_usage is not None:
                        on_usage(Usage(cached=5, computed=7, generated=asked.given, queued=0.001))
                    yield item
                elif isinstance(item, Finish):
                    yield item
            if not (script and isinstance(script[-1], Finish)):
                yield Finish(FinishReason.STOP, Usage(cached=5, computed=7, generated=asked.given))
        finally:
            asked.closed = True
