"""Defines the wire shapes of Anthropic's /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Discriminator, Field, JsonValue, Tag

from pellucid.api.schema.answer_fields import AnswerDetails, AnswerFields, tag_by_type
from pellucid.api.schema.common import MAX_TOKENS, Body, ModelQuery, Reply, Unused, WrittenToken
from pellucid.api.schema.openai import MAX_MESSAGES, Alternatives, StopText, UsageDetails

_CACHE = Field(None, description="ignored: the longest known prefix is always used")


class TextBlock(Body):
    """A text of a message, or of the system message."""

    type: Literal["text"]
    text: str
    cache_control: Annotated[JsonValue, Unused()] = _CACHE
    citations: None = None
    pellucid: JsonValue = Field(None, description="allowed, so that a block of an answer can be sent back")


class ThinkingBlock(Body):
    """Reasoning of another model, which is skipped and listed as ignored."""

    type: Literal["thinking", "redacted_thinking"]
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None


Block = Annotated[
    Annotated[TextBlock, Tag("text_block")]
    | Annotated[ThinkingBlock, Tag("thinking")]
    | Annotated[ThinkingBlock, Tag("redacted_thinking")],
    Discriminator(tag_by_type(("thinking", "redacted_thinking"), "text_block")),
]


class InputTurn(Body):
    """A message of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: str | Annotated[list[Block], Field(fail_fast=True)]


class Thinking(Body):
    """The mode of reasoning before the answer. No model here reasons, so that it cannot be enabled."""

    type: Literal["disabled", "adaptive"]
    display: str | None = None


class OutputConfig(Body):
    """The form of the answer, of which only the effort may be named."""

    effort: Annotated[str | None, Unused()] = Field(None, description="ignored: the models do not reason apart from the answer")


class ConversationFields(ModelQuery):
    """A conversation."""

    messages: Annotated[list[InputTurn], Field(fail_fast=True, min_length=1, max_length=MAX_MESSAGES)] = Field(
        description="if the last message is the assistant's, the answer continues it"
    )
    system: str | Annotated[list[TextBlock], Field(fail_fast=True)] = Field(
        "", description="the system message; a first block that begins with `x-anthropic-billing-header:` is dropped, and listed as ignored"
    )
    thinking: Annotated[Thinking | None, Unused()] = Field(
        None, description="ignored if it is disabled or adaptive; enabled is an error, as the models do not reason apart from the answer"
    )
    output_config: OutputConfig | None = Field(None, description="the form of the answer, of which only the effort may be named")
    context_management: Annotated[JsonValue, Unused()] = Field(None, description="ignored: nothing is dropped from a conversation")
    cache_control: Annotated[JsonValue, Unused()] = _CACHE


class CountRequest(ConversationFields):
    """A conversation whose tokens are counted."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"messages": [{"role": "user", "content": "Reverse a list in Python."}]}]})


class MessagesRequest(ConversationFields, AnswerFields):
    """A conversation to answer."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"messages": [{"role": "user", "content": "Reverse a list."}], "max_tokens": 64, "logprobs": True}]}
    )

    max_tokens: int = Field(ge=1, le=MAX_TOKENS, description="maximum tokens of the answer")
    stop_sequences: Annotated[list[StopText], Field(fail_fast=True, max_length=64)] = Field(
        [], description="texts at which the answer ends; they are not part of it"
    )
    metadata: Annotated[JsonValue, Unused()] = Field(None, description="ignored: nothing is stored")
    service_tier: Annotated[str | None, Unused()] = Field(None, description="ignored: there is only one tier")
    speed: Annotated[str | None, Unused()] = Field(None, description="ignored: there is only one speed")
    inference_geo: Annotated[str | None, Unused()] = Field(None, description="ignored: the model runs where the server does")
    logprobs: bool = Field(False, description="extension: return each token's probabilities, in `pellucid.tokens` of blocks and deltas")
    top_logprobs: Alternatives | None = Field(None, description="extension, with logprobs: return this many alternatives for each token")


StopWord = Literal["end_turn", "max_tokens", "stop_sequence", "model_context_window_exceeded"]


class BlockDetails(Reply):
    """The tokens of a block or a delta."""

    tokens: list[WrittenToken]


class TextAnswer(Reply):
    """A text of the answer."""

    type: Literal["text"] = "text"
    text: str
    pellucid: BlockDetails | None = None


class MessageUsage(Reply):
    """The tokens of a request; ``input_tokens`` counts those of the prompt that were not read from the cache."""

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
    content: list[TextAnswer]
    stop_reason: StopWord | None
    stop_sequence: str | None
    usage: MessageUsage
    pellucid: AnswerDetails | None = None


class TokenCount(Reply):
    """The tokens of a conversation."""

    input_tokens: int
    pellucid: AnswerDetails | None = None


class AnthropicErrorDetail(Reply):
    """The kind of an error, and one sentence that names the problem and the remedy."""

    type: str
    message: str


class AnthropicError(Reply):
    """The shape of errors of Anthropic's routes."""

    type: Literal["error"] = "error"
    error: AnthropicErrorDetail
