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

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_DURATION = re.compile(rf"(-?)((?:{_PART.pattern})+|0)", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


_LONGEST = 365 * 24 * 60 * 60
"""In seconds; a model with a longer time stays loaded always."""


def obey_keep_alive(assistant: LocalAssistant, name: str, keep_alive: float | str | None) -> list[str]:
    """Keep a model loaded for the time in a request; return the names of fields without effect."""
    seconds, loader = keep_seconds(keep_alive), assistant.models.loader
    if loader is None:
        return [] if seconds is None else ["keep_alive"]
    loader.keep(name, seconds)
    return []


def keep_seconds(keep_alive: float | str | None) -> float | None:
    """Return the seconds of a keep_alive; negative: always.

    Raises InvalidRequestError for a text that is not a time.
    """
    if keep_alive is None:
        return None
    if isinstance(keep_alive, str):
        match = _DURATION.fullmatch(keep_alive)
        if match is None:
            raise InvalidRequestError(
                f"keep_alive is {keep_alive[:20]!r}, but must be a number of seconds, or a time such as 5m.",
                param="keep_alive",
            )
        total = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(match[2]))
        keep_alive = -total if match[1] else total
    return keep_alive if keep_alive <= _LONGEST else -1


class OllamaError(Reply):
    """The shape of errors under /api: a sentence with the problem and the remedy."""

    error: str


OLLAMA_ERRORS: Responses = in_shape(OllamaError, {})
"""Errors of ollama's routes, in ollama's shape."""

OLLAMA_LIST_ERRORS: Responses = in_shape(OllamaError, {503: MODEL_ERRORS[503]})

OLLAMA_MODEL_ERRORS: Responses = in_shape(OllamaError, MODEL_ERRORS)

OLLAMA_GENERATION_ERRORS: Responses = in_shape(OllamaError, GENERATION_ERRORS)
