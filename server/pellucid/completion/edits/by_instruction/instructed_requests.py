"""The running edits by instruction and explanations of code in an editor's documents."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any

from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.edits.by_instruction.edit_prompt import in_fence
from pellucid.completion.edits.by_instruction.edit_query import EditQuery, InstructedEdit, NewLines
from pellucid.completion.edits.by_instruction.instructed_edits import edit
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.sending_policy import SendingPolicy
from pellucid.errors import InvalidRequestError, PellucidError
from pellucid.vocabulary.finish import FinishReason
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import ChatQuery, SamplingParams
from pellucid.vocabulary.token import Token

ENDED = "The request was ended because the document was closed or a setting was changed: ask again."

EXPLANATION_TOKENS = 300
"""Maximum length of an explanation; a truncated explanation ends with an ellipsis."""


class InstructedRequests:
    """The requests by document. Raise InvalidRequestError if a document must not be sent."""

    def __init__(self, models: ModelChoice, policy: SendingPolicy) -> None:
        self._models = models
        self._policy = policy
        self._running: dict[str, set[asyncio.Task[Any]]] = {}

    async def edit(self, cursor: DocumentCursor, query: EditQuery) -> AsyncGenerator[NewLines | InstructedEdit]:
        """Yield the new lines of an edit by instruction, then the complete edit."""
        self._policy.require_sendable(cursor)
        with self._cancellable(cursor.uri):
            async with (
                self._models.asked() as (client, card),
                aclosing(edit(client, replace(query, model=card.name))) as items,
            ):
                async for item in items:
                    yield item

    async def explain(self, cursor: DocumentCursor, query: EditQuery) -> str:
        self._policy.require_sendable(cursor)
        code = in_fence(query.selection, query.language)
        asked = Message("user", f"Explain this code in a few sentences.\n\n{code}")
        params, text = SamplingParams(max_tokens=EXPLANATION_TOKENS), ""
        with self._cancellable(cursor.uri):
            async with (
                self._models.asked() as (client, card),
                aclosing(client.chat(ChatQuery([asked], params, card.name, terms=query.terms))) as items,
            ):
                async for item in items:
                    if isinstance(item, Token):
                        text += item.text
                    elif item.reason is FinishReason.ERROR:
                        raise PellucidError(item.error or "The model failed at this answer; see the server log.")
                    elif item.reason is FinishReason.SUPERSEDED:
                        raise InvalidRequestError("Another request replaced this one: ask again.")
                    elif item.reason is not FinishReason.STOP:
                        text = f"{text.rstrip()} \u2026"
        if not text.strip():
            raise InvalidRequestError("The model wrote nothing: select other lines.")
        return text.strip()

    def cancel(self, uri: str) -> None:
        running = self._running.pop(uri, set())
        while running:
            running.pop().cancel()

    def cancel_all(self) -> None:
        for uri in list(self._running):
            self.cancel(uri)

    @contextmanager
    def _cancellable(self, uri: str) -> Iterator[None]:
        """Raise InvalidRequestError, not CancelledError, if ``cancel`` ends the current task."""
        task = asyncio.current_task()
        assert task is not None
        running = self._running.setdefault(uri, set())
        running.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if task in running:
                raise
            task.uncancel()
            raise InvalidRequestError(ENDED) from None
        finally:
            running.discard(task)
