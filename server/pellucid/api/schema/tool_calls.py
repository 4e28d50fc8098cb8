"""Wire shapes of tools, and the details of tool calls."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from pellucid.api.schema.common import Body, Reply

MAX_TOOLS = 1024

STRICT_ABOUT = (
    "true: refuse the request if the schema cannot be enforced; false: accept any JSON object as arguments then"
)

PARALLEL_ABOUT = (
    "true: several calls are allowed; false: the answer ends after its first call; null: so only if tool_choice "
    "demands a call, because small models may not stop calling"
)

Name = Annotated[str, Field(min_length=1, max_length=256)]


class FunctionDefinition(Body):
    """A function that the model may call."""

    name: Name
    description: str | None = Field(None, description="text for the model")
    parameters: dict[str, Any] | None = Field(None, description="a JSON schema of the arguments")
    strict: bool = Field(False, description=STRICT_ABOUT)


class Tool(Body):
    """A tool; always a function."""

    type: Literal["function"]
    function: FunctionDefinition


Tools = Annotated[list[Tool], Field(fail_fast=True, max_length=MAX_TOOLS)]


class FunctionName(Body):
    """A function by name."""

    name: Name


class ToolChoiceObject(Body):
    """The choice of a function."""

    type: Literal["function"]
    function: FunctionName


ToolChoiceField = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("word")] | Annotated[ToolChoiceObject, Tag("function")],
    Discriminator(lambda value: "word" if isinstance(value, str) else "function"),
]


class ToolFields(Body):
    """The functions that a model may call."""

    tools: Tools = Field(
        [], description="functions for the model to call; an error if the model's chat template has no place for tools"
    )
    tool_choice: ToolChoiceField = Field(
        "auto",
        description="none: the model does not see the tools; auto: the model decides; required: the answer contains "
        "only calls; a function: the answer is a call of the function",
    )


class CallRecord(Reply):
    """The details of a call: completeness, and the probability of each argument."""

    id: str
    complete: bool = Field(
        description="whether the arguments are a JSON object; not if the answer ended too early or the model erred"
    )
    enforced: bool = Field(
        description="whether a grammar held the arguments to the function's schema; false if the schema cannot be "
        "enforced, or the call was recognized only after its arguments had begun"
    )
    fields: dict[str, float] = Field(
        description="the probability of each value of the arguments, by JSON pointer: the product over the value's "
        "tokens that were not forced, for a text including the token with the closing quote"
    )
