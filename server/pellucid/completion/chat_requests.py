"""The running answers of an editor's chat."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from pellucid.completion.cancellable_requests import CancellableRequests
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.edits.by_instruction.edit_prompt import in_fence
from pellucid.errors import PellucidError
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import ChatQuery, SamplingParams
from pellucid.vocabulary.token import Token

ANSWER_TOKENS = 1024

CUT_OFF = f"The answer reached its limit of {ANSWER_TOKENS} tokens: write Continue for the rest."
FULL = "The answer reached the end of the model's context: delete earlier messages."
ENDED_EARLY = "The model server ended the answer early: send the message again."


class ChatRequests(CancellableRequests):
    async def answer(self, messages: Sequence[Message]) -> AsyncGenerator[str | Token | Finish]:
        """Yield the name of the model, then the tokens of an answer and the finish.

        Closing the generator cancels the answer.
        """
        self._policy.require_on()
        params = SamplingParams(max_tokens=ANSWER_TOKENS, top_logprobs=5)
        with self._cancellable("chat"):
            async with self._models.asked() as (client, card):
                yield card.name
                async with aclosing(client.chat(ChatQuery(messages, params, card.name))) as items:
                    async for item in items:
                        if isinstance(item, Finish) and item.reason is FinishReason.ERROR:
                            raise PellucidError(item.error or "The model failed at this answer; see the server log.")
                        yield item

    def attachment(self, cursor: DocumentCursor, selection: str, first: int) -> str:
        """Return a selection as Markdown for a message; lines count from ``first``.

        Raise InvalidRequestError if the document must not be sent.
        """
        self._policy.require_sendable(cursor)
        last = first + selection.removesuffix("\n").count("\n")
        lines = f"line {first}" if last == first else f"lines {first} to {last}"
        return f"{self._policy.filename(cursor.uri)}, {lines}:\n\n{in_fence(selection, cursor.language)}\n"

    @staticmethod
    def why_cut(finish: Finish) -> str | None:
        """Return a sentence for an answer that did not end by itself, else None."""
        if finish.reason is FinishReason.STOP:
            return None
        if finish.reason is FinishReason.LENGTH:
            return CUT_OFF if finish.usage.generated >= ANSWER_TOKENS else FULL
        return ENDED_EARLY
