"""The base of scripted assistants."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import NoReturn, Self

from pellucid.client.assistant_protocol import Reader
from pellucid.vocabulary.finish import Finish, OnUsage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, ScoreQuery
from pellucid.vocabulary.token import Token


class SilentAssistant(Reader):
    """Fails the test with each verb; a double overrides the needed verbs."""

    def complete(self, query: CompletionQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        _fail("complete")

    def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        _fail("chat")

    def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        _fail("score")

    async def infill_prompt(self, query: CompletionQuery) -> str:
        _fail("infill_prompt")

    async def cards(self) -> list[ModelCard]:
        _fail("cards")


@dataclass(kw_only=True)
class OwnProvider(SilentAssistant):
    """An assistant and the provider for a completer, with a count of losses."""

    losses: int = 0

    @property
    def connected(self) -> Self:
        return self

    async def client(self) -> Self:
        return self

    def lost(self, client: object) -> None:
        self.losses += 1


def _fail(verb: str) -> NoReturn:
    raise AssertionError(f"no test asks this assistant to {verb}")
