"""A scripted model server instead of the launcher and client, with recorded requests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from pellucid.vocabulary.finish import Finish, OnUsage, Usage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import CompletionQuery
from pellucid.vocabulary.token import Token
from support.scripted_answers import Asked, Item, play
from support.silent_assistant import OwnProvider

MODEL = "scripted"


@dataclass
class ScriptedProvider(OwnProvider):
    """Answers each request with the next script, and reuses the last script."""

    scripts: list[Sequence[Item]] = field(default_factory=list)
    asked: list[Asked[CompletionQuery]] = field(default_factory=list)
    files: bool = True
    url: str = "http://127.0.0.1:1"

    async def cards(self) -> list[ModelCard]:
        return [ModelCard(MODEL, 4096, files=self.files)]

    def complete(self, query: CompletionQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        self.asked.append(Asked(query))
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        return play(script, self.asked[-1], on_usage=on_usage, usage_of=_usage)


def _usage(generated: int) -> Usage:
    return Usage(cached=5, computed=7, generated=generated, queued=0.001)
