"""Serves OpenAI's /v1/responses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, Literal

from fastapi import APIRouter, Request
from starlette.responses import Response

from pellucid.api.generation.answer_blocks import AnswerBlock, AnswerBlocks, BlockStep
from pellucid.api.generation.answer_params import answer_params
from pellucid.api.generation.generated_answer import Items
from pellucid.api.generation.generation_job import GenerationJob
from pellucid.api.generation.request_fields import end_details, finish_word, reply_id, terms_of
from pellucid.api.generation.response_items import conversation, ignored_parts
from pellucid.api.generation.response_reply import error_code, output_message, response_reply
from pellucid.api.generation.token_logprobs import token_logprobs
from pellucid.api.json_body import JsonRoute
from pellucid.api.openapi_extras import GENERATION_ERRORS, named_stream_or
from pellucid.api.schema.answer_fields import AnswerDetails, answer_details
from pellucid.api.schema.common import MAX_TOKENS
from pellucid.api.schema.responses import LOGPROBS, IncompleteDetails, OutputMessage, ResponseError, ResponseReply, ResponsesRequest
from pellucid.api.server_state import state_of
from pellucid.api.sse import NAMED_SSE, Event, ended_stream, json_response
from pellucid.errors import ContextLengthError, InvalidRequestError, PellucidError
from pellucid.text.assistant import LocalAssistant
from pellucid.tokens import ChatQuery, Finish, ModelCard, OnUsage, Priority, Token

router = APIRouter(tags=["OpenAI"], route_class=JsonRoute)


@router.post("/v1/responses", responses={200: named_stream_or(ResponseReply), **GENERATION_ERRORS})
async def responses(body: ResponsesRequest, request: Request) -> Response:
    """Answer a conversation, with OpenAI's newer shapes and events.

    Nothing is stored: ``input`` holds the whole conversation. With ``include: ["message.output_text.logprobs"]`` each token has its
    logprob and in ``pellucid`` its rank, the entropy of the choice and more. ``pellucid`` of the response names the fields that had no
    effect, and the exact reason why the answer ended. In a stream a conversation that does not fit the context is the event
    ``response.failed`` with the code ``context_length_exceeded``, and other errors before the first token have their own status.
    """
    if body.top_logprobs and LOGPROBS not in body.include:
        raise InvalidRequestError(f'top_logprobs is only allowed together with include: ["{LOGPROBS}"].', param="top_logprobs")
    assistant, card = state_of(request).find(body.model, strict=body.strict_model)
    job = _ResponseJob(request, assistant, card, body)
    try:
        return await job.respond(stream=body.stream, format=job.format)
    except ContextLengthError as error:
        if not body.stream:
            raise
        return ended_stream((*job.begin(), job.failure(error)), job.format)


class _ResponseJob(GenerationJob):
    """A conversation with one answer."""

    def __init__(self, request: Request, assistant: LocalAssistant, card: ModelCard, body: ResponsesRequest) -> None:
        super().__init__(request, assistant, card, 1)
        self.format = replace(NAMED_SSE, error=self.failure)
        self._body = body
        self._ignored = ignored_parts(body, card)
        self._id = reply_id("resp")
        self._message_ids: list[str] = []
        self._created = int(time.time())
        self._blocks = AnswerBlocks()
        self._numbers = count()

    def ask(self, number: int, on_usage: OnUsage | None) -> Items:
        body = self._body
        params = answer_params(body, body.max_output_tokens or MAX_TOKENS, body.top_logprobs)
        query = ChatQuery(conversation(body), params, self.model, terms=terms_of(body, self.request, Priority.CHAT, number))
        return self.assistant.chat(query, on_usage=on_usage)

    async def whole(self) -> Response:
        return await asyncio.to_thread(self._whole_response)

    def _whole_response(self) -> Response:
        self._blocks.read(self.answers[0].tokens)
        return json_response(self._ended(self.answers[0].end))

    async def first_part(self, number: int) -> Event:
        return self.begin()

    def begin(self) -> tuple[Mapping[str, Any], ...]:
        """Return the events with which a stream begins."""
        begun = self._reply("in_progress", answer_details(self._ignored)).model_dump()
        return self._event("response.created", response=begun), self._event("response.in_progress", response=begun)

    def part(self, number: int, token: Token) -> Event:
        return tuple(event for step in self._blocks.feed(token) for event in self._step_events(step))

    async def last_part(self, number: int, finish: Finish) -> Event:
        return await asyncio.to_thread(self._last_events, finish)

    def _last_events(self, finish: Finish) -> Event:
        steps = [event for step in self._blocks.finish() for event in self._step_events(step, finish)]
        reply = self._ended(finish)
        return (*steps, self._event(f"response.{reply.status}", response=reply.model_dump()))

    def failure(self, error: PellucidError) -> dict[str, Any]:
        """Return the event of an error in a stream."""
        failed = self._reply("failed", answer_details(self._ignored), error=ResponseError(code=error_code(error), message=str(error)))
        return self._event("response.failed", response=failed.model_dump())

    def _step_events(self, step: BlockStep, finish: Finish | None = None) -> Sequence[Mapping[str, Any]]:
        block, index = step.block, step.block.index
        if step.kind == "open":
            return [
                self._event("response.output_item.added", output_index=index, item=self._item(block, "in_progress").model_dump()),
                self._event("response.content_part.added", part=_part(""), **self._place(block)),
            ]
        if step.kind == "add":
            return [self._delta(step)]
        events = []
        if step.tokens and self._wants_logprobs:
            events.append(self._delta(step))
        item = self._item(block, _status(finish))
        part = item.content[0].model_dump()
        return [
            *events,
            self._event("response.output_text.done", text=part["text"], logprobs=part["logprobs"], **self._place(block)),
            self._event("response.content_part.done", part=part, **self._place(block)),
            self._event("response.output_item.done", output_index=index, item=item.model_dump()),
        ]

    def _delta(self, step: BlockStep) -> dict[str, Any]:
        logprobs = self._logprobs(step.tokens)
        return self._event("response.output_text.delta", delta=step.text, logprobs=logprobs, **self._place(step.block))

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        return {"type": kind, "sequence_number": next(self._numbers), **fields}

    def _place(self, block: AnswerBlock) -> dict[str, Any]:
        return {"item_id": self._message_id(block), "output_index": block.index, "content_index": 0}

    def _item(self, block: AnswerBlock, status: Literal["in_progress", "completed", "incomplete"]) -> OutputMessage:
        logprobs = token_logprobs(block.tokens) if self._wants_logprobs else []
        return output_message(self._message_id(block), block, status, logprobs)

    def _message_id(self, block: AnswerBlock) -> str:
        while len(self._message_ids) <= block.index:
            self._message_ids.append(reply_id("msg"))
        return self._message_ids[block.index]

    @property
    def _wants_logprobs(self) -> bool:
        return LOGPROBS in self._body.include

    def _logprobs(self, tokens: Sequence[Token]) -> list[dict[str, Any]]:
        return [entry.model_dump() for entry in token_logprobs(tokens)] if self._wants_logprobs else []

    def _ended(self, finish: Finish) -> ResponseReply:
        output = [self._item(block, _status(finish)) for block in self._blocks.blocks]
        details = answer_details(self._ignored, end_details(finish))
        return self._reply(_status(finish), details, output=output, finish=finish)

    def _reply(
        self,
        status: Literal["in_progress", "completed", "incomplete", "failed"],
        details: AnswerDetails | None,
        **fields: Any,
    ) -> ResponseReply:
        incomplete = IncompleteDetails() if status == "incomplete" else None
        return response_reply(
            self._body, self._id, self._created, self.model, status, incomplete_details=incomplete, pellucid=details, **fields
        )


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _status(finish: Finish | None) -> Literal["completed", "incomplete"]:
    return "completed" if finish is None or finish_word(finish) == "stop" else "incomplete"
