"""Wire shapes of all of ollama's routes: the name of a model, refused fields and errors."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from pellucid.api.openapi_extras import GENERATION_ERRORS, MODEL_ERRORS, Responses, in_shape
from pellucid.api.schema.common import Body, Reply


def _absent(value: object) -> None:
    if not (value is False or (isinstance(value, str | list) and not value)):
        raise ValueError("this server does not support it: omit it")


Absent = Annotated[
    None,
    BeforeValidator(_absent),
    WithJsonSchema({"anyOf": [{"const": ""}, {"type": "array", "maxItems": 0}, {"const": False}]}),
]
"""A field that is refused by name unless empty, because some clients send all fields."""

NAME_ABOUT = (
    "a name from /v1/models, or as ollama spells it (`qwen2.5-coder:0.5b`, `qwen2.5-coder:0.5b-instruct`), with or "
    "without `:latest`; a family alone if one model of it is served; if null or empty, the first model. A single "
    "served model answers to every other name too"
)


class OllamaQuery(Body):
    """A request that may name a model."""

    model: str | None = Field(None, description=NAME_ABOUT, examples=["qwen2.5-coder:0.5b"])


class OllamaError(Reply):
    """The shape of errors under /api: a sentence with the problem and the remedy."""

    error: str


OLLAMA_ERRORS: Responses = in_shape(OllamaError, {})
"""Errors of ollama's routes, in ollama's shape."""

OLLAMA_LIST_ERRORS: Responses = in_shape(OllamaError, {503: MODEL_ERRORS[503]})

OLLAMA_MODEL_ERRORS: Responses = in_shape(OllamaError, MODEL_ERRORS)

OLLAMA_GENERATION_ERRORS: Responses = in_shape(OllamaError, GENERATION_ERRORS)
