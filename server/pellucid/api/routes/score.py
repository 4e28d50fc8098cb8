"""/v1/score, for reading a given text."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from pellucid.api.generation.generated_answer import Items, checked
from pellucid.api.generation.messages import plain_messages
from pellucid.api.generation.request_fields import end_details, terms_of, usage_reply
from pellucid.api.metrics import GenerationTimer
from pellucid.api.openapi_extras import GENERATION_ERRORS, stream_or
from pellucid.api.schema.score import ScoreChunk, ScoreReply, ScoreRequest, ScoreSummary
from pellucid.api.server_state import state_of
from pellucid.client.token_json import clamped, record_of
from pellucid.door.event_stream import Event, attend, event_stream
from pellucid.door.json_body import JsonRoute
from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.finish import Finish
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import CompletionQuery, Extra, Priority, ScoreQuery
from pellucid.vocabulary.token import Token

router = APIRouter(tags=["Pellucid"], route_class=JsonRoute)

EVENT_TOKENS = 64
"""Tokens per event of a stream, because a text is read hundreds of tokens at a time."""


@router.post("/v1/score", responses={200: stream_or(ScoreReply), **GENERATION_ERRORS})
async def score(body: ScoreRequest, request: Request) -> Response:
    """Read an input, and return for each token the logprob, the rank and the alternatives.

    The input is exactly one of a text, token ids or a conversation, or a text that continues a
    conversation's last message (``continue_final_message``). The default priority is background. A
    superseded request, or a request past its deadline, ends with the tokens so far;
    ``pellucid.reason`` has the reason.
    """
    state = state_of(request)
    assistant, card = await state.find(body.model, strict=body.strict_model)
    model = card.name
    terms = terms_of(body, request, Priority.BACKGROUND, 0)
    query = ScoreQuery(
        _text(body),
        model=model,
        top_logprobs=body.top_logprobs,
        terms=terms,
        special=body.parse_special,
        continue_last=body.continue_final_message,
        windows=body.windows,
        gap=_gap(body),
        continued=_continued(body),
        experts=body.experts,
    )
    timer = state.metrics.timer(model, state.clock, reads=True)
    if body.stream:
        return await event_stream(request, state.closing, _events(assistant.score(query), model, timer))
    reply = await attend(request, state.closing, _reply(assistant.score(query), model, timer))
    return Response(reply, media_type="application/json")


@dataclass(slots=True)
class Reading:
    """The sums over the tokens read so far.

    Keeps no tokens, as a text may exceed the context by far.
    """

    logprob_sum: float = 0.0
    scored: int = 0
    bytes: int = 0
    finish: Finish | None = None

    def take(self, item: Token | Finish) -> None:
        """Add an item. Raises the error of a failed reading."""
        if isinstance(item, Finish):
            self.finish = checked(item)
        elif item.logprob is not None:
            self.logprob_sum += clamped(item.logprob)
            self.scored += 1
            self.bytes += len(item.bytes)

    @property
    def end(self) -> Finish:
        assert self.finish is not None
        return self.finish

    def summary(self) -> ScoreSummary:
        """Return the sums over all tokens with a logprob (not the first token)."""
        return ScoreSummary(
            logprob_sum=self.logprob_sum,
            perplexity=math.exp(min(-self.logprob_sum / self.scored, 709.0)) if self.scored else None,
            bits_per_byte=-self.logprob_sum / math.log(2) / self.bytes if self.bytes else None,
        )


async def _reply(items: Items, model: str, timer: GenerationTimer) -> str:
    """Return a ScoreReply as JSON.

    Each token is written immediately: as objects, the tokens would take much more memory.
    """
    reading, records = Reading(), list[str]()
    with timer:
        async with aclosing(items):
            async for item in items:
                timer.note(item)
                reading.take(item)
                if isinstance(item, Token):
                    records.append(json.dumps(record_of(item)))
    usage = usage_reply([reading.end.usage], [reading.end.usage])
    bare = ScoreReply(model=model, tokens=[], usage=usage, summary=reading.summary(), pellucid=end_details(reading.end))
    return f'{json.dumps(bare.model_dump(exclude={"tokens"}))[:-1]}, "tokens": [{", ".join(records)}]}}'


def _text(body: ScoreRequest) -> str | list[int] | list[Message]:
    given = [value for value in (body.text, body.tokens, body.messages) if value is not None]
    if len(given) != 1 and not _is_continuation(body):
        raise InvalidRequestError(
            "Send exactly one of text, tokens and messages, or a text with messages and continue_final_message.",
            param="text",
        )
    if body.parse_special and body.text is None:
        raise InvalidRequestError("parse_special is only allowed together with text.", param="parse_special")
    if body.continue_final_message and body.messages is None:
        raise InvalidRequestError(
            "continue_final_message is only allowed together with messages.", param="continue_final_message"
        )
    if body.messages is not None and body.text is None:
        return plain_messages(body.messages)
    return body.tokens if body.text is None and body.tokens is not None else body.text or ""


def _is_continuation(body: ScoreRequest) -> bool:
    return body.text is not None and body.messages is not None and body.tokens is None and body.continue_final_message


def _continued(body: ScoreRequest) -> list[Message]:
    if body.messages is None or not _is_continuation(body):
        return []
    if body.parse_special or body.windows or body.input_prefix is not None or body.input_suffix is not None:
        raise InvalidRequestError(
            "A text that continues a message is read without parse_special, windows, input_prefix and input_suffix.",
            param="text",
        )
    return plain_messages(body.messages)


def _gap(body: ScoreRequest) -> CompletionQuery | None:
    if body.input_prefix is None and body.input_suffix is None:
        if body.input_extra:
            raise InvalidRequestError("input_extra is only allowed together with input_prefix.", param="input_extra")
        return None
    if body.text is None or body.windows:
        raise InvalidRequestError("input_prefix needs a text, without windows.", param="input_prefix")
    if body.parse_special:
        if body.input_prefix is None or body.input_suffix is not None or body.input_extra:
            raise InvalidRequestError(
                "With parse_special a text continues input_prefix: omit input_suffix and input_extra.",
                param="input_prefix",
            )
        return CompletionQuery(body.input_prefix, special=True)
    extra = [Extra(file.filename, file.text) for file in body.input_extra]
    return CompletionQuery(body.input_prefix or "", body.input_suffix or "", extra)


async def _events(items: Items, model: str, timer: GenerationTimer) -> AsyncGenerator[Event]:
    reading, records = Reading(), list[dict[str, Any]]()
    with timer:
        async with aclosing(items):
            async for item in items:
                timer.note(item)
                reading.take(item)
                if isinstance(item, Token):
                    records.append(record_of(item))
                if len(records) >= EVENT_TOKENS or (reading.finish and records):
                    yield ScoreChunk(model=model, tokens=records)
                    records = []
    usage = usage_reply([reading.end.usage], [reading.end.usage])
    yield ScoreChunk(model=model, tokens=[], usage=usage, summary=reading.summary(), pellucid=end_details(reading.end))
