"""An assistant for a user of the server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from pellucid.client.assistant_protocol import Assistant, Reader
from pellucid.door.users import UserRequest, Users
from pellucid.vocabulary.finish import Finish, OnUsage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, ScoreQuery
from pellucid.vocabulary.token import Token

Stream = AsyncGenerator[Token | Finish]


class UserAssistant(Reader):
    """An ``Assistant`` with streams that form a single request of a user.

    The request keeps its place while any stream runs. Streams may run and be closed in different
    tasks.
    """

    def __init__(self, assistant: Assistant, users: Users, user: str) -> None:
        self._assistant = assistant
        self._request = UserRequest(users, user)
        self._running = 0

    def complete(self, query: CompletionQuery, *, on_usage: OnUsage | None = None) -> Stream:
        return self._held(lambda: self._assistant.complete(query, on_usage=on_usage))

    def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> Stream:
        return self._held(lambda: self._assistant.chat(query, on_usage=on_usage))

    def score(self, query: ScoreQuery) -> Stream:
        return self._held(lambda: self._assistant.score(query))

    async def infill_prompt(self, query: CompletionQuery) -> str:
        return await self._assistant.infill_prompt(query)

    async def cards(self) -> list[ModelCard]:
        return await self._assistant.cards()

    async def _held(self, create: Callable[[], Stream]) -> Stream:
        with self._request.as_current():  # Not longer: this generator may be continued in different tasks.
            stream = create()
        self._running += 1
        try:
            async with aclosing(stream) as items:
                async for item in items:
                    yield item
        finally:
            self._running -= 1
            if not self._running:
                self._request.end()
