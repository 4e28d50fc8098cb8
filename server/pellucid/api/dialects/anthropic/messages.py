"""Anthropic's /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from pellucid.api.dialects.anthropic.conversation import chat_query, ignored_parts, messages_grammar
from pellucid.api.dialects.anthropic.messages_schema import (
    ANTHROPIC_GENERATION_ERRORS,
    ANTHROPIC_TEXT_ERRORS,
    BlockDetails,
    CountRequest,
    MessageReply,
    MessagesRequest,
    MessageUsage,
    StopWord,
    TextAnswer,
    ThinkingAnswer,
    TokenCount,
    ToolUseAnswer,
)
from pellucid.api.generation.answer_blocks import AnswerBlock, AnswerBlocks, BlockStep
from pellucid.api.generation.generated_answer import Items
from pellucid.api.generation.generation_job import GenerationJob
from pellucid.api.generation.request_fields import answer_params, finish_word, reply_id, terms_of, usage_details
from pellucid.api.generation.tool_calls import answer_end, call_input, has_call
from pellucid.api.openapi_extras import named_stream_or
from pellucid.api.schema.answer_fields import EndDetails, answer_details
from pellucid.api.server_state import state_of
from pellucid.client.token_json import record_of
from pellucid.door.error_replies import anthropic_error
from pellucid.door.event_stream import NAMED_SSE, Event, json_response
from pellucid.door.json_body import JsonRoute
from pellucid.errors import InvalidRequestError
from pellucid.text.assistant import LocalAssistant
from pellucid.text.query_ids import chat_prompt
from pellucid.vocabulary.finish import Finish, FinishReason, OnUsage, Usage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import Priority
from pellucid.vocabulary.token import Token

router = APIRouter(tags=["Anthropic"], route_class=JsonRoute)

FORMAT = replace(NAMED_SSE, error=anthropic_error)


@router.post("/v1/messages", responses={200: named_stream_or(MessageReply), **ANTHROPIC_GENERATION_ERRORS})
async def messages(body: MessagesRequest, request: Request) -> Response:
    """Answer a conversation, with Anthropic's shapes, events and errors.

    With ``logprobs``, the field ``pellucid.tokens`` of each block (in a stream, of each delta) has
    the tokens with their probability, rank and more. ``pellucid`` of the message names the fields
    without effect, and the exact reason why the answer ended.
    """
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidRequestError("top_logprobs is only allowed together with logprobs: true.", param="top_logprobs")
    assistant, card = await state_of(request).find(body.model, strict=body.strict_model)
    return await _MessageJob(request, assistant, card, body).respond(stream=body.stream, format=FORMAT)


@router.post("/v1/messages/count_tokens", responses={200: {"model": TokenCount}, **ANTHROPIC_TEXT_ERRORS})
async def count_tokens(body: CountRequest, request: Request) -> Response:
    """Count the tokens of a conversation, including the chat template.

    The limit is 4,194,304 characters.
    """
    assistant, card = await state_of(request).find(body.model, strict=body.strict_model)
    prompt = await chat_prompt(assistant.models.find(card.name), chat_query(body, card))
    return json_response(TokenCount(input_tokens=len(prompt.ids), pellucid=answer_details(ignored_parts(body, card))))


class _MessageJob(GenerationJob):
    def __init__(self, request: Request, assistant: LocalAssistant, card: ModelCard, body: MessagesRequest) -> None:
        super().__init__(request, assistant, card, 1, usage_on_the_way=True)
        self._body = body
        self._grammar = messages_grammar(body)
        self._ignored = ignored_parts(body, card)
        self._id = reply_id("msg")
        self._blocks = AnswerBlocks()

    def ask(self, number: int, on_usage: OnUsage | None) -> Items:
        body = self._body
        query = replace(
            chat_query(body, self.card),
            params=answer_params(body, body.max_tokens, body.top_logprobs),
            stop=body.stop_sequences,
            terms=terms_of(body, self.request, Priority.CHAT, number),
            grammar=self._grammar,
            with_fields=body.logprobs,
        )
        return self.assistant.chat(query, on_usage=on_usage)

    async def whole(self) -> Response:
        return await asyncio.to_thread(self._whole_response, await answer_end(self.answers[0]))

    def _whole_response(self, end: EndDetails) -> Response:
        answer = self.answers[0]
        content = [self._content(block) for block in self._blocks.read(answer.tokens)]
        return json_response(
            MessageReply(
                id=self._id,
                model=self.model,
                content=content,
                stop_reason=self._stop_word(answer.end),
                stop_sequence=answer.end.stop,
                usage=_usage(answer.end.usage, answer.end.first_difference),
                pellucid=answer_details(self._ignored, end),
            )
        )

    async def first_part(self, number: int) -> Event:
        answer = self.answers[0]
        usage = answer.usage if answer.finish is None else answer.finish.usage
        message = MessageReply(
            id=self._id,
            model=self.model,
            content=[],
            stop_reason=None,
            stop_sequence=None,
            usage=_usage(usage or Usage()),
            pellucid=answer_details(self._ignored),
        )
        return {"type": "message_start", "message": message.model_dump()}, {"type": "ping"}

    def part(self, number: int, token: Token) -> Event:
        return tuple(event for step in self._blocks.feed(token) for event in self._step_events(step))

    async def last_part(self, number: int, finish: Finish) -> Event:
        steps = [event for step in self._blocks.finish() for event in self._step_events(step)]
        end = {
            "type": "message_delta",
            "delta": {"stop_reason": self._stop_word(finish), "stop_sequence": finish.stop},
            "usage": _usage(finish.usage, finish.first_difference).model_dump(),
            "pellucid": (await answer_end(self.answers[0])).model_dump(),
        }
        return (*steps, end, {"type": "message_stop"})

    def _step_events(self, step: BlockStep) -> Sequence[Mapping[str, Any]]:
        index = step.block.index
        if step.kind == "open":
            return [
                {"type": "content_block_start", "index": index, "content_block": self._content(step.block).model_dump()}
            ]
        events: list[Mapping[str, Any]] = []
        if step.text or (step.tokens and self._body.logprobs):
            details = self._block_details(step.tokens)
            added = {} if details is None else {"pellucid": details.model_dump()}
            if step.block.call is not None:
                delta = {"type": "input_json_delta", "partial_json": step.text}
            elif step.block.is_reasoning:
                delta = {"type": "thinking_delta", "thinking": step.text}
            else:
                delta = {"type": "text_delta", "text": step.text}
            events.append({"type": "content_block_delta", "index": index, "delta": delta, **added})
        return [*events, {"type": "content_block_stop", "index": index}] if step.kind == "close" else events

    def _block_details(self, tokens: Sequence[Token]) -> BlockDetails | None:
        return BlockDetails(tokens=[record_of(token) for token in tokens]) if self._body.logprobs and tokens else None

    def _content(self, block: AnswerBlock) -> TextAnswer | ThinkingAnswer | ToolUseAnswer:
        details = self._block_details(block.tokens)
        if block.is_reasoning:
            return ThinkingAnswer(thinking=block.text, pellucid=details)
        if block.call is None:
            return TextAnswer(text=block.text, pellucid=details)
        return ToolUseAnswer(
            id=block.call.id or "", name=block.call.name or "", input=call_input(block.text), pellucid=details
        )

    def _stop_word(self, finish: Finish) -> StopWord:
        if finish.reason is FinishReason.LENGTH and finish.usage.generated < self._body.max_tokens:
            return "model_context_window_exceeded"
        if finish_word(finish) == "length":
            return "max_tokens"
        if has_call(self.answers[0].tokens):
            return "tool_use"
        return "stop_sequence" if finish.stop is not None else "end_turn"


def _usage(usage: Usage, first_difference: str | None = None) -> MessageUsage:
    details = usage_details(usage, first_difference)
    return MessageUsage(
        input_tokens=usage.computed,
        cache_read_input_tokens=usage.cached,
        output_tokens=usage.generated,
        pellucid=details,
    )
