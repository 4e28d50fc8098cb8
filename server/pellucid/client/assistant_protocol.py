"""Defines the protocol of an assistant: the same verbs in this process and at the other end of HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from pellucid.tokens import ChatQuery, CompletionQuery, Finish, ModelCard, OnUsage, ScoreQuery, Token


class Assistant(Protocol):
    """Completes, chats and scores with the models of one server.

    Each verb yields tokens, then one Finish. Closing the generator cancels the request. The verbs
    that generate call ``on_usage`` with the cost so far as tokens come, for callers that close an
    answer before its Finish. Before the first item they raise NotFoundError for an unknown model,
    and InvalidRequestError and its kin for a query that cannot be served.
    """

    def complete(self, query: CompletionQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        """Continue a text, or fill a gap."""
        ...

    def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        """Answer a conversation."""
        ...

    def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        """Read a text, token ids or a conversation: yield its own tokens with their probabilities."""
        ...

    async def infill_prompt(self, query: CompletionQuery) -> str:
        """Return the prompt of an infill as the model reads it, its markers included, with no room left for an answer."""
        ...

    async def cards(self) -> list[ModelCard]:
        """Return the models that are served, the default one first."""
        ...


AssistantFor = Callable[[str], Assistant]
"""Returns an assistant for one action of a user, such as an answer or a comparison, whose use of
models counts as one request.
"""


def shared(assistant: Assistant) -> AssistantFor:
    """Return the same assistant for all users: their use of models is not counted here."""
    return lambda _: assistant
