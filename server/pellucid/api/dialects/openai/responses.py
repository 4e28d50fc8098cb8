"""OpenAI's /v1/responses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, Literal

from fastapi import APIRouter, Request
from starlette.responses import Response

from pellucid.api.dialects.openai.response_items import (
    conversation,
    ignored_parts,
    offered_tools,
    requested_reasoning,
    responses_grammar,
    tool_choice,
)
from pellucid.api.dialects.openai.response_reply import (
    ItemStatus,
    OutputItem,
    error_code,
    output_item,
    output_text,
    response_reply,
)
from pellucid.api.dialects.openai.responses_schema import (
    LOGPROBS,
    IncompleteDetails,
    OutputCall,
    OutputReasoning,
    ResponseError,
    ResponseReply,
    ResponsesRequest,
)
from pellucid.api.generation.answer_blocks import AnswerBlock, AnswerBlocks, BlockStep
from pellucid.api.generation.generated_answer import Items
from pellucid.api.generation.generation_job import GenerationJob
from pellucid.api.generation.reasoning import reasoning_count
from pellucid.api.generation.request_fields import answer_params, finish_word, reply_id, terms_of
from pellucid.api.generation.token_logprobs import token_logprobs
from pellucid.api.generation.tool_calls import answer_end
from pellucid.api.openapi_extras import GENERATION_ERRORS, named_stream_or
from pellucid.api.schema.answer_fields import AnswerDetails, EndDetails, answer_details
from pellucid.api.schema.sampling import MAX_TOKENS
from pellucid.api.server_state import state_of
from pellucid.client.token_json import record_of
from pellucid.door.event_stream import NAMED_SSE, Event, ended_stream, json_response
from pellucid.door.json_body import JsonRoute
from pellucid.errors import ContextLengthError, InvalidRequestError, PellucidError
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.finish import Finish, OnUsage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ChatQuery, Priority
from pellucid.vocabulary.token import Token

router = APIRouter(tags=["OpenAI"], route_class=JsonRoute)


@router.post("/v1/responses", responses={200: named_stream_or(ResponseReply), **GENERATION_ERRORS})
async def responses(body: ResponsesRequest, request: Request) -> Response:
    """Answer a conversation, with OpenAI's newer shapes and events.

    Nothing is stored: ``input`` holds the whole conversation. With ``include:
    ["message.output_text.logprobs"]``, each token has its logprob, and in ``pellucid`` the rank,
    the entropy of the choice and more. ``pellucid`` of the response names the fields without
    effect, and the exact reason why the answer ended. In a stream, a conversation that does not fit
    the context causes the event ``response.failed`` with the code ``context_length_exceeded``.
    Other errors before the first token have their own status.
    """
    if body.top_logprobs and LOGPROBS not in body.include:
        raise InvalidRequestError(
            f'top_logprobs is only allowed together with include: ["{LOGPROBS}"].', param="top_logprobs"
        )
    assistant, card = await state_of(request).find(body.model, strict=body.strict_model)
    job = _ResponseJob(request, assistant, card, body)
    try:
        return await job.respond(stream=body.stream, format=job.format)
    except ContextLengthError as error:
        if not body.stream:
            raise
        return ended_stream((*job.begin(), job.failure(error)), job.format)


class _ResponseJob(GenerationJob):
    def __init__(self, request: Request, assistant: LocalAssistant, card: ModelCard, body: ResponsesRequest) -> None:
        super().__init__(request, assistant, card, 1)
        self.format = replace(NAMED_SSE, error=self.failure)
        self._body = body
        self._grammar = responses_grammar(body)
        self._ignored = ignored_parts(body, card)
        self._id = reply_id("resp")
        self._item_ids: dict[int, str] = {}
        self._created = int(time.time())
        self._blocks = AnswerBlocks()
        self._numbers = count()

    def ask(self, number: int, on_usage: OnUsage | None) -> Items:
        body = self._body
        params = answer_params(body, body.max_output_tokens or MAX_TOKENS, body.top_logprobs)
        query = ChatQuery(
            conversation(body),
            params,
            self.model,
            terms=terms_of(body, self.request, Priority.CHAT, number),
            tools=offered_tools(body),
            tool_choice=tool_choice(body),
            parallel_tool_calls=body.parallel_tool_calls,
            grammar=self._grammar,
            with_fields=self._wants_logprobs,
            reasoning=requested_reasoning(body, self.card),
        )
        return self.assistant.chat(query, on_usage=on_usage)

    async def whole(self) -> Response:
        return await asyncio.to_thread(self._whole_response, await answer_end(self.answers[0]))

    def _whole_response(self, end: EndDetails) -> Response:
        self._blocks.read(self.answers[0].tokens)
        return json_response(self._ended(self.answers[0].end, end))

    async def first_part(self, number: int) -> Event:
        return self.begin()

    def begin(self) -> tuple[Mapping[str, Any], ...]:
        begun = self._reply("in_progress", answer_details(self._ignored)).model_dump()
        return self._event("response.created", response=begun), self._event("response.in_progress", response=begun)

    def part(self, number: int, token: Token) -> Event:
        return tuple(event for step in self._blocks.feed(token) for event in self._step_events(step))

    async def last_part(self, number: int, finish: Finish) -> Event:
        return await asyncio.to_thread(self._last_events, finish, await answer_end(self.answers[0]))

    def _last_events(self, finish: Finish, end: EndDetails) -> Event:
        steps = [event for step in self._blocks.finish() for event in self._step_events(step, finish)]
        reply = self._ended(finish, end)
        return (*steps, self._event(f"response.{reply.status}", response=reply.model_dump()))

    def failure(self, error: PellucidError) -> dict[str, Any]:
        failed = self._reply(
            "failed", answer_details(self._ignored), error=ResponseError(code=error_code(error), message=str(error))
        )
        return self._event("response.failed", response=failed.model_dump())

    def _step_events(self, step: BlockStep, finish: Finish | None = None) -> Sequence[Mapping[str, Any]]:
        block, place = step.block, {"output_index": step.block.index}
        if step.kind == "open":
            added = self._event(
                "response.output_item.added", item=self._item(block, "in_progress").model_dump(), **place
            )
            return (
                [added]
                if block.call or block.is_reasoning
                else [added, self._content("response.content_part.added", block, part=output_text("", ()).model_dump())]
            )
        if step.kind == "add":
            return [self._delta(step)]
        events = [self._delta(step)] if step.tokens and self._wants_logprobs else []
        item = self._item(block, _status(finish))
        if isinstance(item, OutputCall):
            done = {"item_id": item.id, "name": item.name, "arguments": item.arguments}
            events.append(self._event("response.function_call_arguments.done", **done, **place))
        elif isinstance(item, OutputReasoning):
            events.append(self._content("response.reasoning_text.done", block, text=block.text))
        else:
            part = item.content[0].model_dump()
            events.append(
                self._content("response.output_text.done", block, text=part["text"], logprobs=part["logprobs"])
            )
            events.append(self._content("response.content_part.done", block, part=part))
        return [*events, self._event("response.output_item.done", item=item.model_dump(), **place)]

    def _delta(self, step: BlockStep) -> dict[str, Any]:
        block, tokens = step.block, step.tokens if self._wants_logprobs else ()
        if block.call is None and not block.is_reasoning:
            logprobs = [entry.model_dump() for entry in token_logprobs(tokens)]
            return self._content("response.output_text.delta", block, delta=step.text, logprobs=logprobs)
        place = {"item_id": self._item_id(block), "output_index": block.index}
        details = {"pellucid": {"tokens": [record_of(token) for token in tokens]}} if tokens else {}
        if block.is_reasoning:
            return self._content("response.reasoning_text.delta", block, delta=step.text, **details)
        return self._event("response.function_call_arguments.delta", delta=step.text, **place, **details)

    def _content(self, kind: str, block: AnswerBlock, **fields: Any) -> dict[str, Any]:
        return self._event(kind, item_id=self._item_id(block), output_index=block.index, content_index=0, **fields)

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        return {"type": kind, "sequence_number": next(self._numbers), **fields}

    def _item(self, block: AnswerBlock, status: ItemStatus) -> OutputItem:
        return output_item(self._item_id(block), block, status, logprobs=self._wants_logprobs)

    def _item_id(self, block: AnswerBlock) -> str:
        if block.index not in self._item_ids:
            self._item_ids[block.index] = reply_id("rs" if block.is_reasoning else "fc" if block.call else "msg")
        return self._item_ids[block.index]

    @property
    def _wants_logprobs(self) -> bool:
        return LOGPROBS in self._body.include

    def _ended(self, finish: Finish, end: EndDetails) -> ResponseReply:
        output = [self._item(block, _status(finish)) for block in self._blocks.blocks]
        reasoning = reasoning_count(self.answers[0].tokens)
        details = answer_details(self._ignored, end)
        return self._reply(_status(finish), details, output=output, finish=finish, reasoning_tokens=reasoning)

    def _reply(
        self,
        status: Literal["in_progress", "completed", "incomplete", "failed"],
        details: AnswerDetails | None,
        **fields: Any,
    ) -> ResponseReply:
        incomplete = IncompleteDetails() if status == "incomplete" else None
        return response_reply(
            self._body,
            self._id,
            self._created,
            self.model,
            status,
            incomplete_details=incomplete,
            pellucid=details,
            **fields,
        )


def _status(finish: Finish | None) -> Literal["completed", "incomplete"]:
    return "completed" if finish is None or finish_word(finish) == "stop" else "incomplete"
