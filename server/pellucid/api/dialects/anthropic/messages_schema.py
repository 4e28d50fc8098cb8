"""Wire shapes of Anthropic's /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Discriminator, Field, JsonValue, Tag, WithJsonSchema

from pellucid.api.openapi_extras import GENERATION_ERRORS, TEXT_ERRORS, Responses, in_shape
from pellucid.api.schema.answer_fields import AnswerDetails, AnswerFields, OtherTool, tag_by_type
from pellucid.api.schema.common import Body, ModelQuery, Reply, Unused
from pellucid.api.schema.messages import MAX_MESSAGES
from pellucid.api.schema.sampling import MAX_TOKENS, Alternatives, StopText
from pellucid.api.schema.structured import JsonSchema
from pellucid.api.schema.tokens import WrittenToken
from pellucid.api.schema.tool_calls import MAX_TOOLS, STRICT_ABOUT, Name
from pellucid.api.schema.usage import UsageDetails
from pellucid.vocabulary.message import Image

_CACHE = Field(None, description="ignored: the longest known prefix is always used")


class TextBlock(Body):
    """A text of a message, or of the system message."""

    type: Literal["text"]
    text: str
    cache_control: Annotated[JsonValue, Unused()] = _CACHE
    citations: None = None
    pellucid: JsonValue = Field(None, description="allowed, so that a block of an answer can be sent back")


def _only_base64(kind: str) -> str:
    if kind != "base64":
        raise ValueError("pictures are neither fetched nor stored here: send the picture itself, with the type base64")
    return kind


class ImageSource(Body):
    """The content of a picture's file."""

    type: Annotated[str, AfterValidator(_only_base64), WithJsonSchema({"const": "base64"})]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str


class ImageBlock(Body):
    """A picture of a message or a result, for a model with images in its meta."""

    type: Literal["image"]
    source: ImageSource
    cache_control: Annotated[JsonValue, Unused()] = _CACHE

    def image(self) -> Image:
        return Image(0, f"data:{self.source.media_type};base64,{self.source.data}")


class ThinkingBlock(Body):
    """Reasoning of an earlier answer: skipped, and listed as ignored."""

    type: Literal["thinking"]
    thinking: str | None = None
    signature: str | None = None
    pellucid: JsonValue = Field(None, description="allowed, so that a block of an answer can be sent back")


class RedactedThinkingBlock(Body):
    """Unreadable reasoning: skipped, and listed as ignored."""

    type: Literal["redacted_thinking"]
    data: str | None = None


class ToolUseBlock(Body):
    """A call by the assistant."""

    type: Literal["tool_use"]
    id: str
    name: Name
    input: dict[str, JsonValue]
    cache_control: Annotated[JsonValue, Unused()] = _CACHE
    caller: JsonValue = Field(None, description="allowed, so that a block of an answer can be sent back")
    pellucid: JsonValue = Field(None, description="allowed, so that a block of an answer can be sent back")


class ToolResultBlock(Body):
    """The result of a call."""

    type: Literal["tool_result"]
    tool_use_id: str
    content: (
        str
        | Annotated[
            list[
                Annotated[
                    Annotated[TextBlock, Tag("text block")] | Annotated[ImageBlock, Tag("image")],
                    Discriminator(tag_by_type(("image",), "text block")),
                ]
            ],
            Field(fail_fast=True),
        ]
    ) = ""
    is_error: Annotated[bool | None, Unused()] = Field(
        None, description="ignored: templates have no place for this field; the content has the information"
    )
    cache_control: Annotated[JsonValue, Unused()] = _CACHE


_KINDS = ("image", "thinking", "redacted_thinking", "tool_use", "tool_result")

Block = Annotated[
    Annotated[TextBlock, Tag("text block")]
    | Annotated[ImageBlock, Tag("image")]
    | Annotated[ThinkingBlock, Tag("thinking")]
    | Annotated[RedactedThinkingBlock, Tag("redacted_thinking")]
    | Annotated[ToolUseBlock, Tag("tool_use")]
    | Annotated[ToolResultBlock, Tag("tool_result")],
    Discriminator(tag_by_type(_KINDS, "text block")),
]


class CustomTool(Body):
    """A function that the model may call."""

    type: Literal["custom"] = "custom"
    name: Name
    description: str | None = Field(None, description="text for the model")
    input_schema: dict[str, JsonValue] = Field(description="a JSON schema of the arguments")
    strict: bool = Field(False, description=STRICT_ABOUT)
    cache_control: Annotated[JsonValue, Unused()] = _CACHE
    eager_input_streaming: Annotated[JsonValue, Unused()] = Field(
        None, description="ignored: arguments are always sent as they come"
    )
    defer_loading: Annotated[JsonValue, Unused()] = Field(None, description="ignored: the model is shown all tools")


def _tool_tag(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return "custom tool" if kind in (None, "custom") else "other tool"


MessageTool = Annotated[
    Annotated[CustomTool, Tag("custom tool")] | Annotated[OtherTool, Tag("other tool")], Discriminator(_tool_tag)
]


class ToolDecision(Body):
    """The choice of tools."""

    type: Literal["auto", "any", "tool", "none"]
    name: Name | None = None
    disable_parallel_tool_use: bool | None = Field(
        None,
        description="true: the answer ends after the first call; false: several calls are allowed; null: the answer "
        "ends after the first call only if a call is required",
    )


class InputTurn(Body):
    """A message of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: str | Annotated[list[Block], Field(fail_fast=True)]


class Thinking(Body):
    """The mode of reasoning before the answer."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS, description="maximum tokens of the reasoning")
    display: Annotated[str | None, Unused()] = Field(None, description="ignored: the text is always shown")


class SchemaFormat(Body):
    """JSON that follows a schema."""

    type: Literal["json_schema"]
    schema_: JsonSchema = Field(alias="schema")


class OutputConfig(Body):
    """The form of the answer."""

    format: SchemaFormat | None = Field(None, description="the required form of the answer; by default any text")
    effort: Annotated[str | None, Unused()] = Field(
        None, description="ignored: the models do not reason apart from the answer"
    )


class ConversationFields(ModelQuery):
    """A conversation."""

    messages: Annotated[list[InputTurn], Field(fail_fast=True, min_length=1, max_length=MAX_MESSAGES)] = Field(
        description="the answer continues a last message from the assistant"
    )
    system: str | Annotated[list[TextBlock], Field(fail_fast=True)] = Field(
        "",
        description="the system message; a first block with the beginning `x-anthropic-billing-header:` is dropped, "
        "and listed as ignored",
    )
    thinking: Thinking | None = Field(
        None,
        description="enabled: reason before the answer, an error if the model cannot reason; adaptive is ignored, and "
        "means disabled",
    )
    tools: Annotated[list[MessageTool], Field(fail_fast=True, max_length=MAX_TOOLS)] = Field(
        [],
        description="functions for the model to call; an error if the model's chat template has no place for tools. "
        "Tools of other types are skipped, and listed as ignored",
    )
    tool_choice: ToolDecision | None = Field(
        None,
        description="auto by default; none: the model does not see the tools; any: the answer contains only calls; "
        "tool: the answer is a call of the named function",
    )
    output_config: OutputConfig | None = Field(None, description="the form of the answer")
    output_format: SchemaFormat | None = Field(None, description="older name of output_config.format")
    context_management: Annotated[JsonValue, Unused()] = Field(
        None, description="ignored: nothing is dropped from a conversation"
    )
    cache_control: Annotated[JsonValue, Unused()] = _CACHE


class CountRequest(ConversationFields):
    """A conversation with tokens to count."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"messages": [{"role": "user", "content": "Reverse a list in Python."}]}]}
    )


class MessagesRequest(ConversationFields, AnswerFields):
    """A conversation to answer."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"messages": [{"role": "user", "content": "Reverse a list."}], "max_tokens": 64, "logprobs": True}
            ]
        }
    )

    max_tokens: int = Field(ge=1, le=MAX_TOKENS, description="maximum tokens of the answer")
    stop_sequences: Annotated[list[StopText], Field(fail_fast=True, max_length=64)] = Field(
        [], description="the answer ends before the first of these texts"
    )
    metadata: Annotated[JsonValue, Unused()] = Field(None, description="ignored: nothing is stored")
    service_tier: Annotated[str | None, Unused()] = Field(None, description="ignored: all requests have the same tier")
    speed: Annotated[str | None, Unused()] = Field(None, description="ignored: all requests have the same speed")
    inference_geo: Annotated[str | None, Unused()] = Field(
        None, description="ignored: the model runs where the server does"
    )
    logprobs: bool = Field(
        False, description="extension: return each token's probabilities, in `pellucid.tokens` of blocks and deltas"
    )
    top_logprobs: Alternatives | None = Field(
        None, description="extension, with logprobs: return this many alternatives for each token"
    )


StopWord = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"]


class BlockDetails(Reply):
    """The tokens of a block or a delta."""

    tokens: list[WrittenToken]


class ThinkingAnswer(Reply):
    """The reasoning before the answer. The signature is empty: the reasoning is not encrypted."""

    type: Literal["thinking"] = "thinking"
    thinking: str
    signature: str = ""
    pellucid: BlockDetails | None = None


class TextAnswer(Reply):
    """A text of the answer."""

    type: Literal["text"] = "text"
    text: str
    pellucid: BlockDetails | None = None


class ToolUseAnswer(Reply):
    """A call by the model; ``input`` is empty for a call that was cut off."""

    type: Literal["tool_use"] = "tool_use"
    id: str
    name: str
    input: dict[str, Any]
    pellucid: BlockDetails | None = None


class MessageUsage(Reply):
    """The tokens of a request; ``input_tokens`` counts prompt tokens that were not cached."""

    input_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int
    output_tokens: int
    pellucid: UsageDetails


class MessageReply(Reply):
    """An answer."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[TextAnswer | ThinkingAnswer | ToolUseAnswer]
    stop_reason: StopWord | None
    stop_sequence: str | None
    usage: MessageUsage
    pellucid: AnswerDetails | None = None


class TokenCount(Reply):
    """The tokens of a conversation."""

    input_tokens: int
    pellucid: AnswerDetails | None = None


class AnthropicErrorDetail(Reply):
    """The kind of an error, and a sentence with the problem and the remedy."""

    type: str
    message: str
    details: dict[str, Any] | None = Field(
        None, description="only if thread is refused: the code that the anthropic package expects"
    )


class AnthropicError(Reply):
    """The shape of errors of Anthropic's routes."""

    type: Literal["error"] = "error"
    error: AnthropicErrorDetail


ANTHROPIC_TEXT_ERRORS: Responses = in_shape(AnthropicError, TEXT_ERRORS)
"""Errors of Anthropic's route for counting tokens, in Anthropic's shape."""

ANTHROPIC_GENERATION_ERRORS: Responses = in_shape(AnthropicError, GENERATION_ERRORS)
