"""The protocol of an assistant, with the same methods in this process and over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from pellucid.system.progress import Work
from pellucid.vocabulary.finish import Finish, FinishReason, OnUsage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.model_facts import ModelFacts
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, ScoreQuery
from pellucid.vocabulary.token import Token


class Reader(Protocol):
    """Scoring with the models of a server. A class with ``score`` inherits the sums."""

    def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        """Yield the tokens of a text, token ids or a conversation, with probabilities."""
        ...

    async def logprob_sums(self, query: ScoreQuery, texts: Sequence[str]) -> list[float | None]:
        """Score each text instead of the query's text, in one batch, and sum the logprobs in nats.

        The sum is `None` for a text that was not read to the end.
        """
        readings = [asyncio.create_task(_logprob_sum(self, query, text, number)) for number, text in enumerate(texts)]
        try:
            return await asyncio.gather(*readings)
        finally:
            for reading in readings:
                reading.cancel()


class Assistant(Reader, Protocol):
    """Completion, chat and scoring with the models of a server.

    Each method yields tokens, then a Finish. Closing the generator cancels the request.
    ``on_usage`` receives the cost so far, for callers that close an answer early. Before the first
    item, NotFoundError is raised for an unknown model, and InvalidRequestError or a similar error
    for an invalid query.
    """

    def complete(self, query: CompletionQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        """Continue a text, or fill a gap."""
        ...

    def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        """Answer a conversation."""
        ...

    async def infill_prompt(self, query: CompletionQuery) -> str:
        """Return an infill's prompt as the model reads the prompt, without room for an answer."""
        ...

    async def cards(self) -> list[ModelCard]:
        """Return the models of the server, with the default model first."""
        ...


LoadState = Literal["loaded", "loading", "unloading", "unloaded"]


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """A model on the server's machine.

    ``step`` is the current step of the loading. ``expires`` is the time of the unloading without a
    further request, in seconds since 1970; None: never.
    """

    name: str
    state: LoadState
    step: Work | None = None
    expires: float | None = None


class ModelLoads(Protocol):
    """Loading and unloading of a server's models."""

    async def list(self) -> list[ModelLoad]:
        """Return the served models, then the further models on the server's machine."""
        ...

    async def facts(self) -> Sequence[ModelFacts]:
        """Return the facts of the server's machine; () if the server loads no models."""
        ...

    async def load(self, name: str) -> None:
        """Load a model; if memory is short, first unload the least recently used models.

        Raises NotFoundError for an unknown model, ModelError for an unreadable model, and
        UnavailableError if there is not enough memory.
        """
        ...

    async def unload(self, name: str) -> None:
        """Unload a loaded model after the last running answer; the next request loads the model.

        Raises NotFoundError, and InvalidRequestError for a model with loaded adapters.
        """
        ...


AssistantFor = Callable[[str], Assistant]
"""Returns an assistant for an action of a user, for example an answer; the action counts as 1
request.
"""


def shared(assistant: Assistant) -> AssistantFor:
    """Return the same assistant for all users, without counting requests."""
    return lambda _: assistant


async def _logprob_sum(reader: Reader, query: ScoreQuery, text: str, number: int) -> float | None:
    if not text:
        return 0.0
    terms = query.terms
    if terms.key is not None:  # The texts of one request must not supersede each other.
        terms = replace(terms, key=f"{terms.key}:{number}")
    total = 0.0
    async with aclosing(reader.score(replace(query, text=text, terms=terms))) as items:
        async for item in items:
            if not isinstance(item, Finish):
                total += item.logprob or 0.0
            elif item.reason is not FinishReason.STOP:
                return None
    return total
