"""/v1/embeddings: shapes and route."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field
from starlette.responses import Response

from pellucid.api.generation.embeddings import (
    MAX_INPUTS,
    SIZE_ABOUT,
    EmbeddingDetails,
    Input,
    Size,
    check_size,
    embed_all,
    prompt_tokens,
)
from pellucid.api.generation.request_fields import ignored_fields
from pellucid.api.openapi_extras import GENERATION_ERRORS
from pellucid.api.schema.common import ModelQuery, Reply, Unused
from pellucid.api.schema.sampling import Ids
from pellucid.api.server_state import state_of
from pellucid.door.event_stream import json_response
from pellucid.door.json_body import JsonRoute
from pellucid.vocabulary.finish import Embedding
from pellucid.vocabulary.model_card import ModelCard

Texts = Annotated[list[str], Field(fail_fast=True, min_length=1, max_length=MAX_INPUTS)]


class EmbeddingsRequest(ModelQuery):
    """Texts or token ids to turn into vectors."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"input": ["def add(a, b): return a + b", "The sum of two numbers."]}]}
    )

    input: str | Ids | Texts | Annotated[list[Ids], Field(fail_fast=True, min_length=1, max_length=MAX_INPUTS)]
    encoding_format: Literal["float", "base64"] = Field(
        "float", description="base64: the bytes of little-endian float32 numbers"
    )
    dimensions: Size = Field(None, description=SIZE_ABOUT)
    user: Annotated[str | None, Unused()] = Field(
        None, description="ignored: your identifier of the end user is not stored"
    )


class EmbeddingItem(Reply):
    """The vector of one input, of length 1."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(Reply):
    """The tokens of all inputs."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsReply(Reply):
    """The vectors, in the order of the inputs."""

    object: Literal["list"] = "list"
    data: list[EmbeddingItem]
    model: str
    usage: EmbeddingUsage
    pellucid: EmbeddingDetails


router = APIRouter(tags=["OpenAI"], route_class=JsonRoute)


@router.post("/v1/embeddings", responses={200: {"model": EmbeddingsReply}, **GENERATION_ERRORS})
async def embeddings(body: EmbeddingsRequest, request: Request) -> Response:
    """Turn texts into vectors of length 1: the mean of the served model's last hidden states.

    A model that was trained for embeddings finds similar texts more reliably. The priority is
    background, and nothing is cached. An input beyond the context is an error.
    """
    assistant, card = await state_of(request).find(body.model, strict=body.strict_model)
    served = assistant.models.find(card.name)
    check_size(served, body.dimensions)
    made = await embed_all(request, served, _inputs(body))
    return await asyncio.to_thread(lambda: json_response(_reply(made, body, card)))


def _inputs(body: EmbeddingsRequest) -> list[Input]:
    given = body.input
    if isinstance(given, str):
        return [given]
    ids = [item for item in given if isinstance(item, int)]
    return [ids] if ids else [item for item in given if not isinstance(item, int)]


def _reply(made: Sequence[Embedding], body: EmbeddingsRequest, card: ModelCard) -> EmbeddingsReply:
    write = _base64 if body.encoding_format == "base64" else list
    data = [EmbeddingItem(index=index, embedding=write(embedding.values)) for index, embedding in enumerate(made)]
    details = EmbeddingDetails(ignored=ignored_fields(body, card) or None)
    usage = EmbeddingUsage(prompt_tokens=prompt_tokens(made), total_tokens=prompt_tokens(made))
    return EmbeddingsReply(data=data, model=card.name, usage=usage, pellucid=details)


def _base64(values: Sequence[float]) -> str:
    return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode("ascii")
