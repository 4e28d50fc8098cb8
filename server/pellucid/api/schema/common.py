"""Wire shapes of all routes: strict requests, errors, and a token with its probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    JsonValue,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core.core_schema import any_schema

MAX_CHOICES = 128
"""Maximum number of answers per request."""

MIN_TEMPERATURE = 0.0001
MAX_TEMPERATURE = 100.0
MIN_PENALTY = 0.01
"""Limits of SamplingParams."""

MAX_TOKENS = 2**31 - 1
"""More tokens than any context holds; means "until the context is full"."""


def _only(allowed: bool) -> AfterValidator:
    def check(value: bool) -> bool:
        if value is not allowed:
            raise ValueError(f"only {str(allowed).lower()} is supported")
        return value

    return AfterValidator(check)


OnlyTrue = Annotated[bool, _only(allowed=True), WithJsonSchema({"const": True})]
OnlyFalse = Annotated[bool, _only(allowed=False), WithJsonSchema({"const": False})]


def _temperature(value: float) -> float:
    if value != 0 and not MIN_TEMPERATURE <= value <= MAX_TEMPERATURE:
        raise ValueError(f"must be 0 (greedy), or between {MIN_TEMPERATURE} and {MAX_TEMPERATURE:g}")
    return value


Temperature = Annotated[
    float,
    AfterValidator(_temperature),
    WithJsonSchema(
        {"anyOf": [{"const": 0}, {"type": "number", "minimum": MIN_TEMPERATURE, "maximum": MAX_TEMPERATURE}]}
    ),
]
SamplerName = Literal["penalties", "temperature", "top_k", "top_p", "min_p", "infill"]
Samplers = Annotated[list[SamplerName], Field(fail_fast=True)] | None
ResponseFields = Annotated[list[str], Field(fail_fast=True, max_length=256)] | None
TokenId = Annotated[int, Field(ge=0, lt=2**31, description="a token id of the model's vocabulary")]


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


class AlternativeRecord(Reply):
    """A token that the model could have chosen."""

    id: int
    token: str
    bytes: list[int]
    logprob: float


class CallDeltaRecord(Reply):
    """A token's contribution to a call: first the id and the name, then parts of the arguments."""

    index: int
    arguments: str
    id: str | None = None
    name: str | None = None


class CallPartRecord(Reply):
    """The tool call of a token."""

    call: int = Field(description="the index of the call")
    deltas: list[CallDeltaRecord] = Field(
        description="the token's part of calls; the pieces of arguments join to the whole arguments"
    )


class GrammarRecord(Reply):
    """The effect of a grammar on a token's choice.

    All other data of the token is the same as without a grammar.
    """

    mass: float = Field(description="the model's own total probability of the tokens allowed by the grammar")
    allowed: int = Field(description="the number of tokens allowed by the grammar")
    forced: bool = Field(description="true if the grammar allowed only this token")
    logprob: float = Field(description="the token's logprob among the tokens allowed by the grammar")


class TokenRecord(Reply):
    """All data of a generated or read token.

    Logprobs are natural logarithms of the model's own distribution, before temperature and other
    sampling settings. The first token of a prompt has no logprob, rank or entropy (null). Under
    token healing, top holds only tokens that repeat typed text, and exp(logprob) / allowed is the
    probability of the token among these tokens. Under a grammar, top also holds refused tokens.
    """

    id: int
    token: str = Field(
        description="the text completed by this token; the texts of consecutive tokens join to the whole text"
    )
    bytes: list[int] = Field(description="the token's exact bytes, which may be part of a character")
    position: int = Field(description="position, counted from the first token of the prompt")
    logprob: float | None
    rank: int | None = Field(description="rank in the model's distribution; 1 is the most probable token")
    entropy: float | None = Field(
        description="entropy of the model's distribution, in nats; null for a prompt's first token, and if the engine "
        "does not report the entropy"
    )
    entropy_range: list[float] | None = Field(
        None,
        min_length=2,
        max_length=2,
        description="only if the exact entropy is not known: the minimum and maximum possible entropy, in nats",
    )
    top: list[AlternativeRecord] = Field(
        description="the most probable alternatives; fewer than requested if token healing allows few tokens. A "
        "remote engine reports only the 20 most probable tokens, so the alternatives are fewer if few of the 20 "
        "tokens are allowed"
    )
    rest: float = Field(description="the total probability of all tokens outside top")
    sampled: float | None = Field(
        description="the token's probability in the sampler; null for prompt tokens, and if the engine does not "
        "report the probability"
    )
    allowed: float = Field(
        description="under token healing, the probability of all tokens that repeat the typed text (from a remote "
        "engine, an upper bound); otherwise 1"
    )
    part: CallPartRecord | None = Field(
        None, description="only for the tokens of a tool call; these tokens have no text"
    )
    grammar: GrammarRecord | None = Field(None, description="only with a grammar")


class _Written:
    """Annotates a record of ``token_json.record_of``: described as TokenRecord, sent unchanged."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return any_schema()

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(TokenRecord.__pydantic_core_schema__)


WrittenToken = Annotated[dict[str, Any], _Written()]


class ModelQuery(Body):
    """A request that may name a model."""

    model: str | None = Field(
        None,
        description="name from /v1/models; if null or empty, the first model. A model that is served alone also "
        "answers to any other name, and `pellucid.ignored` then lists model",
        examples=["qwen2.5-coder-0.5b-instruct"],
    )
    strict_model: bool = Field(False, description="extension: refuse an unknown name, even if only one model is served")


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
