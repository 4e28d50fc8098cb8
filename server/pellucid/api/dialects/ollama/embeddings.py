"""/api/embed and /api/embeddings: shapes and routes."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field, JsonValue
from starlette.responses import Response

from pellucid.api.dialects.ollama.common import KEEP_ABOUT, OLLAMA_GENERATION_ERRORS, OllamaQuery, obey_keep_alive
from pellucid.api.dialects.ollama.model_aliases import find_by_alias, find_by_ollama_name
from pellucid.api.generation.embeddings import (
    MAX_INPUTS,
    SIZE_ABOUT,
    EmbeddingDetails,
    Size,
    check_size,
    embed_all,
    prompt_tokens,
)
from pellucid.api.schema.common import Reply, Unused
from pellucid.api.server_state import state_of
from pellucid.door.event_stream import json_response
from pellucid.door.json_body import JsonRoute
from pellucid.vocabulary.model_card import ModelCard


class OllamaEmbeddingFields(OllamaQuery):
    """The shared fields of ollama's two routes."""

    options: Annotated[dict[str, JsonValue], Unused()] = Field(
        {}, description="ignored: the options do not change a vector"
    )
    keep_alive: int | float | str | None = Field(None, description=KEEP_ABOUT)


class OllamaEmbedRequest(OllamaEmbeddingFields):
    """Texts to turn into vectors."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"input": ["The sum of two numbers."]}]})

    input: str | Annotated[list[str], Field(fail_fast=True, max_length=MAX_INPUTS)] = Field(
        "", description="for an empty input, the reply has no vectors"
    )
    truncate: bool = Field(
        True, description="cut the end of a text longer than the context; false: such a text is an error"
    )
    dimensions: Size = Field(None, description=SIZE_ABOUT)


class OllamaEmbedReply(Reply):
    """The vectors, in the order of the texts. Durations are in nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int = 0
    prompt_eval_count: int
    pellucid: EmbeddingDetails


class OllamaEmbeddingsRequest(OllamaEmbeddingFields):
    """A text to turn into a vector, as older clients send it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"prompt": "The sum of two numbers."}]})

    prompt: str = Field(
        "", description="an empty text has an empty vector; a text longer than the context is cut at the end"
    )


class OllamaEmbeddingsReply(Reply):
    """The vector of a text."""

    embedding: list[float]
    pellucid: EmbeddingDetails


router = APIRouter(tags=["ollama"], route_class=JsonRoute)


@router.post("/api/embed", responses={200: {"model": OllamaEmbedReply}, **OLLAMA_GENERATION_ERRORS})
async def ollama_embed(body: OllamaEmbedRequest, request: Request) -> Response:
    """Turn texts into vectors, as /v1/embeddings does."""
    state = state_of(request)
    begun = state.clock()
    assistant, card = await find_by_ollama_name(state, body.model)
    ignored, served = obey_keep_alive(assistant, card.name, body.keep_alive), assistant.models.find(card.name)
    check_size(served, body.dimensions)
    texts = [body.input] if isinstance(body.input, str) else body.input
    made = await embed_all(request, served, texts if body.input else [], truncate=body.truncate)
    reply = OllamaEmbedReply(
        model=card.name,
        embeddings=[list(embedding.values) for embedding in made],
        total_duration=round((state.clock() - begun) * 1e9),
        prompt_eval_count=prompt_tokens(made),
        pellucid=_details(body, card, ignored),
    )
    return await asyncio.to_thread(json_response, reply)


@router.post("/api/embeddings", responses={200: {"model": OllamaEmbeddingsReply}, **OLLAMA_GENERATION_ERRORS})
async def ollama_embeddings(body: OllamaEmbeddingsRequest, request: Request) -> Response:
    """Turn a text into a vector, as /v1/embeddings does; the older form of /api/embed."""
    assistant, card = await find_by_ollama_name(state_of(request), body.model)
    ignored, served = obey_keep_alive(assistant, card.name, body.keep_alive), assistant.models.find(card.name)
    check_size(served, None)
    made = await embed_all(request, served, [body.prompt] if body.prompt else [], truncate=True)
    return json_response(
        OllamaEmbeddingsReply(
            embedding=[value for one in made for value in one.values], pellucid=_details(body, card, ignored)
        )
    )


def _details(body: OllamaEmbeddingFields, card: ModelCard, ignored: list[str]) -> EmbeddingDetails:
    is_other = bool(body.model) and find_by_alias(body.model or "", [card.name]) is None
    return EmbeddingDetails(ignored=[*ignored, *body.ignored(), *(["model"] if is_other else [])] or None)
