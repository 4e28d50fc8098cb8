"""Mistral's /v1/fim/completions: shape and route. The replies have the shape of chats."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field, JsonValue
from starlette.responses import Response

from pellucid.api.dialects.openai.chat_schema import (
    ChatAnswer,
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatDelta,
    ChatLogprobs,
    ChatReply,
)
from pellucid.api.generation.generated_answer import Items
from pellucid.api.generation.generation_job import GenerationJob
from pellucid.api.generation.request_fields import (
    end_details,
    finish_word,
    ignored_fields,
    reply_id,
    stop_texts,
    terms_of,
    usage_reply,
)
from pellucid.api.generation.token_logprobs import token_logprobs
from pellucid.api.openapi_extras import GENERATION_ERRORS, stream_or
from pellucid.api.schema.common import Admittance, Unused
from pellucid.api.schema.sampling import MAX_TOKENS, Alternatives, StopTexts, Temperature
from pellucid.api.schema.usage import UsageReply
from pellucid.api.server_state import state_of
from pellucid.door.event_stream import Event, json_response
from pellucid.door.json_body import JsonRoute
from pellucid.errors import InvalidRequestError
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.finish import Finish, OnUsage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import CompletionQuery, Priority, SamplingParams
from pellucid.vocabulary.token import Token


class FimRequest(Admittance):
    """A gap to fill between ``prompt`` and ``suffix``."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"prompt": "def add(a, b):\n    return ", "suffix": "\n", "max_tokens": 8, "stop": ["\n"]}]
        }
    )

    prompt: str
    suffix: str = Field("", description="the text after the gap")
    max_tokens: int | None = Field(
        None, ge=0, le=MAX_TOKENS, description="maximum tokens; by default until the model ends the answer"
    )
    min_tokens: Literal[0] = Field(0, description="always 0: the model ends the answer")
    temperature: Temperature = Field(0.0, description="0, the default, always picks the most probable token")
    top_p: float = Field(1.0, ge=0, le=1)
    presence_penalty: float = Field(0.0, ge=-2, le=2, description="penalizes tokens already in the answer")
    frequency_penalty: float = Field(0.0, ge=-2, le=2, description="penalizes tokens already in the answer")
    random_seed: int | None = Field(None, ge=0, lt=2**63, description="the same seed gives the same answer")
    stop: StopTexts = Field([], description="the answer ends before the first of these texts")
    stream: bool = Field(False, description="send the tokens as server-sent events; the last event has the usage")
    logprobs: bool = Field(False, description="extension: return each token's logprob")
    top_logprobs: Alternatives | None = Field(
        None, description="extension, with logprobs: this many alternatives for each token"
    )
    metadata: Annotated[JsonValue, Unused()] = Field(None, description="ignored: nothing is stored")


router = APIRouter(tags=["Mistral"], route_class=JsonRoute)


@router.post("/v1/fim/completions", responses={200: stream_or(ChatReply), **GENERATION_ERRORS})
@router.post("/fim/completions", responses={200: stream_or(ChatReply), **GENERATION_ERRORS})
async def fim(body: FimRequest, request: Request) -> Response:
    """Fill the gap between ``prompt`` and ``suffix``, in the model's best measured infill format.

    For a model without infill tokens, the answer continues ``prompt``, and ends where the answer
    begins to repeat the suffix. The reply has the shape of /v1/chat/completions. A superseded
    answer ends with the tokens so far: ``finish_reason`` is stop, ``pellucid.reason`` is
    superseded.
    """
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidRequestError("top_logprobs is only allowed together with logprobs: true.", param="top_logprobs")
    assistant, card = await state_of(request).find(body.model, strict=body.strict_model)
    return await _FimJob(request, assistant, card, body).respond(stream=body.stream)


class _FimJob(GenerationJob):
    def __init__(self, request: Request, assistant: LocalAssistant, card: ModelCard, body: FimRequest) -> None:
        super().__init__(request, assistant, card, 1, ignored=ignored_fields(body, card))
        self._body = body
        self._id = reply_id("fim")
        self._created = int(time.time())

    def ask(self, number: int, on_usage: OnUsage | None) -> Items:
        body = self._body
        params = SamplingParams(
            max_tokens=MAX_TOKENS if body.max_tokens is None else body.max_tokens,
            temperature=body.temperature,
            top_k=1 if body.top_p == 0 else 0,
            top_p=body.top_p or 1.0,
            presence_penalty=body.presence_penalty,
            frequency_penalty=body.frequency_penalty,
            seed=body.random_seed,
            top_logprobs=body.top_logprobs or 0,
        )
        terms = terms_of(body, self.request, Priority.COMPLETION, number)
        query = CompletionQuery(body.prompt, body.suffix, (), params, self.model, stop_texts(body.stop), terms)
        return self.assistant.complete(query, on_usage=on_usage)

    async def whole(self) -> Response:
        return await asyncio.to_thread(lambda: json_response(self._whole()))

    def _whole(self) -> ChatReply:
        answer = self.answers[0]
        choice = ChatChoice(
            index=0,
            message=ChatAnswer(content=answer.text),
            logprobs=self._logprobs(answer.tokens),
            finish_reason=finish_word(answer.end),
            pellucid=end_details(answer.end),
        )
        usage, details = self._usage(answer.end), self.details()
        return ChatReply(
            id=self._id, created=self._created, model=self.model, choices=[choice], usage=usage, pellucid=details
        )

    async def first_part(self, number: int) -> Event:
        return self._next(ChatDelta(role="assistant", content=""))

    def part(self, number: int, token: Token) -> Event:
        return self._next(ChatDelta(content=token.text), self._logprobs([token]))

    async def last_part(self, number: int, finish: Finish) -> Event:
        choice = ChatChunkChoice(
            index=0,
            delta=ChatDelta(content=""),
            logprobs=None,
            finish_reason=finish_word(finish),
            pellucid=end_details(finish),
        )
        return self._chunk(choice, self._usage(finish))

    def _next(self, delta: ChatDelta, logprobs: ChatLogprobs | None = None) -> ChatChunk:
        return self._chunk(ChatChunkChoice(index=0, delta=delta, logprobs=logprobs, finish_reason=None))

    def _chunk(self, choice: ChatChunkChoice, usage: UsageReply | None = None) -> ChatChunk:
        return ChatChunk(
            id=self._id, created=self._created, model=self.model, choices=[choice], usage=usage, pellucid=self.details()
        )

    def _logprobs(self, tokens: list[Token]) -> ChatLogprobs | None:
        return ChatLogprobs(content=token_logprobs(tokens)) if self._body.logprobs else None

    def _usage(self, finish: Finish) -> UsageReply:
        return usage_reply([finish.usage], [finish.usage], [finish])
