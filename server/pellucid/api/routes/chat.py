"""Serves /v1/chat/completions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from fastapi import APIRouter, Request
from starlette.responses import Response

from pellucid.api.generation.generated_answer import GeneratedAnswer, Items
from pellucid.api.generation.generation_job import GenerationJob
from pellucid.api.generation.request_fields import (
    check_stream_options,
    finish_word,
    reply_id,
    sampling_params,
    stop_texts,
    terms_of,
    usage_reply,
    usage_so_far,
    wants_usage,
    wants_usage_on_the_way,
)
from pellucid.api.generation.requested_grammar import answer_end, requested_grammar
from pellucid.api.json_body import JsonRoute
from pellucid.api.openapi_extras import GENERATION_ERRORS, stream_or
from pellucid.api.schema.common import MAX_TOKENS
from pellucid.api.schema.openai import (
    ChatAnswer,
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatDelta,
    ChatLogprobs,
    ChatMessage,
    ChatReply,
    ChatRequest,
    EndDetails,
    TokenLogprob,
    TopLogprob,
    UsageReply,
)
from pellucid.api.server_state import state_of
from pellucid.api.sse import Event, json_response
from pellucid.client.token_json import clamped, record_of
from pellucid.errors import InvalidRequestError
from pellucid.text.assistant import LocalAssistant
from pellucid.tokens import ChatQuery, Finish, Message, ModelCard, OnUsage, Priority, Token

router = APIRouter(tags=["OpenAI"], route_class=JsonRoute)


@router.post("/v1/chat/completions", responses={200: stream_or(ChatReply), **GENERATION_ERRORS})
async def chat_completions(body: ChatRequest, request: Request) -> Response:
    """Answer a conversation, with every token's probability.

    The default temperature is 1. Each entry of ``logprobs`` has the token's true bytes, and in ``pellucid`` its rank, the
    entropy of the choice and more. A superseded answer ends with the tokens so far: ``finish_reason`` is stop,
    ``pellucid.reason`` is superseded.
    """
    check_stream_options(body)
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidRequestError("top_logprobs is only allowed together with logprobs: true.", param="top_logprobs")
    if body.max_tokens is not None and body.max_completion_tokens not in (None, body.max_tokens):
        raise InvalidRequestError(
            "max_tokens and max_completion_tokens are two names for the same limit: send only one of them.", param="max_tokens"
        )
    state = state_of(request)
    assistant, card = state.find(body.model)
    state.check_answers(card.name, body.n, "n")
    return await _ChatJob(request, assistant, card, body).respond(stream=body.stream)


def plain_messages(messages: Sequence[ChatMessage]) -> list[Message]:
    """Return the messages with their parts joined. The role developer is a newer name of system."""
    return [
        Message(
            "system" if message.role == "developer" else message.role,
            message.content if isinstance(message.content, str) else "".join(part.text for part in message.content),
        )
        for message in messages
    ]


class _ChatJob(GenerationJob):
    """A conversation with one answer or several."""

    def __init__(self, request: Request, assistant: LocalAssistant, card: ModelCard, body: ChatRequest) -> None:
        super().__init__(request, assistant, card, body.n, usage_on_the_way=wants_usage_on_the_way(body))
        self._body = body
        self._grammar = requested_grammar(body)
        self._id = reply_id("chatcmpl")
        self._created = int(time.time())

    def ask(self, number: int, on_usage: OnUsage | None) -> Items:
        body = self._body
        limit = next((count for count in (body.max_completion_tokens, body.max_tokens) if count is not None), MAX_TOKENS)
        query = ChatQuery(
            plain_messages(body.messages),
            sampling_params(body, limit, body.top_logprobs or 0, number),
            model=self.model,
            stop=stop_texts(body.stop),
            terms=terms_of(body, self.request, Priority.CHAT, number),
            continue_last=body.continue_final_message,
            grammar=self._grammar,
        )
        return self.assistant.chat(query, on_usage=on_usage)

    async def whole(self) -> Response:
        ends = [await self._end(answer) for answer in self.answers]
        return await asyncio.to_thread(lambda: json_response(self._whole(ends)))

    def _whole(self, ends: Sequence[EndDetails]) -> ChatReply:
        choices = [self._whole_choice(index, answer, end) for index, (answer, end) in enumerate(zip(self.answers, ends, strict=True))]
        return ChatReply(id=self._id, created=self._created, model=self.model, choices=choices, usage=self._usage())

    async def first_part(self, number: int) -> Event:
        return self._chunk([_part(number, ChatDelta(role="assistant", content=""))])

    def part(self, number: int, token: Token) -> Event:
        part = _part(number, ChatDelta(content=token.text))
        if self._body.logprobs:
            part.logprobs = _logprobs([token])
        if self._body.return_token_ids:
            part.token_ids = [token.id]
        return self._chunk([part], usage_so_far(self.answers[number]))

    async def last_part(self, number: int, finish: Finish) -> Event:
        return self._chunk([_last(number, finish, await self._end(self.answers[number]))])

    def closing(self) -> Event | None:
        return self._chunk([], self._usage()) if wants_usage(self._body) else None

    def _usage(self) -> UsageReply:
        return usage_reply([self.answers[0].end.usage], [answer.end.usage for answer in self.answers])

    async def _end(self, answer: GeneratedAnswer) -> EndDetails:
        return await answer_end(self.assistant, self.model, self._grammar, answer, self._body.logprobs)

    def _whole_choice(self, index: int, answer: GeneratedAnswer, end: EndDetails) -> ChatChoice:
        body = self._body
        return ChatChoice(
            index=index,
            message=ChatAnswer(content=answer.text),
            logprobs=_logprobs(answer.tokens) if body.logprobs else None,
            finish_reason=finish_word(answer.end),
            token_ids=[token.id for token in answer.tokens] if body.return_token_ids else None,
            pellucid=end,
        )

    def _chunk(self, choices: list[ChatChunkChoice], usage: UsageReply | None = None) -> ChatChunk:
        return ChatChunk(id=self._id, created=self._created, model=self.model, choices=choices, usage=usage)


def _part(index: int, delta: ChatDelta) -> ChatChunkChoice:
    return ChatChunkChoice(index=index, delta=delta, logprobs=None, finish_reason=None)


def _last(index: int, finish: Finish, end: EndDetails) -> ChatChunkChoice:
    return ChatChunkChoice(index=index, delta=ChatDelta(), logprobs=None, finish_reason=finish_word(finish), pellucid=end)


def _logprobs(tokens: Sequence[Token]) -> ChatLogprobs:
    return ChatLogprobs(content=[_entry(token) for token in tokens])


def _entry(token: Token) -> TokenLogprob:
    assert token.logprob is not None, "only the first token of a prompt has no logprob"
    return TokenLogprob(
        token=token.bytes.decode(errors="replace"),
        logprob=clamped(token.logprob),
        bytes=list(token.bytes),
        top_logprobs=[TopLogprob(token=one.text, logprob=clamped(one.logprob), bytes=list(one.bytes)) for one in token.top],
        pellucid=record_of(token),
    )
