"""A model for evaluation with scripted answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from pellucid.client.assistant_protocol import Reader
from pellucid.learn.evaluate.subjects import Ability, Subject
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, ScoreQuery
from pellucid.vocabulary.token import Alternative, Token


@dataclass
class ScriptedModel(Reader):
    """Completes with ``says``, and scores characters by ``likes``, or raises ``failure``."""

    says: Callable[[str, str | None], str] = lambda prefix, suffix: ""
    likes: Callable[[str], float] = lambda text: -1.0
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    read: list[ScoreQuery] = field(default_factory=list)
    reason: FinishReason = FinishReason.STOP
    failure: Exception | None = None

    async def complete(self, query: CompletionQuery) -> AsyncGenerator[Token | Finish]:
        assert isinstance(query.prefix, str)
        self.asked.append((query.prefix, query.suffix))
        yield spoken(self.says(query.prefix, query.suffix))
        yield Finish(self.reason, Usage(computed=len(query.prefix), generated=1, prefill=0.5))

    async def chat(self, query: ChatQuery) -> AsyncGenerator[Token | Finish]:
        async for item in self.complete(CompletionQuery(query.messages[-1].content, params=query.params)):
            yield item

    async def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        self.read.append(query)
        if self.failure is not None:
            raise self.failure
        characters = (
            query.text if isinstance(query.text, str) else [chr(item) for item in query.text if isinstance(item, int)]
        )
        each = self.likes("".join(characters))
        for number, character in enumerate(characters):
            yield spoken(character, each if number else None)
        yield Finish(self.reason, Usage(computed=len(characters)))

    async def token_ids(self, text: str, *, model: str | None = None) -> list[int]:
        return [ord(character) for character in text]


def spoken(text: str, logprob: float | None = -1.0) -> Token:
    """Return a token of rank 1."""
    alternative = Alternative(1, text, text.encode(), -1.0)
    return Token(1, text, text.encode(), 0, logprob, None if logprob is None else 1, 0.5, (alternative,))


def subject(interface: ScriptedModel, *, infill: bool = True, chat: bool = False, files: bool = False) -> Subject:
    """Return the scripted model with all abilities."""
    identity = {"name": "scripted"}
    return Subject(
        "scripted",
        "a script",
        identity,
        interface,
        frozenset(Ability),
        1 << 20,
        infill,
        chat,
        parameters=1000,
        files=files,
    )
