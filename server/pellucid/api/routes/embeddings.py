"""/v1/embeddings, and ollama's /api/embed and /api/embeddings."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from pellucid.api.generation.generated_answer import checked
from pellucid.api.json_body import JsonRoute
from pellucid.api.model_aliases import find_by_alias, find_by_ollama_name
from pellucid.api.openapi_extras import GENERATION_ERRORS, OLLAMA_GENERATION_ERRORS
from pellucid.api.schema.common import ModelQuery
from pellucid.api.schema.embeddings import (
    EmbeddingDetails,
    EmbeddingItem,
    EmbeddingsReply,
    EmbeddingsRequest,
    EmbeddingUsage,
    OllamaEmbeddingFields,
    OllamaEmbeddingsReply,
    OllamaEmbeddingsRequest,
    OllamaEmbedReply,
    OllamaEmbedRequest,
)
from pellucid.api.server_state import state_of
from pellucid.api.sse import attend, json_response
from pellucid.errors import InvalidRequestError
from pellucid.system.concurrent_work import run_all
from pellucid.text.embedding import embed
from pellucid.text.text_model import TextModel
from pellucid.vocabulary.finish import Embedding
from pellucid.vocabulary.model_card import ModelCard

router = APIRouter(route_class=JsonRoute)

AT_ONCE = 2
"""Concurrent inputs per request: short inputs share a step, and most slots keep their prefixes."""

Input = str | Sequence[int]


@router.post("/v1/embeddings", tags=["OpenAI"], responses={200: {"model": EmbeddingsReply}, **GENERATION_ERRORS})
async def embeddings(body: EmbeddingsRequest, request: Request) -> Response:
    """Turn texts into vectors of length 1: the mean of the served model's last hidden states.

    A model that was trained for embeddings finds similar texts more reliably. The priority is
    background, and nothing is cached. An input beyond the context is an error.
    """
    assistant, card = state_of(request).find(body.model, strict=body.strict_model)
    served = assistant.models.find(card.name)
    _check_size(served, body.dimensions)
    made = await _embed_all(request, served, _inputs(body))
    return await asyncio.to_thread(lambda: json_response(_reply(made, body, card)))


@router.post("/api/embed", tags=["ollama"], responses={200: {"model": OllamaEmbedReply}, **OLLAMA_GENERATION_ERRORS})
async def ollama_embed(body: OllamaEmbedRequest, request: Request) -> Response:
    """Turn texts into vectors, as /v1/embeddings does."""
    state = state_of(request)
    begun = state.clock()
    assistant, card = find_by_ollama_name(state, body.model)
    served = assistant.models.find(card.name)
    _check_size(served, body.dimensions)
    texts = [body.input] if isinstance(body.input, str) else body.input
    made = await _embed_all(request, served, texts if body.input else [], truncate=body.truncate)
    reply = OllamaEmbedReply(
        model=card.name,
        embeddings=[list(embedding.values) for embedding in made],
        total_duration=round((state.clock() - begun) * 1e9),
        prompt_eval_count=_tokens(made),
        pellucid=_details(body, card),
    )
    return await asyncio.to_thread(json_response, reply)


@router.post(
    "/api/embeddings", tags=["ollama"], responses={200: {"model": OllamaEmbeddingsReply}, **OLLAMA_GENERATION_ERRORS}
)
async def ollama_embeddings(body: OllamaEmbeddingsRequest, request: Request) -> Response:
    """Turn a text into a vector, as /v1/embeddings does; the older form of /api/embed."""
    assistant, card = find_by_ollama_name(state_of(request), body.model)
    served = assistant.models.find(card.name)
    _check_size(served, None)
    made = await _embed_all(request, served, [body.prompt] if body.prompt else [], truncate=True)
    return json_response(
        OllamaEmbeddingsReply(embedding=[value for one in made for value in one.values], pellucid=_details(body, card))
    )


async def _embed_all(
    request: Request, served: TextModel, inputs: Sequence[Input], *, truncate: bool = False
) -> list[Embedding]:
    state = state_of(request)
    made: dict[int, Embedding] = {}
    waiting = iter(enumerate(inputs))

    async def work() -> None:
        for number, text in waiting:
            with state.metrics.timer(served.name, state.clock) as timer:
                embedding = await embed(served, text, truncate=truncate)
                timer.note(embedding.finish)
            checked(embedding.finish)
            made[number] = embedding

    await attend(request, state, run_all([work() for _ in range(min(AT_ONCE, len(inputs)))]))
    return [made[number] for number in range(len(inputs))]


def _inputs(body: EmbeddingsRequest) -> list[Input]:
    given = body.input
    if isinstance(given, str):
        return [given]
    ids = [item for item in given if isinstance(item, int)]
    return [ids] if ids else [item for item in given if not isinstance(item, int)]


def _check_size(served: TextModel, wanted: int | None) -> None:
    """Raise InvalidRequestError for a wrong length, NotSupportedError if there are no vectors."""
    size = served.engine.hidden_size(served.name)
    if wanted not in (None, size):
        raise InvalidRequestError(
            f"The vectors of {served.name} have {size} numbers and cannot be cut, "
            "as it was not trained for that: omit dimensions.",
            param="dimensions",
        )


def _reply(made: Sequence[Embedding], body: EmbeddingsRequest, card: ModelCard) -> EmbeddingsReply:
    write = _base64 if body.encoding_format == "base64" else list
    data = [EmbeddingItem(index=index, embedding=write(embedding.values)) for index, embedding in enumerate(made)]
    usage = EmbeddingUsage(prompt_tokens=_tokens(made), total_tokens=_tokens(made))
    return EmbeddingsReply(data=data, model=card.name, usage=usage, pellucid=_details(body, card))


def _base64(values: Sequence[float]) -> str:
    return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode("ascii")


def _tokens(made: Sequence[Embedding]) -> int:
    return sum(embedding.finish.usage.prompt for embedding in made)


def _details(body: ModelQuery | OllamaEmbeddingFields, card: ModelCard) -> EmbeddingDetails:
    named = body.model
    if isinstance(body, ModelQuery):
        other = bool(named) and named != card.name
    else:
        other = bool(named) and find_by_alias(named or "", [card.name]) is None
    return EmbeddingDetails(ignored=[*body.ignored(), *(["model"] if other else [])] or None)
