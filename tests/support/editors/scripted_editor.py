"""Provides an assistant that edits by a script of answers to chats."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest

from pellucid.client.http_client import Client
from pellucid.client.server_health import HealthStatus, ServerHealth
from pellucid.vocabulary.finish import Finish, FinishReason, OnUsage, Usage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ChatQuery
from pellucid.vocabulary.token import Alternative, Token
from support.scripted_answers import Asked, Item, play
from support.silent_assistant import SilentAssistant


def pieces(text: str, others: Mapping[str, str] | None = None, logprob: float = -1.0) -> list[Token]:
    """Return a text as tokens: words with the preceding space, line ends and signs.

    ``others`` has alternatives for some tokens.
    """
    found = re.findall(r" ?\w+|\n|[^\w\n]", text)
    tops = [
        (Alternative(2, other, other.encode(), logprob),) if (other := (others or {}).get(one)) else () for one in found
    ]
    return [Token(1, one, one.encode(), 0, -0.5, 1, 0.25, top) for one, top in zip(found, tops, strict=True)]


@dataclass
class ScriptedEditor(SilentAssistant):
    """Answers with ``answer``.

    With ``waits`` the stream stays open after the tokens. ``others`` has alternatives for tokens of
    the answer, and ``rests`` the continuations of answers that begin with a key, unless ``later``
    ends continuations.
    """

    answer: str
    reason: FinishReason = FinishReason.STOP
    error: str | None = None
    waits: bool = False
    others: Mapping[str, str] = field(default_factory=dict)
    rests: Mapping[str, str] = field(default_factory=dict)
    other_logprob: float = -1.0
    later: FinishReason | Exception | None = None
    asked: list[ChatQuery] = field(default_factory=list)
    closed: int = 0

    async def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        self.asked.append(query)
        begun = str(query.messages[-1].content).partition("\n")[2]
        if begun and isinstance(self.later, Exception):
            raise self.later
        reason = self.later if begun and isinstance(self.later, FinishReason) else self.reason
        script: list[Item] = [*pieces(self.rests[begun] if begun else self.answer, self.others, self.other_logprob)]
        end = Finish(reason, Usage(generated=len(script)), error=self.error)
        try:
            script += [None, end] if self.waits else [end]
            async with aclosing(play(script, Asked(query), on_usage=on_usage)) as items:
                async for item in items:
                    yield item
        finally:
            self.closed += 1

    async def cards(self) -> list[ModelCard]:
        return [ModelCard("scripted", 4096)]


class LocalEditor(ScriptedEditor):
    """A scripted editor and the engine to close."""

    def close(self) -> None:
        self.closed += 1


def load_here(monkeypatch: pytest.MonkeyPatch, model: object) -> None:
    """Let commands find no server, and load this model with its engine."""

    async def nobody(client: Client) -> ServerHealth:
        return ServerHealth(HealthStatus.ABSENT)

    monkeypatch.setattr(Client, "server_health", nobody)
    monkeypatch.setattr("pellucid.serving.assemble.assemble", lambda settings, names, progress: (model, model))
