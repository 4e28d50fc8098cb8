"""Wire shapes of all of ollama's routes: the name of a model, refused fields and errors."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from pellucid.api.openapi_extras import GENERATION_ERRORS, MODEL_ERRORS, Responses, in_shape
from pellucid.api.schema.common import Body, Reply
from pellucid.errors import InvalidRequestError
from pellucid.text.assistant import LocalAssistant


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


KEEP_ABOUT = (
    "how long the model stays loaded after this request: seconds, or a text such as 5m; negative: always; "
    "by default as the server's setting keep_alive says"
)

_DURATION = re.compile(r"(-?)((?:\d+(?:\.\d+)?(?:ms|s|m|h))+|0)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def obey_keep_alive(assistant: LocalAssistant, name: str, keep_alive: float | str | None) -> bool:
    """Return whether a server that loads models keeps a model for the time in a request.

    Raises InvalidRequestError for a text that is not a time.
    """
    seconds = _seconds(keep_alive) if isinstance(keep_alive, str) else keep_alive
    if assistant.models.loader is None:
        return keep_alive is None
    assistant.models.loader.keep(name, seconds)
    return True


def _seconds(text: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise InvalidRequestError(
            f"keep_alive is {text[:20]!r}, but must be a number of seconds, or a time such as 5m.", param="keep_alive"
        )
    total = sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", match[2]))
    return -total if match[1] else total


class OllamaError(Reply):
    """The shape of errors under /api: a sentence with the problem and the remedy."""

    error: str


OLLAMA_ERRORS: Responses = in_shape(OllamaError, {})
"""Errors of ollama's routes, in ollama's shape."""

OLLAMA_LIST_ERRORS: Responses = in_shape(OllamaError, {503: MODEL_ERRORS[503]})

OLLAMA_MODEL_ERRORS: Responses = in_shape(OllamaError, MODEL_ERRORS)

OLLAMA_GENERATION_ERRORS: Responses = in_shape(OllamaError, GENERATION_ERRORS)
