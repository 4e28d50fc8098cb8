"""Serves /v1/score, which reads a given text."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from fastapi import APIRouter, Request
from starlette.responses import Response

from pellucid.api.generation.generated_answer import GeneratedAnswer, Items, collect
from pellucid.api.generation.request_fields import end_details, terms_of, usage_reply
from pellucid.api.json_body import JsonRoute
from pellucid.api.metrics import GenerationTimer
from pellucid.api.openapi_extras import GENERATION_ERRORS, stream_or
from pellucid.api.routes.chat import plain_messages
from pellucid.api.schema.openai import ScoreChunk, ScoreReply, ScoreRequest, ScoreSummary
from pellucid.api.server_state import state_of
from pellucid.api.sse import Event, attend, event_stream
from pellucid.client.token_json import clamped, record_of
from pellucid.errors import InvalidRequestError
from pellucid.tokens import Message, Priority, ScoreQuery, Token

router = APIRouter(tags=["Pellucid"], route_class=JsonRoute)

EVENT_TOKENS = 64
"""Tokens in one event of a stream, as a text is read hundreds of tokens at a time."""


@router.post("/v1/score", responses={200: stream_or(ScoreReply), **GENERATION_ERRORS})
async def score(body: ScoreRequest, request: Request) -> Response:
    """Read a text, token ids or a conversation (exactly one), and return for each token its logprob, its rank and the alternatives.

    The default priority is background. A request that is superseded or passes its deadline ends with the tokens so far;
    ``pellucid.reason`` has the reason.
    """
    state = state_of(request)
    assistant, card = state.find(body.model, strict=body.strict_model)
    model = card.name
    terms = terms_of(body, request, Priority.BACKGROUND, 0)
    query = ScoreQuery(
        _text(body),
        model=model,
        top_logprobs=body.top_logprobs,
        terms=terms,
        special=body.parse_special,
        continue_last=body.continue_final_message,
    )
    timer = state.metrics.timer(model, state.clock)
    if body.stream:
        return await event_stream(request, state, _events(assistant.score(query), model, timer))
    with timer:
        answer = await attend(request, state, collect(assistant.score(query), timer))
    return Response(await asyncio.to_thread(_written, answer, model), media_type="application/json")


def _written(answer: GeneratedAnswer, model: str) -> str:
    """Return a ScoreReply as JSON. It is assembled token by token, as one call for all would block other threads for long."""
    usage = usage_reply([answer.end.usage], [answer.end.usage])
    bare = ScoreReply(model=model, tokens=[], usage=usage, summary=summary(answer.tokens), pellucid=end_details(answer.end))
    tokens = ", ".join(json.dumps(record_of(token)) for token in answer.tokens)
    return f'{json.dumps(bare.model_dump(exclude={"tokens"}))[:-1]}, "tokens": [{tokens}]}}'


def _text(body: ScoreRequest) -> str | list[int] | list[Message]:
    given = [value for value in (body.text, body.tokens, body.messages) if value is not None]
    if len(given) != 1:
        raise InvalidRequestError("Send exactly one of text, tokens and messages.", param="text")
    if body.parse_special and body.text is None:
        raise InvalidRequestError("parse_special is only allowed together with text.", param="parse_special")
    if body.continue_final_message and body.messages is None:
        raise InvalidRequestError("continue_final_message is only allowed together with messages.", param="continue_final_message")
    if body.messages is not None:
        return plain_messages(body.messages)
    return body.tokens if body.text is None and body.tokens is not None else body.text or ""


async def _events(items: Items, model: str, timer: GenerationTimer) -> AsyncGenerator[Event]:
    answer = GeneratedAnswer()
    sent = 0
    with timer:
        async with aclosing(items):
            async for item in items:
                timer.note(item)
                answer.take(item)
                if len(answer.tokens) - sent >= EVENT_TOKENS or (answer.finish and sent < len(answer.tokens)):
                    yield ScoreChunk(model=model, tokens=[record_of(token) for token in answer.tokens[sent:]])
                    sent = len(answer.tokens)
    usage = usage_reply([answer.end.usage], [answer.end.usage])
    yield ScoreChunk(model=model, tokens=[], usage=usage, summary=summary(answer.tokens), pellucid=end_details(answer.end))


def summary(tokens: Sequence[Token]) -> ScoreSummary:
    """Return the sums over all tokens with a logprob, which the first one lacks."""
    scored = [(clamped(token.logprob), len(token.bytes)) for token in tokens if token.logprob is not None]
    total = sum(logprob for logprob, _ in scored)
    size = sum(count for _, count in scored)
    return ScoreSummary(
        logprob_sum=total,
        perplexity=_exp(-total / len(scored)) if scored else None,
        bits_per_byte=-total / math.log(2) / size if size else None,
    )


def _exp(value: float) -> float:
    """Return the exponential, or the largest float."""
    return math.exp(min(value, 709.0))
