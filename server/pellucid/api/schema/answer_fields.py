"""Fields shared by the requests and replies of several dialects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, JsonValue, WithJsonSchema

from pellucid.api.schema.common import Admittance, Reply
from pellucid.api.schema.sampling import MAX_TOKENS, Temperature
from pellucid.api.schema.structured import COMPLETE_ABOUT, FieldRecord
from pellucid.api.schema.tool_calls import CallRecord
from pellucid.vocabulary.finish import FinishReason


class AnswerFacts(Reply):
    """Facts about a finished answer."""

    stop: Annotated[str | None, Field(description="the stop text that ended the answer")] = None
    calls: Annotated[list[CallRecord] | None, Field(description="the details of each tool call")] = None
    loose_functions: Annotated[
        list[str] | None, Field(description="functions with a schema that cannot be enforced")
    ] = None
    complete: Annotated[bool | None, Field(description=COMPLETE_ABOUT)] = None
    fields: Annotated[
        list[FieldRecord] | None, Field(description="with a JSON grammar and logprobs: the values of the answer")
    ] = None


class EndDetails(AnswerFacts):
    """The exact reason why an answer ended, and facts about the answer."""

    reason: FinishReason


class AnswerFields(Admittance):
    """Sampling parameters of /v1/messages and /v1/responses."""

    temperature: Temperature = Field(
        1.0, description="0 always picks the most probable token; values above 2 are allowed"
    )
    top_p: float = Field(1.0, ge=0, le=1)
    top_k: int = Field(0, ge=-1, le=MAX_TOKENS, description="0 or -1: off; in /v1/responses an extension")
    seed: int | None = Field(None, ge=-(2**63), lt=2**63, description="extension: the same seed gives the same answer")
    stream: bool = Field(False, description="send the answer as server-sent events during generation")


def _has_type(value: object) -> object:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise ValueError("a tool must be an object with a type")
    return value


OtherTool = Annotated[
    dict[str, JsonValue],
    BeforeValidator(_has_type),
    WithJsonSchema(
        {
            "type": "object",
            "properties": {"type": {"type": "string", "not": {"enum": ["function", "custom"]}}},
            "required": ["type"],
            "description": "a tool of another type, which is skipped",
        }
    ),
]
"""A tool of any type except functions. Clients offer these tools to every server."""


class AnswerDetails(AnswerFacts):
    """Remarks of a reply: request fields without effect, and the exact end of the answer."""

    ignored: list[str] | None = Field(
        None, description="accepted fields of the request without an effect on the answer"
    )
    reason: FinishReason | None = None


def answer_details(ignored: list[str], end: EndDetails | None = None) -> AnswerDetails | None:
    """Return the remarks of a reply, if any."""
    if not ignored and end is None:
        return None
    if end is None:
        return AnswerDetails(ignored=ignored)
    return AnswerDetails(ignored=ignored or None, **dict(end))


def refuse(reason: str) -> BeforeValidator:
    """Return the rule of a field that must be null. A validator never receives null."""

    def check(value: object) -> None:
        raise ValueError(reason)

    return BeforeValidator(check)


ONLY_NULL = WithJsonSchema({"type": "null"})


def tag_by_type(tags: tuple[str, ...], other: str) -> Callable[[Any], str]:
    """Return a function that chooses a union's branch by the field ``type``, or else ``other``."""

    def tag(value: Any) -> str:
        kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
        return kind if isinstance(kind, str) and kind in tags else other

    return tag
