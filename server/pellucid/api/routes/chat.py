"""/v1/chat/completions: a conversation to answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from fastapi import APIRouter, Request
from starlette.responses import Response

from pellucid.api.json_body import JsonRoute
from pellucid.api.openapi_extras import GENERATION_ERRORS, stream_or
from pellucid.api.routes.generation import (
    GeneratedAnswer,
    Items,
    check_stream_options,
    collect_all,
    end_details,
    finish_word,
    merge,
    reply_id,
    sampling_params,
    stop_texts,
    tells_usage,
    terms_of,
    usage_reply,
    usage_so_far,
)
from pellucid.api.schema.common import MOST_TOKENS
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
    TokenLogprob,
    TopLogprob,
    UsageReply,
)
from pellucid.api.sse import Event, attend, event_stream, json_response
from pellucid.api.state import ServerState, state_of
from pellucid.client.token_json import clamped, record_of
from pellucid.errors import InvalidRequestError
from pellucid.text.assistant import LocalAssistant
from pellucid.tokens import ChatQuery, Finish, Message, Priority, Token

router = APIRouter(tags=["OpenAI"], route_class=JsonRoute)


@router.post("/v1/chat/completions", responses={200: stream_or(ChatReply), **GENERATION_ERRORS})
async def chat_completions(body: ChatRequest, request: Request) -> Response:
    """Answer a conversation, with every token's probability.

    The default temperature is 1. Each entry of ``logprobs`` has the token's true bytes, and in ``pellucid`` its rank, the
    entropy of the choice and more. A superseded answer ends with what there is: ``finish_reason`` says stop,
    ``pellucid.reason`` superseded.
    """
    check_stream_options(body)
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidRequestError("top_logprobs is only allowed together with logprobs: true.", param="top_logprobs")
    if body.max_tokens is not None and body.max_completion_tokens not in (None, body.max_tokens):
        raise InvalidRequestError("max_tokens and max_completion_tokens are the same thing: send one of them.", param="max_tokens")
    state = state_of(request)
    assistant, card = state.find(body.model)
    state.check_answers(card.name, body.n, "n")
    work = _Chat(state, assistant, card.name, body, request)
    if body.stream:
        return await event_stream(request, state, work.events())
    return await attend(request, state, work.reply())


def plain_messages(messages: Sequence[ChatMessage]) -> list[Message]:
    """The messages with their parts joined; a developer is a system by its newer name."""
    return [
        Message(
            "system" if message.role == "developer" else message.role,
            message.content if isinstance(message.content, str) else "".join(part.text for part in message.content),
        )
        for message in messages
    ]


@dataclass
class _Chat:
    """One request on its way."""

    state: ServerState
    assistant: LocalAssistant
    model: str
    body: ChatRequest
    request: Request
    id: str = field(default_factory=lambda: reply_id("chatcmpl"))
    created: int = field(default_factory=lambda: int(time.time()))

    async def reply(self) -> Response:
        """All answers, whole."""
        answers = await collect_all([self._generation(choice) for choice in range(self.body.n)])
        return await asyncio.to_thread(lambda: json_response(self._whole(answers)))

    def _whole(self, answers: Sequence[GeneratedAnswer]) -> ChatReply:
        return ChatReply(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=[self._whole_choice(index, answer) for index, answer in enumerate(answers)],
            usage=self._usage(answers),
        )

    async def events(self) -> AsyncGenerator[Event]:
        """The parts of all answers as they come."""
        answers = [GeneratedAnswer() for _ in range(self.body.n)]
        begun: set[int] = set()
        told = answers if tells_usage(self.body) else [None] * self.body.n
        async with aclosing(merge([self._generation(choice, told[choice]) for choice in range(self.body.n)])) as items:
            async for index, item in items:
                answers[index].take(item)
                if index not in begun:
                    begun.add(index)
                    yield self._chunk([_part(index, ChatDelta(role="assistant", content=""))])
                if isinstance(item, Token):
                    yield self._chunk([self._token_part(index, item)], usage=usage_so_far(answers[index]))
                else:
                    yield self._chunk([_last(index, item)])
        if self.body.stream_options is not None and self.body.stream_options.include_usage:
            yield self._chunk([], usage=self._usage(answers))

    def _generation(self, choice: int, told: GeneratedAnswer | None = None) -> Items:
        body = self.body
        limit = next((count for count in (body.max_completion_tokens, body.max_tokens) if count is not None), MOST_TOKENS)
        query = ChatQuery(
            plain_messages(body.messages),
            sampling_params(body, limit, body.top_logprobs or 0, choice),
            model=self.model,
            stop=stop_texts(body.stop),
            terms=terms_of(body, self.request, Priority.CHAT, choice),
            continue_last=body.continue_final_message,
        )
        items = self.assistant.chat(query, on_usage=None if told is None else told.note)
        return self.state.metrics.measured(items, self.model, self.state.clock)

    def _usage(self, answers: Sequence[GeneratedAnswer]) -> UsageReply:
        return usage_reply([answers[0].end.usage], [answer.end.usage for answer in answers])

    def _whole_choice(self, index: int, answer: GeneratedAnswer) -> ChatChoice:
        body = self.body
        return ChatChoice(
            index=index,
            message=ChatAnswer(content=answer.text),
            logprobs=_logprobs(answer.tokens) if body.logprobs else None,
            finish_reason=finish_word(answer.end),
            token_ids=[token.id for token in answer.tokens] if body.return_token_ids else None,
            pellucid=end_details(answer.end),
        )

    def _token_part(self, index: int, token: Token) -> ChatChunkChoice:
        part = _part(index, ChatDelta(content=token.text))
        if self.body.logprobs:
            part.logprobs = _logprobs([token])
        if self.body.return_token_ids:
            part.token_ids = [token.id]
        return part

    def _chunk(self, choices: list[ChatChunkChoice], usage: UsageReply | None = None) -> ChatChunk:
        return ChatChunk(id=self.id, created=self.created, model=self.model, choices=choices, usage=usage)


def _part(index: int, delta: ChatDelta) -> ChatChunkChoice:
    return ChatChunkChoice(index=index, delta=delta, logprobs=None, finish_reason=None)


def _last(index: int, finish: Finish) -> ChatChunkChoice:
    return ChatChunkChoice(index=index, delta=ChatDelta(), logprobs=None, finish_reason=finish_word(finish), pellucid=end_details(finish))


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
