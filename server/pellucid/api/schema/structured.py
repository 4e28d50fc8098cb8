"""Wire shapes of structured output: requested formats, and probabilities of JSON values."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from pellucid.api.schema.common import Body, Reply, Unused

COMPLETE_ABOUT = (
    "with a grammar: whether the answer is complete; if false, it ended early (finish_reason `length`, a stop text, a "
    "deadline), and its text may not be what the grammar demands"
)

JsonSchema = Annotated[dict[str, Any] | bool, Field(description="a JSON schema")]
Choice = Annotated[str, Field(max_length=10_000)]


class NamedSchema(Body):
    """A JSON schema with a name."""

    name: str = Field(description="your name of the schema, not shown to the model")
    description: Annotated[str | None, Unused()] = Field(
        None, description="ignored: put information for the model into the messages"
    )
    schema_: JsonSchema = Field(True, alias="schema")
    strict: bool = Field(False, description="the answer keeps to the schema in any case")


class ResponseFormat(Body):
    """The form of the answer.

    A schema is in json_schema (as in OpenAI's API) or in schema (as in llama.cpp's).
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}]
        }
    )

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None
    schema_: JsonSchema | None = Field(None, alias="schema")


class StructuredOutputs(Body):
    """The form of the answer in vLLM's shape, with exactly one kind of form.

    The kinds are json, json_object, regex, choice and grammar.
    """

    json_: str | dict[str, Any] | bool | None = Field(
        None, alias="json", description="a JSON schema, or the text of a JSON schema"
    )
    json_object: bool = Field(False, description="any JSON object")
    regex: str | None = Field(
        None,
        description="the whole answer matches this regular expression; syntax of Rust's regex crate, without "
        "look-around",
    )
    choice: Annotated[list[Choice], Field(fail_fast=True, min_length=1)] | None = Field(
        None, description="the answer is one of these texts"
    )
    grammar: str | None = Field(None, description="a grammar in llguidance's Lark syntax, or in llama.cpp's (GBNF)")
    whitespace_pattern: str | None = Field(
        None, description="a regular expression for the white space between the parts of JSON"
    )
    disable_any_whitespace: bool = Field(False, description="no white space between the parts of JSON")


class GrammarFields(Body):
    """The form of the answer, as in llama.cpp's API."""

    json_schema: JsonSchema | None = Field(None, description="llama.cpp's: a JSON schema for the answer")
    grammar: str | None = Field(
        None, description="llama.cpp's: a grammar (GBNF, or llguidance's Lark) for the answer; empty: no grammar"
    )


class FormatFields(GrammarFields):
    """The form of the answer, in one of the shapes that clients send.

    Only a single shape may be used.
    """

    response_format: ResponseFormat | None = Field(None, description="OpenAI's: the form of the answer")
    structured_outputs: StructuredOutputs | None = Field(None, description="vLLM's: the form of the answer")


class OtherValueRecord(Reply):
    """The most probable alternative value."""

    value: str | int | float | bool | None
    probability: float = Field(description="the value's probability among the tokens allowed by the grammar")


class FieldRecord(Reply):
    """A value of a JSON answer."""

    path: str = Field(description="the place of the value, a JSON pointer (RFC 6901)")
    value: str | int | float | bool | None
    probability: float = Field(
        description="the product of the probabilities of the value's tokens, among the tokens allowed by the grammar; "
        "a forced token counts 1"
    )
    mass: float = Field(description="the model's own probability that these tokens are allowed by the grammar")
    decided: int = Field(description="the number of the value's tokens that were not forced")
    other: OtherValueRecord | None = Field(
        None,
        description="if a single token decided: the most probable different value among the token's alternatives, if "
        "any",
    )
