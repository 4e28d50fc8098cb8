"""Wire shapes of all routes: strict requests, terms, errors and remarks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError


def _only(allowed: bool) -> AfterValidator:
    def check(value: bool) -> bool:
        if value is not allowed:
            raise ValueError(f"only {str(allowed).lower()} is supported")
        return value

    return AfterValidator(check)


OnlyTrue = Annotated[bool, _only(allowed=True), WithJsonSchema({"const": True})]
OnlyFalse = Annotated[bool, _only(allowed=False), WithJsonSchema({"const": False})]


def _nothing(value: object) -> object:
    if value is None or value in ([], {}):
        return value
    raise PydanticCustomError("extra_forbidden", "Extra inputs are not permitted")


class Unused:
    """Annotates a field without effect on an answer: accepted, and listed as ignored."""


class Body(BaseModel):
    """A request object. Types are exact, and null means the default.

    An unlisted field is refused by name, unless its value is null, [] or {}, which are ignored.
    """

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False, frozen=True)
    __pydantic_extra__: dict[
        str, Annotated[JsonValue, AfterValidator(_nothing), WithJsonSchema({"enum": [None, [], {}]})]
    ]

    def ignored(self) -> list[str]:
        """Return the names of accepted but unused fields; dots separate nested names."""
        return sorted(set(_ignored(self)))

    @model_validator(mode="before")
    @classmethod
    def _null_is_default(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if value is not None or name not in cls.model_fields}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core_schema))
        required = schema.get("required", [])
        for name, rule in schema.get("properties", {}).items():
            if name not in required:
                schema["properties"][name] = _nullable(rule)
        return schema


_ABOUT = ("title", "description", "default", "examples", "deprecated")


def _nullable(rule: dict[str, Any]) -> dict[str, Any]:
    """Return the rule with a branch for null; field descriptions stay at the top level."""
    about = {key: value for key, value in rule.items() if key in _ABOUT}
    bare = {key: value for key, value in rule.items() if key not in _ABOUT}
    branches = bare.get("anyOf", [bare])
    return {"anyOf": branches if {"type": "null"} in branches else [*branches, {"type": "null"}], **about}


class Reply(BaseModel):
    """A response object. Fields with the default ``None`` are omitted if ``None``."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    @model_serializer(mode="wrap")
    def _lean(self, handler: SerializerFunctionWrapHandler) -> Any:
        fields = type(self).model_fields
        return {name: value for name, value in handler(self).items() if value is not None or fields[name].is_required()}


class ErrorDetail(Reply):
    """An error: a sentence with the problem and the remedy."""

    message: str
    type: str = Field(description="invalid_request_error, authentication_error, permission_error, not_found_error, ...")
    param: str | None = Field(None, description="the invalid field")
    code: int = Field(description="the HTTP status")
    n_prompt_tokens: int | None = Field(None, description="only with exceed_context_size_error")
    n_ctx: int | None = Field(None, description="only with exceed_context_size_error")
    n_ctx_is_all: bool | None = Field(
        None, description="only with exceed_context_size_error: whether this is the model's own limit"
    )


class ErrorReply(Reply):
    """The shape of every error, on every route."""

    error: ErrorDetail

    example: ClassVar[dict[str, Any]] = {
        "error": {
            "message": "top_p: Input should be less than or equal to 1.",
            "type": "invalid_request_error",
            "param": "top_p",
            "code": 400,
        }
    }


class ModelQuery(Body):
    """A request that may name a model."""

    model: str | None = Field(
        None,
        description="name from /v1/models; if null or empty, the first model. A model that is served alone also "
        "answers to any other name, and `pellucid.ignored` then lists model",
        examples=["qwen2.5-coder-0.5b-instruct"],
    )
    strict_model: bool = Field(False, description="extension: refuse an unknown name, even if only one model is served")


class Admittance(ModelQuery):
    """The terms of a request: priority, superseding, deadline (extensions to OpenAI's fields)."""

    priority: Literal["completion", "chat", "background"] | None = Field(
        None, description="extension: priority class; completion first, background last"
    )
    supersede: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        description="extension: a newer request from the same client with the same text in this field ends this "
        "request",
    )
    deadline: float | None = Field(
        None, gt=0, le=86400, description="extension: time limit in seconds; the answer ends with the tokens so far"
    )


class ContextFile(Body):
    """Text of another file, for infill."""

    filename: str
    text: str


def _ignored(body: Body) -> Iterator[str]:
    yield from body.model_extra or ()
    for name, value in body:
        if name not in body.model_fields_set or name not in type(body).model_fields:
            continue
        if any(isinstance(rule, Unused) for rule in type(body).model_fields[name].metadata):
            yield name
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, Body):
                yield from (f"{name}.{inner}" for inner in _ignored(item))


class ReplyDetails(Reply):
    """Remarks on the request; in a stream, in the first event."""

    ignored: list[str] | None = Field(
        None, description="accepted fields of the request without an effect on the answer"
    )
