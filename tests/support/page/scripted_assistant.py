"""Provides assistants with scripted answers for the page, and recorded requests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field

from pellucid.vocabulary.finish import Finish, OnUsage
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, ScoreQuery
from pellucid.vocabulary.token import Alternative, Token
from pellucid_webui.conversations.turn import Turn
from support.scripted_answers import Asked, Item, play
from support.silent_assistant import SilentAssistant

MODEL = "scripted"

Text = str | Sequence[int] | Sequence[Message]


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
class ScriptedPageAssistant(SilentAssistant):
    """Answers each chat with the next script, and reuses the last script.

    Scores a text with the items from ``reads``, and completes a text with ``says``.
    """

    scripts: list[Sequence[Item]] = field(default_factory=list)
    reads: Callable[[Text, str | None], Sequence[Item]] | None = None
    says: Sequence[Item] | None = None
    names: Sequence[str] = (MODEL,)
    chats: list[Asked[ChatQuery]] = field(default_factory=list)
    readings: list[Asked[ScoreQuery]] = field(default_factory=list)

    def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        self.chats.append(Asked(query))
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        return play(script, self.chats[-1], on_usage=on_usage)

    def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        if self.reads is None:
            return super().score(query)
        self.readings.append(Asked(query))
        return play(self.reads(query.text, query.model), self.readings[-1])

    def complete(self, query: CompletionQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        if self.says is None:
            return super().complete(query)
        return play(self.says, Asked(query), on_usage=on_usage)

    async def infill_prompt(self, query: CompletionQuery) -> str:
        return f"<suffix>{query.suffix}<prefix>{query.prefix}<middle>"

    async def cards(self) -> list[ModelCard]:
        return [ModelCard(name, context=64, description="scripted") for name in self.names]


@dataclass
class TwoModels(ScriptedPageAssistant):
    """A large and a small model."""

    names: Sequence[str] = ("large", "small")


def last_message(text: Text) -> str:
    """Return the text of the last of the messages."""
    assert not isinstance(text, str)
    last = text[-1]
    assert isinstance(last, Message)
    return last.content


async def ended(turn: Turn) -> Turn:
    async for _ in turn.updates():
        pass
    return turn
