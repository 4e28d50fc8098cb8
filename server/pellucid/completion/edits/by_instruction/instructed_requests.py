"""The running edits by instruction and explanations of code in an editor's documents."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from pellucid.completion.cancellable_requests import CancellableRequests
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.edits.by_instruction.edit_prompt import in_fence
from pellucid.completion.edits.by_instruction.edit_query import EditQuery, InstructedEdit, NewLines
from pellucid.completion.edits.by_instruction.instructed_edits import edit
from pellucid.errors import InvalidRequestError, PellucidError
from pellucid.vocabulary.finish import FinishReason
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import ChatQuery, SamplingParams
from pellucid.vocabulary.token import Token

EXPLANATION_TOKENS = 300
"""Maximum length of an explanation; a truncated explanation ends with an ellipsis."""


class InstructedRequests(CancellableRequests):
    """The requests by document. Raise InvalidRequestError if a document must not be sent."""

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
