"""Routes of Pellucid's own clients: the body is a query, and each token is a row of the reply."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from fastapi import APIRouter, Request
from pydantic import with_config
from starlette.responses import JSONResponse, Response

from pellucid.api.generation.generated_answer import Items, checked
from pellucid.api.generation.request_fields import supersede_key
from pellucid.api.schema.sampling import MAX_CHOICES
from pellucid.api.server_state import state_of
from pellucid.client import wire
from pellucid.door.error_replies import error_body
from pellucid.door.event_stream import NDJSON, Event, attend, event_stream
from pellucid.door.json_body import JsonRoute
from pellucid.errors import InvalidRequestError
from pellucid.system.concurrent_work import stream_from
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.finish import Finish, OnUsage
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, ScoreQuery
from pellucid.vocabulary.token import Token

router = APIRouter(prefix=wire.ROOT.rstrip("/"), route_class=JsonRoute, include_in_schema=False)

ROWS = replace(NDJSON, error=error_body)

SCORED_TOKENS = 64
"""Number of tokens sent together; a model reads hundreds of tokens of a text at a time."""

Query = TypeVar("Query", CompletionQuery, ChatQuery, ScoreQuery)


@dataclass(frozen=True, slots=True)
class TextsQuery:
    """Several texts; each text replaces the query's text."""

    query: ScoreQuery
    texts: Sequence[str]


for query_class in (CompletionQuery, ChatQuery, ScoreQuery, TextsQuery):
    # A field of a newer client is refused, not ignored.
    with_config(extra="forbid")(query_class)


@router.post("/complete")
async def complete(query: CompletionQuery, request: Request, usage: bool = False) -> Response:
    """Continue a text, or fill a gap. With ``usage``, the usage so far precedes each token."""
    assistant, query = await _admit(request, query)
    return await _generate(request, query, partial(assistant.complete, query), usage=usage)


@router.post("/chat")
async def chat(query: ChatQuery, request: Request, usage: bool = False) -> Response:
    """Answer a conversation. With ``usage``, the usage so far precedes each token."""
    assistant, query = await _admit(request, query)
    return await _generate(request, query, partial(assistant.chat, query), usage=usage)


@router.post("/score")
async def score(query: ScoreQuery, request: Request) -> Response:
    """Read a text, token ids or a conversation."""
    assistant, query = await _admit(request, query)
    return await event_stream(request, state_of(request).closing, _score_rows(request, assistant, query), format=ROWS)


@router.post("/logprob_sums")
async def logprob_sums(body: TextsQuery, request: Request) -> Response:
    """Read several texts, and return the sum of each text's logprobs."""
    if len(body.texts) > MAX_CHOICES:
        raise InvalidRequestError(f"At most {MAX_CHOICES} texts are read at once: send fewer.", param="texts")
    assistant, query = await _admit(request, body.query)
    sums = await attend(request, state_of(request).closing, assistant.logprob_sums(query, body.texts))
    return JSONResponse({"sums": sums})


async def _admit(request: Request, query: Query) -> tuple[LocalAssistant, Query]:
    """Return the assistant, and the query with the model's name and a key only for this client."""
    assistant, card = await state_of(request).find(query.model, strict=True)
    terms = query.terms
    if terms.key is not None:
        terms = replace(terms, key=supersede_key(request, terms.key, 0))
    return assistant, replace(query, model=card.name, terms=terms)


async def _generate(
    request: Request, query: CompletionQuery | ChatQuery, ask: Callable[..., Items], *, usage: bool
) -> Response:
    state = state_of(request)

    async def generate(send: Callable[[Event], None]) -> None:
        on_usage: OnUsage | None = (lambda so_far: send(wire.row_of(so_far))) if usage else None
        with state.metrics.timer(str(query.model), state.clock) as timer:
            async with aclosing(ask(on_usage=on_usage)) as items:
                async for item in items:
                    timer.note(item)
                    send(_row(item))

    return await event_stream(request, state.closing, stream_from(generate), format=ROWS)


async def _score_rows(request: Request, assistant: LocalAssistant, query: ScoreQuery) -> AsyncGenerator[Event]:
    state, rows = state_of(request), list[Event]()
    with state.metrics.timer(str(query.model), state.clock, reads=True) as timer:
        async with aclosing(assistant.score(query)) as items:
            async for item in items:
                timer.note(item)
                rows.append(_row(item))
                if len(rows) == SCORED_TOKENS:
                    yield tuple(rows)
                    rows = []
    yield tuple(rows)


def _row(item: Token | Finish) -> Event:
    """Return the row of an item, or raise the error of a failed generation."""
    return wire.row_of(checked(item) if isinstance(item, Finish) else item)
